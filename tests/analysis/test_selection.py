"""How much VAS selects: each row follows from the maps of its photo, and the summary follows from the rows."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from analysis import __main__ as command
from analysis.selection import Selection, WeightSpread, WordPair, measure_selection
from analysis.shapes import SHAPE_WORDS, write_shapes
from analysis.similarity import concentration, similarity_maps, vas_weight
from eovseg.data.panoptic_folder import PanopticFolder
from eovseg.errors import ConfigError
from eovseg.predictor import Predictor

SPREADS = (WeightSpread("a", 0.1, 0.3), WeightSpread("b", 0.2, 0.2), WeightSpread("c", -0.1, 0.2))
PAIRS = (
    WordPair("a", "cat", 0.2, 0.5, 0.1),
    WordPair("a", "sky", 0.4, 0.3, 0.3),
    WordPair("b", "sky", 0.6, 0.8, 0.3),
    WordPair("b", "dog", float("nan"), 0.8, 0.3),
)
SAMPLES = (np.array([1.0, 2, 3, 4, 5]), np.array([6.0, 7, 8, 9, 10]), np.array([1.0, 10, 10, 10, 10]))


def test_figures_checked_by_hand() -> None:
    values = {name: row["value"] for name, row in Selection(SPREADS, PAIRS, SAMPLES).summary.items()}
    assert list(values.values()) == pytest.approx([(3 + 1) / 2, 10 / 1, 3 / 4, 0.4, 1.6 / 3, 2 / 3])
    assert list(values) == [
        "weights, 90th over 10th percentile, mean over photos",
        "weights, 90th over 10th percentile, all pixels together",
        "pairs with positive similarity before and after",
        "share on true segments before",
        "share on true segments after",
        "pairs with a higher share after",
    ]


def test_an_interval_draws_photos_not_pairs() -> None:
    """Four pairs of one photo are resampled together, so they carry no more information than one."""
    spreads = tuple(WeightSpread(f"{i}", 0.1, 0.3) for i in range(40))
    pairs = tuple(WordPair(f"{i}", f"{k}", 0.5, 0.4 + 0.2 * (i < 20), 0.1) for i in range(40) for k in range(4))
    found = Selection(spreads, pairs, (np.ones(4),) * 40).summary["pairs with a higher share after"]
    assert found["value"] == 0.5
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * np.sqrt(0.25 / 40), abs=0.05)


def test_one_photo_has_no_interval_and_unknown_values_are_null() -> None:
    document = Selection(SPREADS[2:], (WordPair("c", "cat", float("nan"), 0.5, 0.1),), SAMPLES[2:]).to_json()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["photos"][0]["ratio"] is None
    assert document["pairs"][0]["before"] is None
    assert document["summary"]["pairs with a higher share after"] == {"value": None, "low": None, "high": None}


def test_rows_are_those_of_the_maps_of_each_photo(predictor: Predictor, tmp_path: Path) -> None:
    folder = PanopticFolder(write_shapes(tmp_path, photos=2, size=64))
    photo = folder.photos[1]
    found = measure_selection(predictor, folder, folder.photos, SHAPE_WORDS)
    decoded = predictor.decode(predictor.encode_image(folder.load_image(photo)), SHAPE_WORDS)
    assert found.spreads[1].low == pytest.approx(float(np.percentile(vas_weight(predictor, decoded), 10)), rel=1e-5)
    assert found.spreads[1].high == pytest.approx(float(np.percentile(vas_weight(predictor, decoded), 90)), rel=1e-5)
    segment_map, segments = folder.load_segments(photo)
    names = {segment.id: folder.categories[segment.category_id].name for segment in segments}
    rows = {pair.word: pair for pair in found.pairs if pair.photo == photo.file_name}
    assert rows.keys() == set(names.values())
    for word, row in rows.items():
        inside = np.isin(segment_map, [number for number, name in names.items() if name == word])
        maps = similarity_maps(predictor, decoded, [word])
        assert row.area == inside.mean()
        expected = [concentration(maps.before[0], inside), concentration(maps.after[0], inside)]
        assert [row.before, row.after] == pytest.approx(expected, rel=1e-4)
    assert asdict(found.pairs[0])["photo"] == folder.photos[0].file_name


def test_command_writes_rows_and_intervals(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("eovseg.loading.load", lambda *_: predictor)
    data, out = write_shapes(tmp_path / "shapes", photos=3, size=64), tmp_path / "new" / "vas.json"
    words = "circle: thing; square: thing; triangle: thing; floor: stuff; wall: stuff"
    assert command.main(["vas-selection", str(data), "--words", words, "--limit", "2", "--out", str(out)]) == 0
    document = json.loads(out.read_text())
    assert len(document["photos"]) == 2
    assert document["origin"]["weights"] == "eovseg-xs.safetensors"
    shares = [pair["after"] > pair["before"] for pair in document["pairs"]]
    row = document["summary"]["pairs with a higher share after"]
    assert row["value"] == pytest.approx(np.mean(shares))
    printed = capsys.readouterr().out
    assert f"pairs with a higher share after: {row['value']:.3f} [" in printed
    assert command.main(["vas-selection", str(data), "--limit", "0", "--out", str(out)]) == 1
    assert capsys.readouterr().err == "--limit must be at least 1, not 0.\n"


def test_a_network_without_vas_is_refused(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = PanopticFolder(write_shapes(tmp_path, photos=1, size=64))
    monkeypatch.setitem(predictor.network._modules, "vas", None)
    with pytest.raises(ConfigError, match="without VAS"):
        measure_selection(predictor, folder, folder.photos, SHAPE_WORDS)
