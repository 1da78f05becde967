"""Batches by step: determinism, the rules for labelled and valid pixels, the vocabulary of a step, the stream."""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from eovseg.data.batches import (
    BatchSettings,
    LabelTables,
    TrainingBatch,
    TrainingBatches,
    batch_stream,
    build_target,
    draw_names,
    xs_batches,
)
from eovseg.data.panoptic_folder import PanopticFolder
from eovseg.data.sources import UNLABELLED, VOID, Sample, SegmentLabel, TrainingSource
from eovseg.data.split import validation_photos
from eovseg.errors import ConfigError, DataError
from eovseg.vocabulary import WordClass
from tests.data.conftest import CATEGORIES, FolderWriter, block_drawing

SMALL = BatchSettings(batch_size=4, crop_size=64, smallest_mask=2, keep_absent=(1.0, 1.0))


@pytest.fixture
def sources(write_folder: FolderWriter) -> Sequence[TrainingSource]:
    full = write_folder("full", {f"f{i}": block_drawing(48 + i, 64) for i in range(5)})
    ids, segments = block_drawing(60, 50)
    ids[ids == 3] = 0
    things = {i: segments[i] for i in (1, 2)}
    rest = write_folder("rest", {f"r{i}": (ids, things) for i in range(4)}, CATEGORIES[:2])
    return [TrainingSource(full, "panoptic", 0.5), TrainingSource(rest, "instances", 0.5)]


def _assert_equal(first: TrainingBatch, second: TrainingBatch) -> None:
    assert torch.equal(first.pixels, second.pixels)
    assert first.class_names == second.class_names
    assert torch.equal(first.is_thing, second.is_thing)
    for one, other in zip(first.targets, second.targets, strict=True):
        assert all(torch.equal(value, vars(other)[name]) for name, value in vars(one).items())


def test_shapes_and_agreement_of_a_batch(sources: Sequence[TrainingSource]) -> None:
    batches = TrainingBatches(sources, SMALL)
    for step in range(3):
        batch = batches[step]
        classes = len(batch.class_names)
        assert batch.pixels.shape == (4, 3, 64, 64)
        assert batch.pixels.dtype == torch.float32
        assert 1.0 < batch.pixels.max() <= 255.0
        assert batch.is_thing.shape == (classes,)
        assert len(batch.targets) == 4
        for target in batch.targets:
            masks = len(target.labels)
            assert target.masks.shape == (masks, 64, 64)
            assert target.masks.dtype == target.valid.dtype == target.labelled.dtype == torch.bool
            assert target.labels.dtype == target.semantic.dtype == torch.int64
            assert target.known_classes.shape == (classes,)
            assert torch.equal(target.labelled, target.semantic >= 0)
            assert (target.masks.sum(dim=0) <= 1).all()
            for label, mask in zip(target.labels, target.masks, strict=True):
                assert mask.sum() >= 2 * 16
                assert (target.semantic[mask] == label).all()
                assert target.valid[mask].all()
                assert target.known_classes[label]


def test_seed_and_step_determine_the_batch(sources: Sequence[TrainingSource]) -> None:
    first, second = TrainingBatches(sources, SMALL, seed=3), TrainingBatches(sources, SMALL, seed=3)
    second[0], second[5]  # the order of access does not matter
    _assert_equal(first[7], second[7])
    assert not torch.equal(first[7].pixels, first[8].pixels)
    assert not torch.equal(first[7].pixels, TrainingBatches(sources, SMALL, seed=4)[7].pixels)


def test_workers_change_nothing(sources: Sequence[TrainingSource]) -> None:
    batches = TrainingBatches(sources, SMALL, seed=1)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    here = list(batch_stream(batches, range(3, 6), workers=0))
    there = list(batch_stream(batches, range(3, 6), workers=1))
    assert len(here) == len(there) == 3
    for step, one, other in zip(range(3, 6), here, there, strict=True):
        _assert_equal(one, other)
        _assert_equal(one, batches[step])
    assert torch.equal(torch.get_rng_state(), state)


def test_workers_outlive_the_signals_that_end_a_run(sources: Sequence[TrainingSource]) -> None:
    batches = TrainingBatches(sources, SMALL)
    stream = batch_stream(batches, range(30), workers=1)
    first = next(stream)
    for worker in multiprocessing.active_children():
        os.kill(worker.pid, signal.SIGTERM)  # type: ignore[arg-type]
        os.kill(worker.pid, signal.SIGINT)  # type: ignore[arg-type]
    _assert_equal(first, batches[0])
    assert len(list(stream)) == 29


@pytest.mark.parametrize("workers", [0, 1])
def test_a_worker_fails_with_the_sentence_alone(
    sources: Sequence[TrainingSource], workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise DataError("a.png is damaged.")

    monkeypatch.setattr(PanopticFolder, "load_segments", fail)
    with pytest.raises(DataError) as caught:  # keeps the frames of the stream
        list(batch_stream(TrainingBatches(sources, SMALL), range(30), workers))
    assert str(caught.value) == "a.png is damaged." and not multiprocessing.active_children()


def test_a_failing_process_does_not_wait_for_its_workers() -> None:
    script = "from eovseg.data.batches import batch_stream; s = batch_stream('abcdef', range(6)); next(s); s + 1"
    child = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False)
    assert child.returncode == 1 and "TypeError" in child.stderr


