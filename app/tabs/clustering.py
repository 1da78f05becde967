"""Feature clustering (Fig. 3 and 9): the patch clusters of each block of several models, and the time to reach it."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

import gradio as gr
import numpy as np
from PIL import Image

from analysis.cluster_cells import ClusterCell, LayerFeatures, cluster_cells, layer_features
from analysis.clustering import pca_rgb
from analysis.sources import HUB_MODELS, FeatureSource, HubModel, hub_source, hub_weights, own_sources
from analysis.style import cluster_rgb
from analysis.timing import machine_name
from app.page import Page
from app.session import Session
from app.tabs import Tab
from app.tabs.pieces import (
    exact_address,
    heading,
    lead,
    milliseconds,
    paragraph,
    photo_address,
    picture,
    plain_number,
)
from app.tabs.wiring import RUN_MODEL, Answer, add_endpoint, answer_endpoint, html_component, nan_to_none, whole_number
from eovseg.errors import CheckpointError, ConfigError
from eovseg.predictor import Predictor

LEAD = (
    "Patches with similar features get the same colour. Compare early and late blocks, change the number of clusters, "
    "and see which block separates your segments best and how many milliseconds it takes to reach it."
)
LEGEND = (
    "AMI: adjusted mutual information of clusters and segments; 1 is the same partition, 0 is chance. Boundary F: "
    "F-score of their boundaries within 3 pixels, 0 to 1. Time: from the pixels to the end of the block, median on "
    "{machine}. Colours are matched between cells as far as possible."
)
View = Literal["clusters", "components"]
VIEWS: dict[View, str] = {"clusters": "Clusters (k-means)", "components": "Components (PCA)"}
assert set(VIEWS) == set(get_args(View))
SMALLEST_K, LARGEST_K, START_K = 2, 12, 6
SHORT_NAMES = {name.split()[0].lower(): name for name in HUB_MODELS}  # dinov2, sam, clip


def feature_files(given: Sequence[str]) -> dict[str, Path]:
    """Weight files of `HUB_MODELS` from arguments such as "dinov2=file.safetensors"; raises `ConfigError`."""
    files = {}
    for text in given:
        name, _, path = text.partition("=")
        if name.lower() not in SHORT_NAMES or not path:
            raise ConfigError(f'"{text}" is not NAME=FILE with a name out of {", ".join(SHORT_NAMES)}.')
        if not Path(path).is_file():
            raise ConfigError(f'There is no file "{path}" with the weights of {SHORT_NAMES[name.lower()]}.')
        files[SHORT_NAMES[name.lower()]] = Path(path)
    return files


@dataclass(frozen=True)
class MissingModel:
    """A model that is not installed, and a sentence that says how to get it."""

    name: str
    sentence: str


@dataclass(frozen=True, eq=False)
class Layers:
    """The features of every layer of the installed models, and the models that are missing."""

    here: tuple[LayerFeatures, ...]
    missing: tuple[MissingModel, ...]


@lru_cache(maxsize=len(HUB_MODELS))
def loaded(name: str, file: Path) -> FeatureSource:
    """Loads a hub model from a file, cached; raises `CheckpointError`."""
    return hub_source(name, file=file)


def all_layers(predictor: Predictor, image: np.ndarray, files: Mapping[str, Path]) -> Layers:
    """Features of a photo (H, W, 3) uint8 in every model; `files` are the weight files of the option --features."""
    here = [layer for source in own_sources(predictor) for layer in layer_features(source, image)]
    missing = []
    for short, name in SHORT_NAMES.items():
        file = files.get(name) or hub_weights(name)
        if file is None:
            missing.append(MissingModel(name, _how_to_get(short, HUB_MODELS[name])))
            continue
        try:
            here += layer_features(loaded(name, file), image, runs=1)
        except CheckpointError as error:
            missing.append(MissingModel(name, str(error)))
    return Layers(tuple(here), tuple(missing))


def _how_to_get(short: str, model: HubModel) -> str:
    return (
        f"Its weights ({model.size}) are missing: run timm.create_model('{model.timm_name}', pretrained=True) once "
        f"with internet access, or start the page with --features {short}=FILE."
    )


def kept_layers(page: Page, session: Session) -> Layers:
    """`all_layers` of the session's photo, cached."""
    image = session.decoded.state.image
    layers: Layers = page.cached(session, "clustering", lambda: all_layers(session.predictor, image, page.features))
    return layers


def cells(session: Session, layers: Layers, k: float) -> list[ClusterCell]:
    """The clusters of the installed models, compared with the session's segments."""
    return cluster_cells(layers.here, whole_number("k", k, SMALLEST_K, LARGEST_K), session.shown.segment_map)


def cell_pictures(layers: Layers, found: Sequence[ClusterCell], view: str) -> list[np.ndarray]:
    """A small picture (h, w, 3) uint8 of each cell: clusters in matched colours, or principal components as colours."""
    if view not in VIEWS:
        raise ConfigError(f"view={view[:40]!r} is not allowed; choose one of {', '.join(VIEWS)}.")
    if view == "clusters":
        return [cluster_rgb(cell.labels) for cell in found]
    colours = pca_rgb([layer.features for layer in layers.here], joint=False)
    return [np.rint(255 * one).astype(np.uint8) for one in colours]


