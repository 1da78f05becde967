"""Figures for the screen, with hover and zoom: every function takes arrays or rows and returns a plotly `Figure`."""

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from plotly.utils import image_array_to_data_uri

from analysis.ablation import RouterRow, axis_limits, router_summary
from analysis.ensemble import ClassVote
from analysis.similarity import SimilarityMaps, WordScore
from analysis.style import CATEGORIES, INK, OURS, PLOTLY, POINT, SIMILARITY_MAP


def similarity_screen(maps: SimilarityMaps, index: int = 0, stride: int = 2) -> go.Figure:
    """One word's maps before and after VAS on one scale, and after VAS on its own scale; every `stride`-th pixel."""
    low, high = maps.limits
    titles = ("before VAS, same scale", "after VAS, same scale", "after VAS, own scale")
    figure = make_subplots(1, 3, subplot_titles=titles, horizontal_spacing=0.02)
    panels = ((maps.before, "coloraxis"), (maps.after, "coloraxis"), (maps.after, "coloraxis2"))
    for column, (values, colours) in enumerate(panels, start=1):
        height, width = values[index].shape
        figure.add_trace(
            go.Heatmap(
                z=values[index, ::stride, ::stride].round(3),
                x=list(range(0, width, stride)),
                y=list(range(0, height, stride)),
                coloraxis=colours,
                hovertemplate="x %{x}, y %{y}: %{z:.3f}<extra></extra>",
            ),
            1,
            column,
        )
        axis = "" if column == 1 else str(column)
        figure.update_yaxes(autorange="reversed", scaleanchor=f"x{axis}", visible=False, row=1, col=column)
        figure.update_xaxes(visible=False, row=1, col=column)
    bar = {"orientation": "h", "y": -0.05, "yanchor": "top", "thickness": 12}
    title = {"text": maps.measure, "side": "bottom"}
    figure.update_layout(
        coloraxis={
            "colorscale": SIMILARITY_MAP, "cmin": low, "cmax": high,
            "colorbar": {**bar, "x": 0.33, "len": 0.6, "title": title},
        },
        coloraxis2={
            "colorscale": SIMILARITY_MAP, "colorbar": {**bar, "x": 0.84, "len": 0.3, "title": title},
        },
        height=400,
    )  # fmt: skip
    weights = "{:.2f} to {:.2f}".format(*maps.weight_limits)
    styled = _styled(figure, f"“{escape(maps.words[index])}”: VAS's weights are {weights} on this photo")
    return styled.update_layout(margin={"t": 90, "l": 20})


def competition_screen(scores: Sequence[WordScore], image: np.ndarray, x: int, y: int) -> go.Figure:
    """A photo (H, W, 3) with pixel (x, y) marked, beside the shares of VAS's softmax there, the largest on top."""
    figure = make_subplots(1, 2, column_widths=[0.45, 0.55], horizontal_spacing=0.2)
    figure.add_trace(go.Image(source=image_array_to_data_uri(image, ext="jpg"), hoverinfo="x+y"), 1, 1)
    cross = {"symbol": "cross-thin", "size": 22, "line": {"width": 3, "color": POINT}}
    figure.add_trace(go.Scatter(x=[x], y=[y], mode="markers", marker=cross, hoverinfo="skip"), 1, 1)
    figure.add_trace(
        go.Bar(
            x=[score.share for score in scores],
            y=[escape(score.word) for score in scores],
            orientation="h",
            marker_color=OURS,
            text=["&lt; 0.1%" if 0 < score.share < 0.0005 else f"{score.share:.1%}" for score in scores],
            textposition="outside",
            cliponaxis=False,
            customdata=[(score.before, score.after) for score in scores],
            hovertemplate="%{y}: %{text}<br>similarity before %{customdata[0]:.2f}, after %{customdata[1]:.2f}"
            "<extra></extra>",
        ),
        1,
        2,
    )
    figure.update_xaxes(visible=False, row=1, col=1)
    figure.update_yaxes(visible=False, row=1, col=1)
    figure.update_yaxes(autorange="reversed", row=1, col=2)
    share = {"title": "share of the softmax over all words", "tickformat": ".0%", "range": [0, 1.15]}
    figure.update_xaxes(**share, row=1, col=2)
    figure.update_layout(height=130 + 28 * max(8, len(scores)), showlegend=False)
    return _styled(figure, f"Words that compete at pixel x {x}, y {y}").update_layout(margin={"l": 20, "r": 45})