def test_processes_share_the_batch_of_one(sources: Sequence[TrainingSource]) -> None:
    some = {"crop_size": 64, "keep_absent": (0.3, 0.6)}
    whole = TrainingBatches(sources, BatchSettings(batch_size=6, **some), seed=2)[5]
    for process in range(3):
        share = TrainingBatches(sources, BatchSettings(batch_size=2, **some), seed=2, process=process, processes=3)[5]
        own = slice(process, None, 3)
        _assert_equal(share, TrainingBatch(whole.pixels[own], whole.targets[own], whole.class_names, whole.is_thing))


def test_batches_keep_the_shares(sources: Sequence[TrainingSource]) -> None:
    uneven = [TrainingSource(sources[0].root, "panoptic", 3.0), TrainingSource(sources[1].root, "instances", 1.0)]
    batches = TrainingBatches(uneven, SMALL)
    seen = set()
    for step in range(40):
        drawn = batches.draw(step)
        assert [source for source, _ in drawn] == [0, 0, 0, 1]
        assert len(set(drawn)) == 4
        seen |= set(drawn)
    assert seen == {(0, i) for i in range(5)} | {(1, i) for i in range(4)}
    assert batches.photo_counts() == {"full": 5, "rest": 4}


def test_a_batch_larger_than_its_source(sources: Sequence[TrainingSource]) -> None:
    batches = TrainingBatches(sources[1:], BatchSettings(batch_size=9, crop_size=32))
    assert len(batches.draw(0)) == 9
    assert batches[0].pixels.shape == (9, 3, 32, 32)


def test_labelled_valid_and_masks_by_hand() -> None:
    # 1 a thing, 2 a crowd, 3 stuff, 4 a thing of 2 pixels: too small. 0 = no instance, V = unknown.
    v = VOID
    ids = np.array([[1, 1, 1, 0], [2, 2, 2, v], [3, 3, 3, 4], [3, 3, 3, 4]], dtype=np.uint16)
    thing, crowd = SegmentLabel(6, True, False), SegmentLabel(6, True, True)
    segments = {1: thing, 2: crowd, 3: SegmentLabel(9, False, False), 4: thing, 5: thing}
    known = np.zeros(10, dtype=bool)
    known[[6, 9]] = True
    view = Sample(np.zeros((4, 4, 3), dtype=np.uint8), ids, segments, known)
    position = np.full(10, -1)
    position[[2, 6, 9]] = [0, 1, 2]
    target = build_target(view, LabelTables.of(view, 3), position, np.array([2, 6, 9]))
    assert target.labels.tolist() == [1, 2]
    assert torch.equal(target.masks, torch.from_numpy(np.stack([ids == 1, ids == 3])))
    assert target.semantic.tolist() == [[1, 1, 1, -1], [1, 1, 1, -1], [2, 2, 2, -1], [2, 2, 2, -1]]
    assert target.labelled.int().tolist() == [[1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 0]]
    assert target.valid.int().tolist() == [[1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 1, 0], [1, 1, 1, 0]]
    assert target.known_classes.tolist() == [False, True, True]
    assert UNLABELLED == 0


def test_a_photo_without_targets() -> None:
    view = Sample(np.zeros((2, 2, 3), np.uint8), np.full((2, 2), VOID, np.uint16), {}, np.ones(3, dtype=bool))
    target = build_target(view, LabelTables.of(view, 1), np.arange(3), np.arange(3))
    assert target.masks.shape == (0, 2, 2)
    assert target.labels.shape == (0,)
    assert not target.valid.any()
    assert not target.labelled.any()


def test_vocabulary_of_a_step(sources: Sequence[TrainingSource]) -> None:
    whole = TrainingBatches(sources, SMALL)[0]
    assert len(whole.class_names) == 133
    assert whole.is_thing.sum() == 80
    subset = BatchSettings(batch_size=4, crop_size=64, smallest_mask=2, keep_absent=(0.0, 0.0))
    batches = TrainingBatches(sources, subset)
    for step in range(4):
        batch = batches[step]
        assert len(batch.class_names) == 3  # the classes of the drawn photos, even if cropped away
        present = set().union(*(target.semantic.unique().tolist() for target in batch.targets)) - {-1}
        assert present and present <= {0, 1, 2}
    some = TrainingBatches(sources, BatchSettings(batch_size=4, crop_size=64, keep_absent=(0.3, 0.6)))
    counts = [len(some[step].class_names) for step in range(6)]
    assert max(counts) < 110
    assert len(set(counts)) > 2


