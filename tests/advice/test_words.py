"""Nouns, suggestions, and checks of word lists, with the shipped model."""

import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from eovseg import cli
from eovseg.advice import nouns as noun_list
from eovseg.advice.doctor import Diagnosis, UncoveredArea, can_win, on_grid, place_in_words
from eovseg.advice.nouns import noun_rows, nouns, synonyms
from eovseg.advice.suggest import likeliest, noun_scores
from eovseg.assets import asset_path
from eovseg.errors import ConfigError
from eovseg.presets import TRAINING_PRESET
from eovseg.settings import Settings
from eovseg.vocabulary import Vocabulary

if TYPE_CHECKING:
    from eovseg.predictor import Predictor

BEAR = asset_path("photos/bear.jpg")


def test_nouns_match_their_rows(xs: "Predictor") -> None:
    words = nouns()
    assert 1500 < len(words) < 2100 and not words.notes
    assert {c.label for c in words.classes[:133]} <= {
        name.replace("-", " ") for name in Vocabulary.preset(TRAINING_PRESET).words
    }
    assert words.labels[0] == "person"  # the most frequent class
    rows = noun_rows(xs)
    assert rows is noun_list._stored_rows() and rows.shape == (len(words.words), xs.config.embed_dim)
    few = Vocabulary.parse("; ".join(words.words[i] for i in (0, 900, -1)))
    np.testing.assert_allclose(rows[[0, 900, -1]], xs.text_embeddings(few).embeddings.numpy(), atol=1e-3)


def test_synonyms_are_other_names_of_the_class() -> None:
    assert "sofa" in synonyms(("couch",), ())
    assert "sofa" not in synonyms(("couch",), ("Sofa", "couch"))
    assert synonyms(("no such thing",), ()) == []


def test_suggestions_name_what_is_there(
    xs: "Predictor", capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = xs.suggest(BEAR, 10)
    words = [one.word for one in found]
    assert len(words) == 10 and {"bear", "grass"} <= set(words)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    scores = noun_scores(xs, xs.encode_image(BEAR))
    assert [one.word for one in likeliest(scores, 9, ("GRASS",))] == [word for word in words if word != "grass"]
    monkeypatch.setattr("eovseg.loading.load", lambda *given: xs)
    assert cli.main(["suggest", str(BEAR), "no-such.jpg", "-k", "10", "--json"]) == 1
    printed, said = capsys.readouterr()
    assert [one["word"] for one in json.loads(printed)["words"]] == words and "no-such.jpg" in said


@pytest.mark.parametrize("k", [0, -1, "x", 2.5])
def test_the_number_of_suggestions_is_checked(xs: "Predictor", k: object) -> None:
    with pytest.raises(ConfigError, match="an integer from 1"):
        xs.suggest(BEAR, k)  # type: ignore[arg-type]


def test_words_that_never_win(xs: "Predictor") -> None:
    words = Vocabulary.parse("bear; grass: stuff; gown; refrigerator; mosaic")
    decoded = xs.decode(xs.encode_image(BEAR), words)
    void = decoded.logits.class_logits[-1][0].softmax(-1)[:, -1]
    for void_threshold in (0.3, 1.0):
        kept = void <= void_threshold
        won = np.zeros(len(words), dtype=bool)
        for alpha, beta in itertools.product(np.linspace(0, 1, 21), repeat=2):
            best = xs.log_probabilities(decoded, alpha=float(alpha), beta=float(beta))[kept, :-1].argmax(-1)
            won[best.numpy()] = True
        found = can_win(xs, decoded, Settings(void_threshold=void_threshold))
        assert found.tolist() == won.tolist()


def test_a_list_is_checked(
    xs: "Predictor", capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eovseg.loading.load", lambda *given: xs)
    options = ["doctor", str(BEAR), "-v", "bear; refrigerator", "--json"]
    assert cli.main(options) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["photos"] == 1 and len(found["add"]) == 5
    added = {name for one in found["add"] for name in one["names"]}
    assert "grass" in added and not added & {"bear", "refrigerator"}
    assert [gap["share"] for gap in found["gaps"]] == sorted((gap["share"] for gap in found["gaps"]), reverse=True)
    diagnosis = xs.doctor([BEAR, BEAR], "bear; grass; lawn")
    assert (diagnosis.photos == 2 and "these 2 photos" in " ".join(diagnosis.lines())) or not diagnosis.never


def test_a_diagnosis_in_sentences() -> None:
    gaps = [UncoveredArea(name, 0.12, (375, 155, 620, 266), ("sign", "wall"), "at the right") for name in ("", "a.jpg")]
    assert Diagnosis(1, ("gown", "pan"), (), tuple(gaps), ()).lines() == [
        'These words win nowhere in this photo, whatever α and β: "gown", "pan".',
        "No word fits an area at the right (12 % of the photo); sign or wall may fit.",
        "a.jpg: no word fits an area at the right (12 % of the photo); sign or wall may fit.",
    ]


@pytest.mark.parametrize(
    ("box", "where"),
    [
        ((375, 155, 620, 266), "at the right"),
        ((0, 0, 640, 90), "at the top"), ((0, 330, 150, 427), "at the bottom left"),
        ((250, 150, 400, 280), "in the middle"), ((0, 0, 640, 427), "spread across the photo"),
    ],
)  # fmt: skip
def test_the_place_of_an_area(box: tuple[int, int, int, int], where: str) -> None:
    assert place_in_words(box, (427, 640)) == where


def test_masks_on_the_kernels_grid(xs: "Predictor") -> None:
    decoded = xs.decode(xs.encode_image(BEAR), "bear")
    mask = np.zeros(decoded.state.image.shape[:2], dtype=bool)
    mask[: len(mask) // 2] = True
    grid = on_grid(mask, decoded)
    assert grid.shape == decoded.logits.mask_logits[-1].shape[-2:]
    height = decoded.state.features.image_size[0] / 4
    assert grid.any(1).sum() == pytest.approx(height / 2, abs=1)


def test_photos_of_a_folder(xs: "Predictor", tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["suggest", str(tmp_path)]) == 1
    assert "has no photos" in capsys.readouterr().err
