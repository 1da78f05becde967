"""VAS never holds pixels x words: streamed equals whole, and memory grows by the words' own rows only."""

import subprocess
import sys

import pytest
import torch

from eovseg.model.vas import VocabularyAwareSelection


@pytest.mark.parametrize("heads", [1, 4])
@pytest.mark.parametrize("words", [1, 63, 64, 200])
def test_streamed_equals_whole_with_gradients(heads: int, words: int) -> None:
    torch.manual_seed(0)
    vas = VocabularyAwareSelection(16, 24, 32, heads).double().eval()
    features, text = torch.randn(2, 16, 5, 6).double(), torch.randn(words, 24).double()
    embedding = vas.embed(features).detach().requires_grad_()
    whole = vas.similarity(embedding, text).softmax(dim=2).amax(dim=2).unflatten(-1, (5, 6))
    streamed = vas.attention_maximum(embedding, text)
    torch.testing.assert_close(streamed, whole)
    weights = torch.randn_like(whole)
    (expected,) = torch.autograd.grad((whole * weights).sum(), embedding)
    (found,) = torch.autograd.grad((streamed * weights).sum(), embedding)
    torch.testing.assert_close(found, expected)
    with torch.no_grad():
        torch.testing.assert_close(vas.attention_maximum(embedding, text), whole)


PEAK = """
import resource, sys, torch
from eovseg.model.vas import VocabularyAwareSelection
torch.set_num_threads(1)
vas = VocabularyAwareSelection(32, 64, 64).eval()
features = torch.randn(1, 32, 60, 80)
with torch.inference_mode():
    vas(features, torch.randn(20, 64))
    text = torch.randn(int(sys.argv[1]), 64)
    vas(features, text)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_peak_memory_grows_by_no_more_than_the_words_rows() -> None:
    def peak(words: int) -> int:  # kilobytes, in a process of its own
        run = subprocess.run([sys.executable, "-c", PEAK, str(words)], capture_output=True, text=True, check=True)
        return int(run.stdout)

    rows = 10_000 * 64 * 4 / 1024  # one copy of the words' rows; projecting them makes a few more
    block = 60 * 80 * 64 * 4 / 1024  # a block of 64 words over all pixels; all words at once would be 156 blocks
    assert peak(10_000) - peak(20) <= 6 * rows + 2 * block
