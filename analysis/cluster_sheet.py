"""Fig. 3 and 9 for several photos: clusters of chosen layers in matched colours, their agreement and their cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.cluster_cells import shown_layers
from analysis.clustering import boundary_f_score, cluster, match_all, mutual_information
from analysis.features import Tap
from analysis.sources import FeatureSource, hub_source, own_sources
from analysis.style import CATEGORIES
from eovseg.errors import ConfigError
from eovseg.predictor import Predictor


@dataclass(frozen=True)
class Layer:
    """A layer of a feature source, with its name for lists and its title for figures."""

    source: FeatureSource
    layer: str

    @property
    def name(self) -> str:
        """Source and layer on one line."""
        return f"{self.source.name} · {self.layer}"

    @property
    def title(self) -> str:
        """Source and layer on two lines, and the tap on a third unless it is the output."""
        place = "" if self.source.tap == "output" else f"\n{self.source.tap}"
        return f"{self.source.name}\n{self.layer}{place}"


def all_layers(predictor: Predictor, hub: Sequence[str] = ()) -> list[Layer]:
    """Every stage and block of the predictor's own encoders, or every block of the ViTs of `HUB_MODELS` in `hub`."""
    sources = [hub_source(name) for name in hub] or own_sources(predictor)
    return [Layer(source, layer) for source in sources for layer in source.layers]


def paper_layers(layers: Sequence[Layer]) -> list[Layer]:
    """Those of `layers` that the paper's figures show: three blocks of a whole ViT-B, all layers of other models."""
    return [layer for layer in layers if layer.layer in shown_layers(layer.source)]


def at_tap(layers: Sequence[Layer], tap: Tap) -> list[Layer]:
    """The same layers, with ViT blocks read at `tap`."""
    sources = {source: source.tapped(tap) for source in _sources(layers)}
    return [Layer(sources[layer.source], layer.layer) for layer in layers]


def cluster_columns(
    images: Sequence[np.ndarray], layers: Sequence[Layer], k: int, joint: bool = True
) -> dict[str, list[np.ndarray]]:
    """Label maps of every photo for each layer, by layer title; labels are matched to those of the first layer.

    `joint`: one clustering per layer over all photos, otherwise one per photo. Raises `ConfigError` if a layer has
    fewer patches than k.
    """
    if not layers:
        return {}
    features = _features(images, layers)
    _check_count(k, layers, features, joint)
    clusterings = [cluster(photos, k, joint) for photos in features]
    matched = [match_all([labels[photo] for labels in clusterings]) for photo in range(len(images))]
    if joint:
        # One relabelling per layer keeps colours consistent across photos: they are matched as one tall image.
        sizes = [labels[0].shape[1] for labels in clusterings]
        tall = match_all([_stack(labels, size) for labels, size in zip(clusterings, sizes, strict=True)])
        matched = _unstack(tall, clusterings)
    return {layer.title: [matched[photo][i] for photo in range(len(images))] for i, layer in enumerate(layers)}


def _sources(layers: Sequence[Layer]) -> list[FeatureSource]:
    return list(dict.fromkeys(layer.source for layer in layers))


def _features(images: Sequence[np.ndarray], layers: Sequence[Layer]) -> list[list[np.ndarray]]:
    """For each layer the features (h, w, C) of every photo; each source runs only once per photo."""
    found = {}
    for source in _sources(layers):
        wanted = [layer.layer for layer in layers if layer.source == source]
        found[source] = [source.extract(image, wanted) for image in images]
    return [[photo[layer.layer] for photo in found[layer.source]] for layer in layers]


def _check_count(k: int, layers: Sequence[Layer], features: Sequence[Sequence[np.ndarray]], joint: bool) -> None:
    counts = [[one.shape[0] * one.shape[1] for one in photos] for photos in features]
    patches = [sum(photos) if joint else min(photos) for photos in counts]
    if patches and k > min(patches):
        coarsest = layers[int(np.argmin(patches))].name
        raise ConfigError(f"k={k} is more than the {min(patches)} patches of {coarsest}; give 2 to {min(patches)}.")


