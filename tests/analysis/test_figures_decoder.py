"""One kernel through the layers, and TDEE's routers as mean and deviation on axes whose labels state the cropping."""

import numpy as np
import pytest

from analysis import figures_plotly as screen
from analysis.ablation import RouterRow
from analysis.figures_decoder import layers_figure, router_figure
from analysis.layers import LayerClass, QueryPath
from analysis.style import INK
from tests.analysis.conftest import texts

IMAGE = np.full((4, 6, 3), 90, np.uint8)


def test_layers_name_words_and_overlap() -> None:
    words = (
        (LayerClass("bus", 0.75), LayerClass("car", 0.004)),
        (LayerClass("$bus$", 0.004),),
        (LayerClass("bus", 1),),
    )
    path = QueryPath(9, np.ones((4, 4, 6), np.float32), words, np.ones((3, 2)) / 2)
    found = texts(layers_figure(IMAGE, path))
    assert {"kernel 9, initial mask", "after layer 3", "IoU with last mask 1.00\nbus 75%"} <= set(found)
    assert "IoU with last mask 1.00\n$bus$ 0%" in found, "the best word is kept, however unlikely"


def router_rows_by_hand() -> list[RouterRow]:
    shares = (("a", True, 0.40), ("b", True, 0.44), ("b", False, 0.53))
    return [
        RouterRow(photo, number, "<b>bus", is_thing, layer, 0.48, 0.51, share)
        for layer in (1, 2)
        for number, (photo, is_thing, share) in enumerate(shares)
    ]


def test_routers_show_mean_and_deviation_on_an_axis_labelled_as_cropped() -> None:
    figure = router_figure(router_rows_by_hand())
    shares, weights = figure.axes
    assert shares.get_ylim() == pytest.approx((0.4, 0.55)) and weights.get_ylim() == pytest.approx((0.45, 0.55))
    assert "(axis cut: 0.40 to 0.55)" in shares.get_ylabel()
    things = next(bars for bars in shares.containers if bars.get_label() == "things")
    assert things.lines[0].get_ydata() == pytest.approx([0.42, 0.42])
    (spans,) = things.lines[2]
    assert spans.get_segments()[0][:, 1] == pytest.approx([0.40, 0.44])  # mean -+ one deviation
    caption = "mean ± standard deviation over 2 things and 1 stuff segments of 2 photos; each pale dot is one segment"
    assert caption in texts(figure)
    assert "0 things and 0 stuff segments of 0 photos" in " ".join(texts(router_figure([])))


def test_router_screen_has_the_numbers_colours_and_units_of_the_figure_and_no_markup_of_words() -> None:
    routers = screen.router_screen(router_rows_by_hand())
    shares, _ = router_figure(router_rows_by_hand()).axes
    things = routers.data[1]
    assert list(things.y) == pytest.approx([0.42, 0.42]) and list(things.error_y.array) == pytest.approx([0.02, 0.02])
    assert tuple(routers.layout.yaxis.range) == pytest.approx((0.4, 0.55))
    assert routers.layout.yaxis.title.text.replace("<br>", "\n") == shares.get_ylabel()
    assert (
        {trace.marker.color for trace in routers.data}
        == {INK}
        == {bars.lines[0].get_color() for bars in shares.containers}
    )
    assert "2 photos" in routers.layout.title.text
    assert routers.data[0].customdata[0][0] == "a &lt;b&gt;bus"
    assert len(screen.router_screen([]).data) == 4
