"""Figures for screens, with hover and zoom: every function takes arrays or rows and returns a plotly figure."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analysis.ablation import RouterRow
from analysis.ensemble import ClassVote
from analysis.similarity import SimilarityMaps, WordScore
from analysis.style import CATEGORIES, OURS, PAPER, PLOTLY, SIMILARITY_MAP


def similarity_screen(maps: SimilarityMaps, index: int = 0, stride: int = 2) -> go.Figure:
    """One word's maps before and after VAS side by side on the shared scale, every `stride`-th pixel."""
    low, high = maps.limits
    figure = make_subplots(1, 2, subplot_titles=("before VAS", "after VAS"), horizontal_spacing=0.03)
    for column, values in enumerate((maps.before[index], maps.after[index]), start=1):
        height, width = values.shape
        figure.add_trace(
            go.Heatmap(
                z=values[::stride, ::stride].round(3),
                x=list(range(0, width, stride)),
                y=list(range(0, height, stride)),
                coloraxis="coloraxis",
                hovertemplate="x %{x}, y %{y}: %{z:.3f}<extra></extra>",
            ),
            1,
            column,
        )
        axis = "" if column == 1 else str(column)
        figure.update_yaxes(autorange="reversed", scaleanchor=f"x{axis}", visible=False, row=1, col=column)
        figure.update_xaxes(visible=False, row=1, col=column)
    figure.update_layout(
        coloraxis={"colorscale": SIMILARITY_MAP, "cmin": low, "cmax": high, "colorbar": {"title": maps.measure}}
    )
    return _styled(figure, f"“{maps.words[index]}”")


def competition_screen(scores: Sequence[WordScore]) -> go.Figure:
    """The words that compete at a pixel, the strongest on top: each one's share of VAS's softmax."""
    figure = go.Figure(
        go.Bar(
            x=[score.share for score in scores],
            y=[score.word for score in scores],
            orientation="h",
            marker_color=OURS,
            customdata=[(score.before, score.after) for score in scores],
            hovertemplate="%{y}: %{x:.1%}<br>similarity before %{customdata[0]:.2f}, after %{customdata[1]:.2f}"
            "<extra></extra>",
        )
    )
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(title="share of the softmax over words", tickformat=".0%", rangemode="tozero")
    return _styled(figure, "words at this pixel")


def votes_screen(votes: Sequence[ClassVote]) -> go.Figure:
    """Why this class: the two classifiers and the ensemble side by side for the best classes of a kernel."""
    labels = [f"{vote.label} ({'seen' if vote.seen else 'unseen'})" for vote in votes]
    columns = (
        ("in-vocabulary", [vote.in_vocabulary for vote in votes], CATEGORIES[0]),
        ("out-of-vocabulary", [vote.out_of_vocabulary for vote in votes], CATEGORIES[1]),
        ("ensemble × (1 − void)", [vote.score for vote in votes], CATEGORIES[2]),
    )
    figure = go.Figure([go.Bar(x=labels, y=values, name=name, marker_color=c) for name, values, c in columns])
    figure.update_yaxes(title="probability", range=[0, 1], tickformat=".0%")
    figure.update_layout(barmode="group", legend={"orientation": "h", "y": -0.2})
    title = "class scores of this kernel"
    if votes and not votes[0].weighed:
        title += "<br><sup>its mask is too small for the frozen tower: in-vocabulary alone</sup>"
    return _styled(figure, title)


def router_screen(rows: Sequence[RouterRow]) -> go.Figure:
    """TDEE's mean mask and spatial weight of each segment in the last layer that `rows` have; hover for the numbers."""
    last = max((row.layer for row in rows), default=0)
    chosen = [row for row in rows if row.layer == last]
    labels = [f"{row.photo} {row.label} #{row.segment}".strip() for row in chosen]
    columns = (
        ("mask weight", [row.mask_weight for row in chosen], OURS),
        ("spatial weight", [row.spatial_weight for row in chosen], CATEGORIES[1]),
        ("channels with spatial > mask", [row.spatial_share for row in chosen], PAPER),
    )
    figure = go.Figure([go.Bar(x=labels, y=values, name=name, marker_color=c) for name, values, c in columns])
    figure.update_yaxes(title="mean over channels", range=[0, 1])
    figure.update_layout(barmode="group", legend={"orientation": "h", "y": -0.25})
    return _styled(figure, f"TDEE's routers, decoder layer {last}")


def _styled(figure: go.Figure, title: str) -> go.Figure:
    layout: dict[str, Any] = {"title": title, **PLOTLY}
    figure.update_layout(layout)
    return figure
