"""End to end with a real, untrained XS: evaluation with every extra, cached logits, and the command."""

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from eovseg.checkpoints import default_checkpoint, file_digest
from eovseg.data.panoptic_folder import PanopticFolder
from eovseg.evaluation import command
from eovseg.evaluation.__main__ import main
from eovseg.evaluation.cost import measure_cost
from eovseg.evaluation.evaluate import Evaluator, Extra, evaluate
from eovseg.evaluation.paper import TABLE_10
from eovseg.evaluation.stored import read_report
from eovseg.evaluation.sweep import ensemble_grid, sweep
from eovseg.photo_cache import bytes_of
from eovseg.predictor import Predictor
from eovseg.settings import Settings
from eovseg.vocabulary import Vocabulary
from tests.data import trees

WORDS = "person: thing; sky, clouds: stuff; lamp: thing; zebra: thing"


def test_every_extra_in_one_pass(predictor: Predictor, panoptic_folder: Path, tmp_path: Path) -> None:
    folder, words = PanopticFolder(panoptic_folder), Vocabulary.parse(WORDS)
    # The two photos are identical, so one is enough, and the predictor would use its cache for the second.
    extras: list[Extra] = ["true masks", "absent words", "mask recall", "cost"]
    report = evaluate(predictor, folder, folder.photos[:1], words, extras=extras)
    assert report.panoptic is not None
    assert report.panoptic.true_positives.sum() + report.panoptic.false_negatives.sum() == 3
    assert set(report.classification) == {"in-vocabulary", "out-of-vocabulary", "ensemble"}
    assert report.classification["ensemble"].all.segments == 3  # person, sky, lamp; the crowd is ignored
    assert report.classification["ensemble"].unseen.segments == 1
    assert report.absence is not None
    assert (report.absence.absent, report.absence.offered) == (3, 3)  # each segment once without and once with its word
    assert report.masks["all"].segments == 3
    # 8 x 12 pixels: sky and clouds are a third of them, person and lamp a sixth
    assert (report.masks["stuff over 3 %"].segments, report.masks["things over 3 %"].segments) == (1, 2)
    assert report.masks["all"].named_segment == report.panoptic.true_positives.sum() / 3
    assert report.summary()["masks found"] == 100 * report.masks["all"].kernel
    report.save(tmp_path)
    assert read_report(tmp_path).to_json() == report.to_json()
    assert report.cost is not None
    assert report.cost.frames_per_second > 0
    assert report.cost.multiply_adds > 1e7
    assert report.summary()["parameters (M)"] == pytest.approx(sum(report.cost.parameters.values()) / 1e6)


def test_cost_runs_the_network_every_time(predictor: Predictor) -> None:
    trained = [parameter.requires_grad for parameter in predictor.network.parameters()]
    measure_cost(predictor, np.zeros((40, 60, 3), np.uint8), Vocabulary.parse(WORDS), runs=3, warm=1)
    assert (predictor.image_halves, predictor.word_halves) == (5, 5)  # 3 + 1, and 1 to count multiply-adds
    assert [parameter.requires_grad for parameter in predictor.network.parameters()] == trained


def test_cached_logits_give_the_same_results_without_the_network(predictor: Predictor, panoptic_folder: Path) -> None:
    folder = PanopticFolder(panoptic_folder)
    evaluator = Evaluator(folder, Vocabulary.parse(WORDS), predictor.seen(WORDS), ["panoptic"])
    whole = list(evaluator.decode(predictor, folder.photos[:1]))
    kept = [photo.logits_only() for photo in whole]
    calls = (predictor.image_halves, predictor.word_halves)
    assert calls == (1, 1)
    grid = ensemble_grid(Settings.of(predictor.config))
    rows = sweep(predictor, kept, evaluator.vocabulary, grid)
    assert (predictor.image_halves, predictor.word_halves) == calls
    assert len(rows) == 14
    assert "masks" not in vars(kept[0].decoded), "masks at photo size of all photos would use too much memory"
    assert bytes_of(kept[0].decoded.state.features) == 0
    for settings in grid:
        from_all = predictor.compose(whole[0].decoded, settings=settings)
        from_kept = predictor.compose(kept[0].decoded, settings=settings)
        assert from_all.segments == from_kept.segments
        assert np.array_equal(from_all.segment_map, from_kept.segment_map)


