"""The bias of VAS's word projection: fitted as log-odds, and without effect on the segmentation."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from eovseg.predictor import Predictor
from eovseg.training.word_odds import fit_word_odds, main, set_word_odds
from eovseg.vocabulary import Vocabulary


def test_the_shift_separates_words_from_other_pixels() -> None:
    """Pixels lie near the direction of their word, with a floor that all words share; the shift removes the floor."""
    torch.manual_seed(0)
    words = torch.eye(3, 8)
    floor = torch.zeros(8)
    floor[:4] = torch.tensor([1.0, 1.0, 1.0, 3.0])
    labels = torch.arange(300) % 3
    embeddings = 3 * words[labels] + floor + 0.1 * torch.randn(300, 8)
    shift = fit_word_odds(embeddings, words, labels)
    truth = torch.nn.functional.one_hot(labels, 3).bool()
    before, after = embeddings @ words.T, embeddings @ (words + shift).T
    assert (before[~truth] > 0).float().mean() > 0.9
    assert (after[truth] > 0).all() and (after[~truth] < 0).all()


def test_the_segmentation_does_not_change(xs: Predictor) -> None:
    random = np.random.default_rng(0)
    photo = random.integers(0, 255, (96, 128, 3), dtype=np.uint8)
    classes = np.repeat(np.arange(2), 64)[None].repeat(96, 0)
    words = Vocabulary.parse("sky, clouds: stuff; road: stuff")
    changed = copy.copy(xs)
    changed.network = copy.deepcopy(xs.network)
    set_word_odds(changed, words, [(photo, classes)])
    assert changed.network.vas is not None and xs.network.vas is not None
    assert (changed.network.vas.guide.bias - xs.network.vas.guide.bias).abs().max() > 1e-3
    before, after = (one.decode(one.encode_image(photo, keep=False), words).logits for one in (xs, changed))
    torch.testing.assert_close(before.mask_logits[-1], after.mask_logits[-1], atol=5e-3, rtol=1e-3)
    torch.testing.assert_close(before.class_logits[-1], after.class_logits[-1], atol=2e-3, rtol=1e-3)


def test_a_missing_file_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.safetensors"), str(tmp_path), "--output", str(tmp_path / "new")]) == 1
    assert "does not exist" in capsys.readouterr().err
