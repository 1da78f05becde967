"""The paper's figures for your own photos, as drawn by `python -m analysis figures`."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

from matplotlib.figure import Figure

from analysis import figures_matplotlib as draw
from analysis.ablation import RouterRow, compare_results, router_rows, segment_queries, without_fusion
from analysis.cluster_sheet import all_layers, caption, cluster_columns, layer_numbers, layer_times, paper_layers
from analysis.figures_decoder import layers_figure, router_figure
from analysis.figures_segments import ablation_figure, panoptic_figure
from analysis.layers import query_path
from analysis.similarity import similarity_maps, word_focus
from eovseg.errors import ConfigError
from eovseg.images import load_image
from eovseg.predictor import Predictor
from eovseg.result import Result
from eovseg.stages import Decoded
from eovseg.stems import clean_stem
from eovseg.vocabulary import Vocabulary

FORMATS = ("pdf", "png", "svg")


def sheet_names(photos: Sequence[Path]) -> list[str]:
    """A unique name for each photo's figures: its file name, if needed with its folder's name and a number."""
    stems = [clean_stem(photo.stem) for photo in photos]
    folded = [stem.casefold() for stem in stems]  # some file systems are case-insensitive
    taken = {stem for stem in folded if folded.count(stem) == 1}
    names = []
    for photo, stem, key in zip(photos, stems, folded, strict=True):
        if folded.count(key) > 1:
            folder = photo.resolve().parent.name
            wanted = clean_stem(f"{folder}-{stem}") if folder else stem
            stem = next(name for name in _numbered(wanted) if name.casefold() not in taken)
            taken.add(stem.casefold())
        names.append(stem)
    return names


def _numbered(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name}-{number}" for number in count(2))


def cluster_count(k: object) -> int:
    """The number of clusters from an int or a string; raises `ConfigError` unless it is a whole number above 1."""
    if isinstance(k, int | str) and not isinstance(k, bool) and re.fullmatch(r"\s*\d{1,9}\s*", str(k)) and int(k) >= 2:
        return int(k)
    raise ConfigError(f"k={str(k)[:40]!r} is not a number of clusters; give a whole number of at least 2.")


def draw_sheets(
    predictor: Predictor,
    photos: Sequence[Path],
    words: Vocabulary | str,
    out: Path,
    *,
    probe: Sequence[str] = (),
    k: int | str = 6,
    hub: Sequence[str] = (),
    formats: Sequence[str] = FORMATS[:2],
) -> list[Path]:
    """Draws all figures into `out`, named by `sheet_names`; returns the files written.

    `probe`: words of Fig. 5; defaults to the labels of the largest segments. `hub`: ViTs of `HUB_MODELS` for Fig. 3/9.
    Raises subclasses of `EovsegError` for invalid options, words and photos, before anything is written.
    """
    clusters, vocabulary = cluster_count(k), Vocabulary.coerce(words)
    _check_options(photos, probe, formats)
    layers = paper_layers(all_layers(predictor, hub))
    images = [load_image(photo) for photo in photos]
    columns = cluster_columns(images, layers, clusters)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f'"{out}" cannot be used as the output folder ({error.strerror}); give another --out.'
        ) from error
    written: list[Path] = []
    results: list[Result] = []
    routers: list[RouterRow] = []
    names = sheet_names(photos)
    without = without_fusion(predictor) if predictor.config.fusion not in ("none", "EAF") else None
    for image, name in zip(images, names, strict=True):
        decoded = predictor.decode(predictor.encode_image(image), vocabulary, intermediates=True)
        result = replace(predictor.compose(decoded), name=name)
        results.append(result)
        if predictor.config.vas:
            figure = _similarity_sheet(predictor, decoded, result, probe)
            written += draw.save_figure(figure, out / f"fig5-vas-{name}", formats)
        if without is not None:
            off = without.compose(without.decode(decoded.state, decoded.vocabulary))
            figure = ablation_figure(off, result, compare_results(off, result))
            written += draw.save_figure(figure, out / f"fig6-tdee-{name}", formats)
        figure = layers_figure(result.image, query_path(predictor, decoded, main_query(predictor, decoded)))
        written += draw.save_figure(figure, out / f"layers-{name}", formats)
        if predictor.config.fusion == "TDEE":
            routers += router_rows(decoded, result, name)
    if routers:
        written += draw.save_figure(router_figure(routers), out / "routers", formats)
    milliseconds, machine = layer_times(layers, images[0])
    numbers = layer_numbers(columns, [result.segment_map for result in results], milliseconds)
    figure = draw.clustering_figure(
        images,
        columns,
        {title: layer.note for title, layer in numbers.items()},
        caption(clusters, "the model's own segments", machine),
        names,
    )
    written += draw.save_figure(figure, out / "fig3-fig9-clusters", formats)
    return written + draw.save_figure(panoptic_figure(results), out / "fig10-fig11-panoptic", formats)


def _check_options(photos: Sequence[Path], probe: Sequence[str], formats: Sequence[str]) -> None:
    if not photos:
        raise ConfigError("Give at least one photo.")
    for word in probe:
        if len(Vocabulary.parse(word).words) != 1:
            raise ConfigError(
                f'--probe "{word[:40]}" is more than one word; give each word separately, without "," or ";".'
            )
    if not formats or not set(formats) <= set(FORMATS):
        raise ConfigError(f"formats={list(formats)} is not allowed; choose from {', '.join(FORMATS)}.")


def main_query(predictor: Predictor, decoded: Decoded) -> int:
    """The kernel of the largest segment, or the one with the best score if there is no segment."""
    result = predictor.compose(decoded)
    if result.segments:
        return segment_queries(result)[max(result.segments, key=lambda segment: segment.area).id]
    return int(predictor.log_probabilities(decoded)[:, :-1].amax(dim=1).argmax())


def _similarity_sheet(predictor: Predictor, decoded: Decoded, result: Result, probe: Sequence[str]) -> Figure:
    labels = [segment.label for segment in sorted(result.segments, key=lambda segment: -segment.area)]
    words = list(probe) or list(dict.fromkeys(labels))[:3] or list(decoded.vocabulary.labels[:2])
    maps = similarity_maps(predictor, decoded, words)
    focus = [word_focus(maps, index, result) for index in range(len(words))]
    return draw.similarity_figure(result.image, maps, [(one.before, one.after) for one in focus])
