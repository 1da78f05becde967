"""Inside the decoder: one kernel's mask layer by layer, and what TDEE's routers weigh."""

from collections.abc import Sequence
from itertools import product

import numpy as np
from matplotlib import rc_context
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from analysis.ablation import RouterRow, axis_limits, router_summary
from analysis.layers import QueryPath, mask_agreement
from analysis.picture_grid import LINE_INCHES, head_text, picture_grid
from analysis.pictures import mask_over_photo
from analysis.style import CATEGORIES, INK, MATPLOTLIB, OURS, SIMILARITY_MAP


@rc_context(MATPLOTLIB)
def layers_figure(image: np.ndarray, path: QueryPath) -> Figure:
    """One kernel's initial mask and its mask after each layer, with its best words and its IoU with the last mask.

    The white line marks probability 0.5. Except for the best one, words below 1 % are omitted.
    """
    lines = [[f"IoU with last mask {iou:.2f}"] for iou in mask_agreement(path)]
    lines[0].append("no words yet")
    for found, classes in zip(lines[1:], path.classes, strict=True):
        found += [f"{c.label} {c.probability:.0%}" for i, c in enumerate(classes) if i == 0 or c.probability >= 0.01]
    head, under = LINE_INCHES + 0.05, LINE_INCHES * max(map(len, lines)) + 0.1
    figure, axes = picture_grid([image.shape], len(path.masks), [head], under=under, foot=0.5)
    for stage, (axis, mask, text) in enumerate(zip(axes[0], path.masks, lines, strict=True)):
        axis.imshow(mask_over_photo(image, mask))
        head_text(axis, f"kernel {path.query}, initial mask" if stage == 0 else f"after layer {stage}", head)
        axis.set_xlabel("\n".join(text))
    height = figure.get_figheight()
    bar = figure.add_axes((0.3, 0.38 / height, 0.4, 0.11 / height))
    figure.colorbar(ScalarMappable(Normalize(0, 1), SIMILARITY_MAP), cax=bar, orientation="horizontal")
    bar.set_xlabel("mask probability", labelpad=1)
    bar.tick_params(labelsize=8)
    return figure


@rc_context(MATPLOTLIB)
def router_figure(rows: Sequence[RouterRow]) -> Figure:
    """TDEE's routers layer by layer: mean and standard deviation over segments; each pale dot is one segment.

    Left: the share of channels whose spatial weight is the larger one. Right: both weights, averaged over channels. The
    axes are cropped to the data, and their labels say so.
    """
    figure = Figure(figsize=(8.4, 3.6), layout="constrained")
    axes: np.ndarray = figure.subplots(1, 2)
    panels = (
        (axes[0], "share of channels with spatial > mask", (("spatial_share", "", INK),)),
        (axes[1], "mean weight", (("mask_weight", "mask", OURS), ("spatial_weight", "spatial", CATEGORIES[1]))),
    )
    summaries = router_summary(rows)
    for axis, label, measures in panels:
        places = np.linspace(-0.24, 0.24, 2 * len(measures))
        for place, (is_thing, (measure, name, colour)) in zip(places, product((True, False), measures), strict=True):
            kind, marker = ("things", "o") if is_thing else ("stuff", "^")
            dots = [(row.layer + place, getattr(row, measure)) for row in rows if row.is_thing == is_thing]
            axis.scatter(*zip(*dots, strict=True) if dots else ((), ()), s=9, color=colour, alpha=0.18, linewidths=0)
            means = [(s.layer + place, getattr(s, measure)) for s in summaries if s.is_thing == is_thing]
            axis.errorbar(
                [x for x, _ in means], [spread.mean for _, spread in means], [spread.deviation for _, spread in means],
                fmt=marker, color=colour, markersize=6, capsize=3, label=f"{name}, {kind}" if name else kind,
            )  # fmt: skip
        low, high = axis_limits([getattr(row, measure) for row in rows for measure, _, _ in measures])
        axis.axhline(0.5, color=INK, linewidth=0.8, linestyle=":")
        axis.set(xticks=sorted({row.layer for row in rows}), xlabel="decoder layer", ylim=(low, high))
        axis.set_ylabel(f"{label}\n(axis cut: {low:.2f} to {high:.2f})")
        axis.legend(loc="best", ncols=2, fontsize=8)
    counted = [
        f"{len({(row.photo, row.segment) for row in rows if row.is_thing == is_thing})} {kind}"
        for is_thing, kind in ((True, "things"), (False, "stuff"))
    ]
    photos = len({row.photo for row in rows})
    counted.append(f"{photos} photo{'s' * (photos != 1)}")
    figure.supxlabel(
        "mean ± standard deviation over {} and {} segments of {}; each pale dot is one segment".format(*counted),
        fontsize=8,
    )
    return figure