def test_segments_of_a_class_left_out_belong_to_no_word(sources: Sequence[TrainingSource]) -> None:
    settings = {"batch_size": 4, "crop_size": 64, "smallest_mask": 2, "keep_absent": (0.0, 0.0)}
    all_present = TrainingBatches(sources, BatchSettings(**settings))  # type: ignore[arg-type]
    some = TrainingBatches(sources, BatchSettings(**settings, keep_present=(0.4, 0.4)))  # type: ignore[arg-type]
    fewer = 0
    for step in range(6):
        whole, part = all_present[step], some[step]
        assert 1 <= len(part.class_names) <= len(whole.class_names)
        fewer += len(part.class_names) < len(whole.class_names)
        for before, after in zip(whole.targets, part.targets, strict=True):
            assert len(after.labels) == len(after.masks) <= len(before.labels)
            assert not len(after.labels) or 0 <= int(after.labels.min()) <= int(after.labels.max()) < len(
                part.class_names
            )
            assert torch.equal(after.valid, before.valid), "a kernel there is still penalised"
    assert fewer


def test_own_class_joins_only_where_present(write_folder: FolderWriter) -> None:
    ids = np.full((40, 40), 5, dtype=np.int32)
    metal = write_folder("metal", {"m": (ids, {5: (900, False)})})
    sky = write_folder("sky", {"s": (ids, {5: (187, False)})}, CATEGORIES[:3])
    both = [TrainingSource(metal, "panoptic", 1.0), TrainingSource(sky, "panoptic", 1.0)]
    batch = TrainingBatches(both, BatchSettings(batch_size=2, crop_size=32, keep_absent=(1.0, 1.0)))[0]
    assert batch.class_names[-1] == ("metal",)
    assert [bool(target.known_classes[-1]) for target in batch.targets] == [True, False]
    assert all(target.known_classes[:-1].all() for target in batch.targets)
    alone = TrainingBatches(both[1:], BatchSettings(batch_size=2, crop_size=32, keep_absent=(1.0, 1.0)))[0]
    assert len(alone.class_names) == 133


def test_names_of_a_class() -> None:
    person = WordClass(("person", "woman", "clothes"), True)
    rng = np.random.default_rng(0)
    drawn = [draw_names(person, {"person", "clothes"}, 0.8, rng.random(), rng) for _ in range(400)]
    assert set(drawn) == {("person",), ("woman",), ("person", "woman")}  # "clothes" is a separate class here
    assert 0.75 < np.mean(["person" in names for names in drawn]) < 0.95
    assert draw_names(person, set(), 0.0, 1.0, rng) == ("woman", "clothes")
    assert draw_names(WordClass(("sky",), False), set(), 0.0, 0.0, rng) == ("sky",)


def test_moving_a_batch_keeps_its_content(sources: Sequence[TrainingSource]) -> None:
    batch = TrainingBatches(sources, SMALL)[0]
    _assert_equal(batch.to("cpu"), batch)
    moved = batch.to("meta")
    assert moved.pixels.is_meta
    assert all(value.is_meta for target in moved.targets for value in vars(target).values())


def test_no_sources_or_no_share(sources: Sequence[TrainingSource]) -> None:
    with pytest.raises(ConfigError, match="at least one source"):
        TrainingBatches([])
    with pytest.raises(ConfigError, match="share above 0"):
        TrainingBatches([TrainingSource(sources[0].root, "panoptic", 0.0)])


def test_missing_data_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"lvis_val_subset has no panoptic\.json"):
        xs_batches(tmp_path)


def test_xs_learns_from_neither_its_validation_photos_nor_the_test_photos(
    tmp_path: Path, write_folder: FolderWriter
) -> None:
    names = [f"{number:02d}" for number in range(20)]
    for folder, first in (("coco_panoptic", 0), ("coco_taming", 1100), ("coco_instances", 200)):
        write_folder(folder, dict.fromkeys(names, block_drawing()), coco_ids={n: first + int(n) for n in names})
    # Photos that are in another source, by COCO id, or in the test set are excluded.
    write_folder("coco_partial4", {"a": block_drawing(), "b": block_drawing()}, coco_ids={"a": 205, "b": 300})
    for folder in ("coco_stuff_semantic", "voc_animals", "oxford_pets"):
        write_folder(folder, {folder: block_drawing()})
    write_folder("lvis_val_subset", {"x": block_drawing(), "y": block_drawing()}, coco_ids={"x": 7, "y": 219})
    batches = xs_batches(tmp_path, SMALL)
    trained = {source.folder.name: [photo.file_name for photo in source.photos] for source in batches.sources}
    held_out = {f"{number:02d}.png" for number in (0, 2, 3, 4, 6, 14, 18)}  # by the hash of their names
    everything = [f"{name}.png" for name in names]
    assert trained == {
        "coco_panoptic": [name for name in everything if name not in held_out | {"07.png"}],
        "coco_taming": everything,
        "coco_stuff_semantic": ["coco_stuff_semantic.png"],
        "coco_instances": everything[:19],
        "coco_partial4": ["b.png"],
        "voc_animals": ["voc_animals.png"],
        "oxford_pets": ["oxford_pets.png"],
    }
    assert batches.photo_counts() == {name: len(photos) for name, photos in trained.items()}
    validation = validation_photos(PanopticFolder(tmp_path / "coco_panoptic"))
    assert {photo.file_name for photo in validation} == held_out
