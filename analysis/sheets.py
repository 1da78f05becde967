"""The paper's figures for photos of one's own: what `python -m analysis figures` draws."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis import figures_matplotlib as draw
from analysis.ablation import compare_results, router_rows, segment_queries, without_fusion
from analysis.clustering import boundary_f_score, cluster, match_all, mutual_information
from analysis.layers import query_path
from analysis.similarity import concentration, similarity_maps, word_mask
from analysis.sources import FeatureSource, hub_source, spatial_source, tower_source
from analysis.timing import machine_name
from eovseg.errors import ConfigError
from eovseg.model.config import ModelConfig
from eovseg.predictor import Decoded, Predictor
from eovseg.result import Result

PAPER_LAYERS = ("block 1", "block 6", "block 12")  # Fig. 3 and 9


@dataclass(frozen=True)
class Layer:
    """A layer of a feature source and its title on the sheet."""

    source: FeatureSource
    layer: str

    @property
    def title(self) -> str:
        """Source and layer on two lines."""
        return f"{self.source.name}\n{self.layer}"


def cluster_layers(predictor: Predictor, hub: Sequence[str] = ()) -> list[Layer]:
    """First, middle and last layers: the predictor's own towers, or the first, sixth and last block of hub ViTs."""
    if hub:
        return [Layer(source, layer) for source in map(hub_source, hub) for layer in PAPER_LAYERS]
    tower = tower_source(predictor)
    layers = [Layer(tower, layer) for layer in tower.layers]
    if _has_spatial_block(predictor.config):
        spatial = spatial_source(predictor)
        layers.append(Layer(spatial, spatial.layers[0]))
    return layers


def _has_spatial_block(config: ModelConfig) -> bool:
    return config.fusion != "none"


def cluster_columns(
    images: Sequence[np.ndarray], layers: Sequence[Layer], k: int, seed: int = 0, joint: bool = True
) -> dict[str, list[np.ndarray]]:
    """Label maps of every photo for each layer, one clustering a layer, named as in the first layer."""
    clusterings = []
    for layer in layers:
        features = [layer.source.extract(image, [layer.layer])[layer.layer] for image in images]
        clusterings.append(cluster(features, k, seed, joint))
    matched = [match_all([labels[photo] for labels in clusterings]) for photo in range(len(images))]
    if joint:
        # One renaming a layer keeps a colour's meaning across photos: all photos are matched as one tall picture.
        sizes = [labels[0].shape[1] for labels in clusterings]
        tall = match_all([_stack(labels, size) for labels, size in zip(clusterings, sizes, strict=True)])
        matched = _unstack(tall, clusterings)
    return {layer.title: [matched[photo][i] for photo in range(len(images))] for i, layer in enumerate(layers)}


