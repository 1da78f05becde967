"""Winners found tile by tile equal those found with all masks at photo size."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from eovseg.composition import geometry, tiles
from eovseg.composition.geometry import MaskGeometry
from eovseg.composition.panoptic import panoptic
from eovseg.composition.tiles import TILE, TiledMasks

GEOMETRIES = {
    "as the network saw it": MaskGeometry((96, 160), (90, 150), (90, 150)),
    "enlarged": MaskGeometry((96, 160), (90, 150), (211, 333)),
    "much enlarged": MaskGeometry((96, 160), (96, 160), (400, 651)),
    "made smaller": MaskGeometry((96, 160), (90, 150), (37, 61)),
    "one pixel": MaskGeometry((96, 160), (96, 160), (1, 1)),
    "a strip": MaskGeometry((96, 160), (5, 160), (5, 160)),
}


def whole(masks: Tensor, way: MaskGeometry) -> Tensor:
    """Masks (Q, h, w) upsampled, cropped and resized without tiles."""
    large = F.interpolate(masks[None], way.padded_size, mode="bilinear", align_corners=False)
    large = large[..., : way.input_size[0], : way.input_size[1]]
    return F.interpolate(large, way.output_size, mode="bilinear", align_corners=False)[0]


def smooth(kernels: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Masks with large regions, like those of a network, and a noise mask."""
    generator = torch.Generator().manual_seed(seed)
    coarse = 12 * torch.randn(1, kernels, 4, 6, generator=generator, dtype=dtype)
    masks = F.interpolate(coarse, (24, 40), mode="bicubic")[0]
    masks[-1] = 5 * torch.randn(24, 40, generator=generator, dtype=dtype)
    return masks


def won(code: Tensor) -> tuple[Tensor, Tensor]:
    return code.long() // 2, code % 2 == 1


@pytest.mark.parametrize("way", GEOMETRIES.values(), ids=GEOMETRIES.keys())
@pytest.mark.parametrize("seed", [0, 1])
def test_winners_and_areas(way: MaskGeometry, seed: int) -> None:
    masks = smooth(17, seed)
    scores = torch.rand(17, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    queries = torch.tensor([16, 3, 4, 9, 0, 12, 1])
    probability = whole(masks, way)[queries].sigmoid()
    best = (probability * scores[queries, None, None]).argmax(0)
    tiled = TiledMasks(masks, way)
    winner, inside = won(tiled.compete(queries, scores[queries]))
    assert winner.shape == inside.shape == way.output_size
    assert torch.equal(winner, best)
    assert torch.equal(inside, probability.gather(0, best[None])[0] >= 0.5)
    assert tiled.areas(queries).tolist() == (probability >= 0.5).flatten(1).sum(1).tolist()
    assert tiled.areas(torch.tensor([4, 16])).tolist() == tiled.areas(queries)[[2, 0]].tolist(), "kept areas"


def test_the_first_of_equal_kernels_wins() -> None:
    way = GEOMETRIES["enlarged"]
    mask = smooth(1, 3)
    tiled = TiledMasks(mask.expand(5, -1, -1), way)
    winner, _ = won(tiled.compete(torch.arange(5), torch.full((5,), 0.5).double()))
    assert not winner.any()


def test_few_kernels_are_upsampled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each kernel covers a quarter: in most tiles, only one kernel remains to be upsampled."""
    way = MaskGeometry((384, 512), (384, 512), (384, 512))
    masks = torch.full((4, 96, 128), -9.0)
    for number, (rows, columns) in enumerate([(0, 0), (0, 64), (48, 0), (48, 64)]):
        masks[number, rows : rows + 48, columns : columns + 64] = 9.0
    made = []
    values = TiledMasks._values
    monkeypatch.setattr(TiledMasks, "_values", lambda own, q, t: made.append(len(t)) or values(own, q, t))
    winner, inside = won(TiledMasks(masks, way).compete(torch.arange(4), torch.ones(4)))
    assert inside.float().mean() > 0.97
    assert winner[0, 0] == 0 and winner[0, -1] == 1 and winner[-1, 0] == 2 and winner[-1, -1] == 3
    tiles_of_photo = (384 // TILE) * (512 // TILE)
    assert tiles_of_photo <= sum(made) < 1.5 * tiles_of_photo  # of 4 times as many


def test_results_do_not_depend_on_the_cache_or_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    way, is_thing = GEOMETRIES["enlarged"], torch.arange(5) < 3
    masks = smooth(12, 5, torch.float32)
    kept = TiledMasks(masks, way)
    ask = {"score_threshold": 0.3, "overlap_threshold": 0.2}
    found_any = 0
    for _ in range(4):
        scores = (4 * torch.randn(12, 6)).log_softmax(-1)
        found = panoptic(scores, kept, is_thing, **ask)
        fresh = panoptic(scores, TiledMasks(masks, way), is_thing, **ask)
        with monkeypatch.context() as patch:
            patch.setattr(tiles, "CHUNK_ELEMENTS", {"cpu": 5 * TILE**2, "other": 5 * TILE**2})
            few = panoptic(scores, TiledMasks(masks, way), is_thing, **ask)
        assert found[1] == fresh[1] == few[1]
        assert torch.equal(found[0], fresh[0]) and torch.equal(found[0], few[0])
        found_any += len(found[1])
    assert found_any > 8


def test_bands_equal_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Upsampling in bands of rows equals upsampling, cropping and resizing the full masks."""
    masks, way = torch.randn(3, 24, 40), GEOMETRIES["enlarged"]
    monkeypatch.setattr(geometry, "BAND_ELEMENTS", 5 * 3 * 333)
    bands = list(way.bands(masks))
    assert len(bands) > 40
    torch.testing.assert_close(torch.cat([band for _, band in bands], dim=1), whole(masks, way), rtol=1e-4, atol=1e-5)
