"""Streamed VAS equals the plain version, and its memory grows only by the word rows, not by pixels x words."""

import subprocess
import sys

import pytest
import torch

from eovseg.fast.vas import StreamedSelection, scanned_maximum, streamed_maximum
from eovseg.model.vas import VocabularyAwareSelection


@pytest.mark.parametrize("heads", [1, 4])
@pytest.mark.parametrize("words", [1, 63, 64, 200])
def test_streamed_equals_whole_with_gradients(heads: int, words: int) -> None:
    torch.manual_seed(0)
    vas = StreamedSelection(16, 32, heads).double().eval()
    features, text = torch.randn(2, 16, 5, 6).double(), torch.randn(words, 32).double()
    embedding = vas.embed(features).detach().requires_grad_()
    whole = VocabularyAwareSelection.attention_maximum(vas, embedding, text)
    streamed = vas.attention_maximum(embedding, text)
    torch.testing.assert_close(streamed, whole)
    weights, learned = torch.randn_like(whole), (embedding, vas.guide.weight, vas.guide.bias)
    expected = torch.autograd.grad((whole * weights).sum(), learned)
    found = torch.autograd.grad((streamed * weights).sum(), learned)
    torch.testing.assert_close(found, expected)
    with torch.no_grad():
        torch.testing.assert_close(vas.attention_maximum(embedding, text), whole)


@pytest.mark.parametrize("words", [1, 40, 3_001])
def test_several_blocks(words: int) -> None:
    embedding, guide = torch.randn(2, 8, 1_500) * 4, torch.randn(2, words, 8) * 4
    expected = (guide @ embedding).softmax(1).amax(1)
    torch.testing.assert_close(streamed_maximum(embedding, guide), expected, rtol=1e-4, atol=1e-6)
    scanned = scanned_maximum(embedding, guide.transpose(0, 1))
    torch.testing.assert_close(scanned, expected, rtol=1e-4, atol=1e-6)


PEAK = """
import resource, sys, torch
from eovseg.fast.vas import StreamedSelection
torch.set_num_threads(1)
vas = StreamedSelection(32, 64).eval()
features = torch.randn(1, 32, 60, 80)
with torch.inference_mode():
    vas(features, torch.randn(20, 64))
    text = torch.randn(int(sys.argv[1]), 64)
    vas(features, text)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_peak_memory_grows_only_by_the_word_rows() -> None:
    def peak(words: int) -> int:  # kilobytes, in a new process
        run = subprocess.run([sys.executable, "-c", PEAK, str(words)], capture_output=True, text=True, check=True)
        return int(run.stdout)

    rows = 10_000 * 64 * 4 / 1024  # one copy of the word rows; projecting them needs a few more
    block = 60 * 80 * 64 * 4 / 1024  # a block of 64 words over all pixels; all words at once would be 156 blocks
    assert peak(10_000) - peak(20) <= 6 * rows + 2 * block
