"""Colours over a photo, compared with values computed by hand."""

import numpy as np
import pytest

from analysis.pictures import colour_table, heat_over_photo, mask_over_photo

GREY = np.full((4, 6, 3), 100, np.uint8)


def test_the_table_is_matplotlibs() -> None:
    table = colour_table("viridis")
    assert table.shape == (256, 3)
    assert table[0].tolist() == [68, 1, 84] and table[-1].tolist() == [253, 231, 37]


def test_the_limits_have_the_first_and_last_colour() -> None:
    values = np.linspace(-1, 1, 24).reshape(4, 6)
    picture = heat_over_photo(GREY, values, (-1.0, 1.0), "viridis", strength=1.0)
    assert (picture[0, 0] == colour_table("viridis")[0]).all() and (picture[3, 5] == colour_table("viridis")[-1]).all()
    beyond = heat_over_photo(GREY, 10 * values, (-1.0, 1.0), "viridis", strength=1.0)
    assert (beyond[0, 0] == picture[0, 0]).all(), "values beyond the scale have its ends' colours"
    flat = heat_over_photo(GREY, np.zeros((4, 6)), (0.0, 0.0), "viridis", strength=1.0)
    assert (flat == flat[0, 0]).all()


def test_without_strength_the_grey_photo_is_left() -> None:
    assert (heat_over_photo(GREY, np.zeros((4, 6)), (0.0, 1.0), strength=0.0) == 100).all()


def test_the_line_runs_where_the_mask_crosses_one_half() -> None:
    mask = np.zeros((4, 6))
    mask[:, 3:] = 0.9
    white = (mask_over_photo(GREY, mask) == 255).all(-1)
    assert white[:, 3].all() and white.sum() == 4


def test_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="sizes must agree"):
        heat_over_photo(GREY, np.zeros((4, 5)), (0.0, 1.0))