def _stack(labels: Sequence[np.ndarray], width: int) -> np.ndarray:
    columns = [one[:, (np.arange(width) * one.shape[1] // width)] for one in labels]
    return np.concatenate(columns)


def _unstack(tall: Sequence[np.ndarray], clusterings: Sequence[Sequence[np.ndarray]]) -> list[list[np.ndarray]]:
    """Undo `_stack`: apply each layer's relabelling to its label maps. The first index is the photo."""
    photos: list[list[np.ndarray]] = [[] for _ in clusterings[0]]
    for labels, renamed in zip(clusterings, tall, strict=True):
        before = _stack(labels, labels[0].shape[1])
        count = int(max(renamed.max(), *(one.max() for one in labels))) + 1
        names = np.full(count, -1)
        names[before.ravel()] = renamed.ravel()
        unseen = names < 0  # labels that occur only in columns skipped by `_stack` get unused numbers
        names[unseen] = np.setdiff1d(np.arange(count), names)[: unseen.sum()]
        for photo, one in enumerate(labels):
            photos[photo].append(names[one].astype(np.int32))
    return photos


@dataclass(frozen=True)
class LayerNumbers:
    """A layer's agreement with segments, averaged over photos (NaN if unknown), and the milliseconds to reach it."""

    mutual_information: float
    boundary_f_score: float
    milliseconds: float

    @property
    def cells(self) -> tuple[str, str, str]:
        """The three numbers as table cells."""
        return f"{self.mutual_information:.2f}", f"{self.boundary_f_score:.2f}", f"{self.milliseconds:.0f}"

    @property
    def note(self) -> str:
        """Two lines for a title: the cost, and the scores if known."""
        information, edges, milliseconds = self.cells
        known = not np.isnan(self.mutual_information)
        return f"{milliseconds} ms" + (f"\nAMI {information} · F {edges}" if known else "")


def layer_times(layers: Sequence[Layer], image: np.ndarray, runs: int = 3) -> tuple[dict[str, float], str]:
    """Milliseconds from the pixels of a photo to each layer, by layer title, and the machine they were measured on."""
    reached: dict[str, float] = {}
    machine = ""
    for source in _sources(layers):
        times = source.time(image, runs)
        machine = times.machine
        own = zip(times.layers, times.milliseconds.tolist(), strict=True)
        reached |= {Layer(source, name).title: milliseconds for name, milliseconds in own}
    return {layer.title: reached[layer.title] for layer in layers}, machine


def layer_numbers(
    columns: Mapping[str, Sequence[np.ndarray]], segment_maps: Sequence[np.ndarray], milliseconds: Mapping[str, float]
) -> dict[str, LayerNumbers]:
    """Scores of clusters against segment maps (H, W), 0 = unlabelled, together with the time to reach each layer."""
    numbers = {}
    for title, labels in columns.items():
        known = [(one, truth) for one, truth in zip(labels, segment_maps, strict=True) if truth.any()]
        information = [mutual_information(*pair) for pair in known]
        edges = [score for score in (boundary_f_score(*pair) for pair in known) if not np.isnan(score)]
        numbers[title] = LayerNumbers(
            float(np.mean(information)) if information else float("nan"),
            float(np.mean(edges)) if edges else float("nan"),
            milliseconds[title],
        )
    return numbers


def caption(k: int, segments: str, machine: str) -> str:
    """Explains a figure's colours and numbers; `segments` says which segments the clusters are compared with."""
    repeated = f" (with more than {len(CATEGORIES)} clusters, colours repeat)" if k > len(CATEGORIES) else ""
    return (
        f"{k} clusters of patches in each layer (k-means), with colours matched across layers{repeated}\n"
        f"ms: time from the pixels to this layer, measured on {machine}\n"
        f"AMI: adjusted mutual information with {segments}, 1 = same partition, 0 = chance\n"
        "F: boundary F-score against the same segments, 0 to 1"
    )
