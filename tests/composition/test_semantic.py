"""The semantic task with a word map: a geometric mean of both, pixel by pixel."""

import torch

from eovseg.composition.geometry import MaskGeometry
from eovseg.composition.semantic import semantic, semantic_argmax


def test_the_word_map_is_mixed_as_a_geometric_mean() -> None:
    torch.manual_seed(0)
    scores, masks, words = torch.randn(6, 5), torch.randn(6, 8, 12), torch.randn(4, 8, 12).log_softmax(0)
    geometry = MaskGeometry((32, 48), (30, 44), (61, 90))
    kernels = semantic(scores, masks, geometry)
    resized = torch.nn.functional.interpolate(words[None], (32, 48), mode="bilinear")[..., :30, :44]
    resized = torch.nn.functional.interpolate(resized, (61, 90), mode="bilinear")[0]
    for weight in (0.0, 0.3, 1.0):
        expected = kernels.log() * (1 - weight) + resized * weight
        best, score = semantic_argmax(scores, masks, geometry, words, weight)
        torch.testing.assert_close(score.log(), expected.amax(0), atol=1e-4, rtol=1e-4)
        assert (best == expected.argmax(0)).float().mean() > 0.999