def votes_screen(votes: Sequence[ClassVote]) -> go.Figure:
    """Why a class won: both classifiers and the ensemble side by side for the best classes of a kernel."""
    labels = [f"{escape(vote.label)} ({'seen' if vote.seen else 'unseen'})" for vote in votes]
    columns = (
        ("in-vocabulary (trained)", [vote.in_vocabulary for vote in votes], CATEGORIES[0]),
        ("out-of-vocabulary (frozen image encoder)", [vote.out_of_vocabulary for vote in votes], CATEGORIES[1]),
        ("ensemble × (1 − void)", [vote.score for vote in votes], CATEGORIES[2]),
    )
    bars = [
        go.Bar(
            x=labels, y=values, name=name, marker_color=colour, texttemplate="%{y:.0%}", textposition="outside",
            cliponaxis=False, hovertemplate="%{x}: %{y:.2%}<extra></extra>",
        )
        for name, values, colour in columns
    ]  # fmt: skip
    figure = go.Figure(bars)
    figure.update_yaxes(title="probability", range=[0, 1.1], tickvals=[0, 0.2, 0.4, 0.6, 0.8, 1], tickformat=".0%")
    figure.update_layout(barmode="group", legend={"orientation": "h", "y": -0.2})
    title = "class scores of this kernel"
    if votes and not votes[0].weighed:
        title += "<br><sup>mask too small for the image encoder: only the in-vocabulary classifier counts</sup>"
    return _styled(figure, title)


def router_screen(rows: Sequence[RouterRow]) -> go.Figure:
    """TDEE's routers layer by layer: the share of channels in which the spatial weight is the larger one.

    The left panel of `router_figure`, with the same colours and units. Each pale dot is one segment; hovering shows its
    name and its weights.
    """
    figure = go.Figure()
    summaries = router_summary(rows)
    for is_thing, kind, place, symbol in ((True, "things", -0.1, "circle"), (False, "stuff", 0.1, "triangle-up")):
        chosen = [row for row in rows if row.is_thing == is_thing]
        figure.add_scatter(
            x=[row.layer + place for row in chosen],
            y=[row.spatial_share for row in chosen],
            mode="markers",
            marker={"color": INK, "opacity": 0.3, "size": 6},
            customdata=[(escape(f"{r.photo} {r.label}".strip()), r.mask_weight, r.spatial_weight) for r in chosen],
            hovertemplate="%{customdata[0]}: %{y:.2f} of the channels<br>mean mask weight %{customdata[1]:.2f}, "
            "spatial %{customdata[2]:.2f}<extra></extra>",
            showlegend=False,
        )
        means = [summary for summary in summaries if summary.is_thing == is_thing]
        figure.add_scatter(
            x=[summary.layer + place for summary in means],
            y=[summary.spatial_share.mean for summary in means],
            error_y={"type": "data", "array": [summary.spatial_share.deviation for summary in means]},
            mode="markers",
            marker={"color": INK, "size": 11, "symbol": symbol},
            name=f"{kind}: mean ± standard deviation over {means[0].segments if means else 0} segments",
            hovertemplate="mean %{y:.3f}<extra></extra>",
        )
    low, high = axis_limits([row.spatial_share for row in rows])
    figure.add_hline(0.5, line={"dash": "dot", "width": 1})
    figure.update_xaxes(title="decoder layer", tickvals=sorted({row.layer for row in rows}))
    title = f"share of channels with spatial > mask<br>(axis cut: {low:.2f} to {high:.2f})"
    figure.update_yaxes(title=title, range=[low, high], tickformat=".2f")
    figure.update_layout(legend={"orientation": "h", "y": -0.25})
    photos = len({row.photo for row in rows})
    return _styled(figure, f"TDEE's routers over {photos} photo{'s' * (photos != 1)}")


def _styled(figure: go.Figure, title: str) -> go.Figure:
    layout: dict[str, Any] = {"title": title, **PLOTLY}
    figure.update_layout(layout)
    return figure