@pytest.fixture
def loaded(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eovseg.loading.load", lambda *_: predictor)


@pytest.mark.usefixtures("loaded")
def test_command_writes_what_it_prints(
    panoptic_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = [str(panoptic_folder), "--vocabulary", WORDS, "--limit", "1", "--alpha", "0.1", "--out", str(out)]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("XS on stripes: 1 photos, 4 classes (own words), 2 of them seen in training\nalpha 0.1, ")
    assert (out / "report.txt").read_text() in printed
    document = json.loads((out / "report.json").read_text())
    assert document["settings"]["alpha"] == 0.1
    assert document["origin"]["sha256"] == file_digest(default_checkpoint("xs"))  # type: ignore[arg-type]
    assert document["origin"]["sha256"] in printed
    assert "masks found" not in printed


@pytest.mark.usefixtures("loaded")
def test_command_compares_with_an_earlier_report(
    panoptic_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--vocabulary", WORDS, "--tasks", "panoptic", "semantic"]
    earlier, out = tmp_path / "earlier", tmp_path / "out"
    assert main([str(panoptic_folder), *words, "--mask-recall", "--out", str(earlier)]) == 0
    printed = capsys.readouterr().out
    assert "95 % interval over photos\n" in printed and "masks found and named, stuff over 3 %" in printed
    assert main([str(panoptic_folder), *words, "--out", str(out), "--against", str(earlier)]) == 0
    printed = capsys.readouterr().out
    assert "this report  earlier report  difference  95 % interval over photos\n" in printed
    assert "Warning: 2 photos are too few for reliable intervals; use at least 20.\n" in printed
    with (out / "against.csv").open(newline="") as file:
        rows = {row["metric"]: row for row in csv.DictReader(file)}
    assert rows["pixel accuracy"]["difference"] == rows["pixel accuracy"]["low"] == "0.0"
    assert "masks found" not in rows  # measured in only one of the two reports
    for options, message in (
        (["--limit", "1"], "has 2 photos, 1 of them among the 1 here; both must have the same photos."),
        (["--sweep", "ensemble"], "--against compares reports, but --sweep does not create one; use only one of them."),
        (["--vocabulary", WORDS + "; tree"], "has 4 classes (own words) and this one 5;"),
    ):
        assert main([str(panoptic_folder), *words, *options, "--against", str(earlier)]) == 1
        assert message in capsys.readouterr().err


def test_errors_are_reported_before_the_run(
    predictor: Predictor,
    panoptic_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("eovseg.loading.load", lambda *_: predictor)
    options = ["--vocabulary", WORDS, "--tasks", "panoptic"]
    assert main([str(panoptic_folder), *options, "--out", str(tmp_path / "earlier")]) == 0
    path = panoptic_folder / "panoptic.json"
    document = json.loads(path.read_text())
    document["categories"][3]["isthing"] = 0  # the lamp
    path.write_text(json.dumps(document))
    (tmp_path / "file").touch()
    monkeypatch.setattr(command, "evaluate", lambda *_, **__: pytest.fail("the evaluation has started"))
    capsys.readouterr()
    for more, message in (
        (["--against", str(tmp_path / "earlier")], "The two reports differ in which classes are things;"),
        (["--out", str(tmp_path / "file")], "file: File exists."),
    ):
        assert main([str(panoptic_folder), *options, *more]) == 1
        assert message in capsys.readouterr().err


def test_the_origin_is_determined_before_the_run(
    predictor: Predictor, panoptic_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "new.safetensors"
    weights.write_bytes(b"abc")
    monkeypatch.setattr("eovseg.loading.load", lambda *_: predictor)

    def run(*given: object, **named: object) -> object:
        weights.write_bytes(b"another training has ended")
        return evaluate(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(command, "evaluate", run)
    options = ["--vocabulary", WORDS, "--tasks", "panoptic", "--checkpoint", str(weights), "--out", str(tmp_path / "o")]
    assert main([str(panoptic_folder), *options]) == 0
    origin = json.loads((tmp_path / "o" / "report.json").read_text())["origin"]
    assert origin["sha256"] == hashlib.sha256(b"abc").hexdigest()


@pytest.mark.usefixtures("loaded")
def test_command_sweeps(panoptic_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(panoptic_folder), "--vocabulary", WORDS, "--limit", "1", "--out", str(tmp_path)]
    assert main([*arguments, "--sweep", "ensemble"]) == 0
    with (tmp_path / "sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    settings = {(float(row["alpha"]), float(row["beta"]), row["ensemble"]) for row in rows}
    assert settings == {(*pair, kind) for pair in TABLE_10 for kind in ("arithmetic", "geometric")}
    assert len(rows) == len(settings) == 14
    assert len(capsys.readouterr().out.splitlines()) == 17  # the rows, the best one, the export options, the file


@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--vocabulary", "person; zebra"], "3 of 4 categories have no class in the vocabulary: clouds, lamp, sky;"),
        (["--limit", "0"], "--limit must be at least 1, not 0."),
        (["--vocabulary", WORDS, "--alpha", "2"], "alpha=2.0 is outside 0 to 1."),
        (
            ["--vocabulary", WORDS, "--tasks", "semantic", "--mask-recall"],
            "Mask recall needs the panoptic task; add it or",
        ),
        (
            ["--vocabulary", WORDS, "--against", "nowhere"],
            "The report nowhere does not exist; give a report folder written by `eovseg evaluate --out`.",
        ),
    ],
)
def test_command_reports_errors_in_one_sentence(
    panoptic_folder: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert main([str(panoptic_folder), *options]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.usefixtures("loaded")
def test_objects_without_panoptic_labels_have_no_html_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(trees.own_instances(tmp_path / "own")), "--html", str(tmp_path / "html")]) == 1
    assert (
        "HTML report needs the panoptic task, but own has no panoptic labels; omit --html." in capsys.readouterr().err
    )