def _stack(labels: Sequence[np.ndarray], width: int) -> np.ndarray:
    columns = [one[:, (np.arange(width) * one.shape[1] // width)] for one in labels]
    return np.concatenate(columns)


def _unstack(tall: Sequence[np.ndarray], clusterings: Sequence[Sequence[np.ndarray]]) -> list[list[np.ndarray]]:
    """Undo `_stack` by carrying each layer's renaming over to its label maps; first index the photo."""
    photos: list[list[np.ndarray]] = [[] for _ in clusterings[0]]
    for labels, renamed in zip(clusterings, tall, strict=True):
        before = _stack(labels, labels[0].shape[1])
        names = np.arange(int(max(before.max(), renamed.max())) + 1)
        names[before.ravel()] = renamed.ravel()
        for photo, one in enumerate(labels):
            photos[photo].append(names[one].astype(np.int32))
    return photos


def draw_sheets(
    predictor: Predictor,
    photos: Sequence[Path],
    words: str,
    out: Path,
    *,
    probe: Sequence[str] = (),
    k: int = 6,
    hub: Sequence[str] = (),
    formats: Sequence[str] = ("pdf", "png"),
) -> list[Path]:
    """Draw all sheets into `out`; returns the files written.

    `probe`: words of Fig. 5, by default the labels of the largest segments. `hub`: ViTs of `HUB_MODELS` for Fig. 3/9.
    """
    layers = cluster_layers(predictor, hub)  # first of all: missing weights are told before anything is drawn
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f'"{out}" cannot be a folder for the figures ({error.strerror}); give another --out.'
        ) from error
    written: list[Path] = []
    results: list[Result] = []
    without = without_fusion(predictor) if predictor.config.fusion in ("TDEE", "SDI") else None
    for photo in photos:
        decoded = predictor.decode(predictor.encode_image(photo), words, intermediates=True)
        result = predictor.compose(decoded)
        results.append(result)
        if predictor.config.vas:
            figure = _similarity_sheet(predictor, decoded, result, probe)
            written += draw.save_figure(figure, out / f"fig5-vas-{photo.stem}", formats)
        if without is not None:
            off = without.compose(without.decode(decoded.state, decoded.vocabulary))
            figure = draw.ablation_figure(off, result, compare_results(off, result))
            written += draw.save_figure(figure, out / f"fig6-tdee-{photo.stem}", formats)
        figure = draw.layers_figure(result.image, query_path(predictor, decoded, main_query(predictor, decoded)))
        written += draw.save_figure(figure, out / f"layers-{photo.stem}", formats)
        if predictor.config.fusion == "TDEE" and result.segments:
            figure = draw.router_figure(router_rows(decoded, result, photo.stem))
            written += draw.save_figure(figure, out / f"routers-{photo.stem}", formats)
    images = [result.image for result in results]
    columns = cluster_columns(images, layers, k)
    notes, machine = _cluster_notes(layers, columns, results)
    caption = (
        "AMI: adjusted mutual information with the model's own segments, 1 = the same, 0 = chance · "
        f"border F: how well borders agree with theirs\nms: from the pixels to this layer, measured on {machine}"
    )
    written += draw.save_figure(
        draw.clustering_figure(images, columns, notes, caption), out / "fig3-fig9-clusters", formats
    )
    return written + draw.save_figure(draw.panoptic_figure(results), out / "fig10-fig11-panoptic", formats)


def main_query(predictor: Predictor, decoded: Decoded) -> int:
    """The kernel of the largest segment, or the one with the best score where there is none."""
    result = predictor.compose(decoded)
    if result.segments:
        return segment_queries(result)[max(result.segments, key=lambda segment: segment.area).id]
    return int(predictor.log_probabilities(decoded)[:, :-1].amax(dim=1).argmax())


def _similarity_sheet(predictor: Predictor, decoded: Decoded, result: Result, probe: Sequence[str]) -> draw.Figure:
    labels = [segment.label for segment in sorted(result.segments, key=lambda segment: -segment.area)]
    words = list(probe) or list(dict.fromkeys(labels))[:3] or list(decoded.vocabulary.labels[:2])
    maps = similarity_maps(predictor, decoded, words)
    scores = []
    for index, word in enumerate(words):
        mask = word_mask(result, word)
        known = mask.any()
        scores.append(
            (concentration(maps.before[index], mask), concentration(maps.after[index], mask))
            if known
            else (float("nan"), float("nan"))
        )
    return draw.similarity_figure(result.image, maps, scores)


def _cluster_notes(
    layers: Sequence[Layer], columns: dict[str, list[np.ndarray]], results: Sequence[Result]
) -> tuple[dict[str, str], str]:
    """For each layer its agreement with the model's own segments, averaged over photos, and the time to reach it.

    Also the machine that the times were measured on.
    """
    reached: dict[tuple[str, str], float] = {}
    machine = machine_name()
    for source in {layer.source.name: layer.source for layer in layers}.values():
        times = source.time(results[0].image, 3)
        machine = times.machine
        reached |= {(source.name, name): ms for name, ms in zip(times.layers, times.milliseconds, strict=True)}
    notes = {}
    for layer, labels in zip(layers, columns.values(), strict=True):
        pairs = [(one, r.segment_map) for one, r in zip(labels, results, strict=True) if r.segments]
        lines = []
        if pairs:
            information = np.mean([mutual_information(*pair) for pair in pairs])
            edges = np.nanmean([boundary_f_score(*pair) for pair in pairs])
            lines.append(f"AMI {information:.2f}, border F {edges:.2f}")
        lines.append(f"{reached[layer.source.name, layer.layer]:.0f} ms here")
        notes[layer.title] = "\n".join(lines)
    return notes, machine