def grid_html(session: Session, layers: Layers, k: int, view: str) -> str:
    """The grid: a row of cells for each model; missing models are grey, with a sentence that says how to get them."""
    result = session.shown
    found = cells(session, layers, k)
    rows: dict[str, list[str]] = {}
    for cell, pixels in zip(found, cell_pictures(layers, found, view), strict=True):
        rows.setdefault(cell.source, []).append(_cell_html(cell, pixels, view, result.segment_map.shape))
    models = "".join(
        f'<section class="model">{heading(name)}<ul class="cells">{"".join(items)}</ul></section>'
        for name, items in rows.items()
    )
    absent = "".join(
        f'<section class="model absent">{heading(one.name)}{paragraph(one.sentence, "missing")}</section>'
        for one in layers.missing
    )
    truth = picture(
        photo_address(result.overlay(opacity=0.85, labels=False)), f"Segments: {', '.join(result.names) or 'none'}",
        f"The {len(result.segments)} segments that the clusters are compared with", "truth",
    )  # fmt: skip
    legend = paragraph(LEGEND.format(machine=machine_name(session.predictor.device)), "quiet")
    return f'<div class="versus">{truth}{legend}</div>' + models + absent


def _cell_html(cell: ClusterCell, pixels: np.ndarray, view: str, shape: tuple[int, ...]) -> str:
    agreement = f"AMI {plain_number(cell.mutual_information)}, boundary F {plain_number(cell.boundary_f_score)}"
    title = "Clusters" if view == "clusters" else "Principal components"
    shows = f"{title} in {cell.source}, {cell.layer}: {agreement}"
    patches = f"{cell.labels.shape[1]} x {cell.labels.shape[0]} patches"
    return (
        f'<li style="--ratio: {shape[1] / shape[0]:.4f}">{picture(exact_address(pixels), shows, kind="patches")}'
        f"<b>{html.escape(cell.layer.capitalize())}</b><em>{milliseconds(cell.milliseconds)}</em>"
        f"<span>{agreement}</span><span>{patches}</span></li>"
    )


def build(page: Page, session: gr.State) -> Tab:
    """The tab's components and events."""
    gr.HTML(lead(LEAD), apply_default_css=False, elem_classes="tab-body")
    with gr.Row(elem_classes="tab-controls"):
        k = gr.Slider(
            SMALLEST_K, LARGEST_K, START_K, step=1, label="Number of clusters (k)", elem_id="clustering-k",
            elem_classes="tab-control", min_width=0,
        )  # fmt: skip
        view = gr.Radio(
            [(title, key) for key, title in VIEWS.items()], value="clusters", label="Show", elem_id="clustering-view",
            elem_classes="tab-control", min_width=0,
        )  # fmt: skip
    grid = html_component("clustering-grid", main=True)

    def refresh(session: Session, k: int, view: str) -> Sequence[Any]:
        return (grid_html(session, kept_layers(page, session), k, view),)

    for control in (k, view):
        control.input(page.callback(refresh, 1), [session, k, view], grid, show_progress_on=grid, **RUN_MODEL)
    return Tab(refresh, [k, view], [grid])


def answer(page: Page, session: Session, folder: Path, k: float, view: str) -> dict[str, Any]:
    """The endpoint's answer; writes a picture of each cell to `folder`."""
    layers = kept_layers(page, session)
    found = cells(session, layers, whole_number("k", k, SMALLEST_K, LARGEST_K))
    rows = []
    for cell, pixels in zip(found, cell_pictures(layers, found, view), strict=True):
        file = f"{cell.source} {cell.layer}.png".lower().replace(" ", "-").replace("/", "-")
        Image.fromarray(pixels).save(folder / file)
        row = {"model": cell.source, "layer": cell.layer, "milliseconds": cell.milliseconds, "file": file}
        agreement = {
            "adjusted_mutual_information": nan_to_none(cell.mutual_information),
            "boundary_f_score": nan_to_none(cell.boundary_f_score),
        }
        rows.append({**row, **agreement, "labels": cell.labels.tolist()})
    missing = [asdict(one) for one in layers.missing]
    return {"k": int(k), "machine": machine_name(session.predictor.device), "cells": rows, "missing": missing}


def endpoints(page: Page) -> None:
    """Registers the endpoint `/clustering`."""

    def clustering(
        photo: dict[str, Any],
        words: str,
        preset: str | None = None,
        k: float = START_K,
        view: str = "clusters",
        model: str | None = None,
    ) -> Answer:
        """Cluster the patch features in every block of every model of the server, and compare them with the segments.

        `words` and `preset` determine the segments, as in /segment. `k`: number of clusters, 2 to 12. `view`: what the
        files show, "clusters" or "components". Returns for each block the labels (rows of patches, matched between
        blocks), adjusted mutual information and boundary F-score with the segments, the milliseconds to reach the
        block, and a PNG file. Each model that is not installed has a sentence that says how to get it.
        """
        return answer_endpoint(page, photo, words, preset, model, lambda s, folder: answer(page, s, folder, k, view))

    add_endpoint(
        clustering,
        "clustering",
        lambda: [gr.Number(START_K, label="k"), gr.Dropdown(list(VIEWS), value="clusters", label="view")],
    )
