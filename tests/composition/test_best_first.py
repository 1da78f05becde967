"""The composition "best-first" and masks along edges, on masks that are easy to check by eye."""

import pytest
import torch
from torch import Tensor

from eovseg.composition.edges import along_edges
from eovseg.composition.geometry import MaskGeometry
from eovseg.composition.panoptic import best_first, panoptic
from eovseg.composition.tiles import TiledMasks

SIZE = (32, 64)  # of the photo; masks are 8 x 16
WAY = MaskGeometry(SIZE, SIZE, SIZE)
THINGS = torch.tensor([True, False])


def scores_of(*rows: tuple[float, float]) -> Tensor:
    """Log-probabilities (Q, 3) of a thing class, a stuff class and void, which gets the rest."""
    return torch.tensor([(*row, 1 - sum(row)) for row in rows]).log()


def masks_of(*columns: tuple[int, int, float], outside: float = -9.0) -> TiledMasks:
    """One mask per kernel that covers the columns start..stop of 16, with a logit inside."""
    masks = torch.full((len(columns), 8, 16), outside)
    for mask, (start, stop, logit) in zip(masks, columns, strict=True):
        mask[:, start:stop] = logit
    return TiledMasks(masks, WAY)


def test_a_kernel_needs_enough_area_that_better_ones_leave() -> None:
    """Kernel 1 covers kernel 0 but scores less; kernel 2 is elsewhere: only the better duplicate is accepted."""
    masks = masks_of((0, 8, 2.0), (0, 8, 1.0), (8, 16, 3.0))
    scores = scores_of((0.6, 0.1), (0.6, 0.1), (0.5, 0.1))
    found, records = best_first(scores, masks, THINGS)
    assert [record.query for record in records] == [0, 2]  # 0.6 x 0.88, 0.5 x 0.95
    assert [record.score for record in records] == pytest.approx([0.6, 0.5], abs=1e-6)
    assert found[0, 0] == 1 and found[0, -1] == 2


@pytest.mark.parametrize(("share", "expected"), [(0.5, [0, 1]), (0.51, [0])])
def test_the_visible_share(share: float, expected: list[int]) -> None:
    masks = masks_of((0, 8, 3.0), (4, 12, 2.0))  # half of the second is covered
    _, records = best_first(scores_of((0.9, 0.05), (0.9, 0.05)), masks, THINGS, overlap_threshold=share)
    assert [record.query for record in records] == expected


def test_low_scores_void_and_stuff() -> None:
    masks = masks_of((0, 4, 3.0), (4, 8, 3.0), (8, 12, 3.0), (12, 16, 3.0))
    scores = scores_of((0.15, 0.1), (0.05, 0.6), (0.05, 0.7), (0.3, 0.3))
    found, records = best_first(scores, masks, THINGS, void_threshold=0.35)
    assert [(record.class_id, record.query, round(record.score, 4)) for record in records] == [(1, 2, 0.7)]
    assert found[0].unique().tolist() == [0, 1], "both stuff kernels are one segment"
    assert found[0, 30] == found[0, 36] == 1 and found[0, 0] == 0 and found[0, 60] == 0


def test_no_unnamed_pixels_between_two_found_neighbours() -> None:
    """Both masks are below 0.4 in the columns between them, where the released rule leaves a gap."""
    columns = torch.arange(16.0)
    left, right = 1.0 - 0.5 * (columns - 4).clamp(min=0), 1.0 - 0.5 * (11 - columns).clamp(min=0)
    masks = TiledMasks(torch.stack([left, right])[:, None].expand(-1, 8, -1).contiguous(), WAY)
    scores = scores_of((0.8, 0.05), (0.5, 0.4))
    gap, _ = panoptic(scores, masks, THINGS, score_threshold=0.2, overlap_threshold=0.5)
    assert (gap == 0).any()
    found, records = best_first(scores, masks, THINGS, pixel_threshold=0.3)
    assert len(records) == 2 and not (found == 0).any()
    assert (found[:, :32] == 1).all() and (found[:, 32:] == 2).all(), (
        "the more confident mask wins, regardless of score"
    )


@pytest.mark.parametrize(("factor", "named"), [(1.0, [0]), (0.7, [0, 2])])
def test_large_masks_have_a_lower_threshold(factor: float, named: list[int]) -> None:
    """Kernels 0 and 2 cover a quarter of the photo, kernel 1 a sixteenth."""
    masks, scores = masks_of((0, 4, 3.0), (4, 5, 3.0), (5, 9, 3.0)), scores_of((0.28, 0.05), (0.15, 0.05), (0.15, 0.05))
    _, records = best_first(scores, masks, THINGS, void_threshold=0.9, large_score_factor=factor)
    assert [record.query for record in records] == named


def test_nothing_found() -> None:
    found, records = best_first(scores_of((0.1, 0.1)), masks_of((0, 8, 3.0)), THINGS)
    assert found.shape == SIZE and not found.any() and records == []


def edge_photo(column: int) -> Tensor:
    """Dark to the left of `column`, light to the right: (3, 32, 64) in 0..1."""
    photo = torch.full((3, *SIZE), 0.2)
    photo[:, :, column:] = 0.8
    return photo


@pytest.mark.parametrize("column", [29, 32, 34])
def test_masks_end_where_the_photo_does(column: int) -> None:
    """The mask at stride 4 ends at 32; the photo's edge is up to three pixels away."""
    masks = masks_of((0, 8, 4.0), outside=-4.0).mask_logits
    refined = along_edges(masks, edge_photo(column))[0]
    assert refined.shape == SIZE
    assert ((refined > 0).sum(1) == column).all()


def test_edges_move_outlines_not_segments() -> None:
    masks = masks_of((0, 8, 4.0), (8, 16, 4.0), outside=-4.0)
    scores = scores_of((0.8, 0.1), (0.7, 0.1))
    for rule in (panoptic, best_first):
        plain, records = rule(scores, masks, THINGS, overlap_threshold=0.5)
        moved, same = rule(scores, masks, THINGS, overlap_threshold=0.5, guide=edge_photo(29))
        assert records == same and len(records) == 2
        assert (plain == 1).sum(1).unique().tolist() == [32] and (moved == 1).sum(1).unique().tolist() == [29]


def test_a_padded_photo_of_another_size() -> None:
    """Padding is ignored, and the map has the photo's original size."""
    masks = TiledMasks(masks_of((0, 16, 4.0)).mask_logits, MaskGeometry(SIZE, (20, 50), (61, 151)))
    found, records = best_first(scores_of((0.9, 0.05)), masks, THINGS, guide=torch.rand(3, 20, 50))
    assert found.shape == (61, 151) and len(records) == 1 and (found == 1).all()
    assert masks.cells(torch.tensor([0])).shape == (1, 5, 13)
