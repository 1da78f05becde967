"""Pseudo-labels: agreement of two results, the output folder, resuming, and training with it."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eovseg.data.panoptic_folder import PanopticFolder, write_segment_ids
from eovseg.data.split import photo_identities
from eovseg.errors import ConfigError
from eovseg.result import Result
from eovseg.segmented import Segment
from eovseg.training.data_choice import choose_data
from eovseg.training.pseudo_labels import PseudoLabels, agreed, main
from eovseg.vocabulary import Vocabulary

WORDS = Vocabulary.parse("bear: thing; grass: stuff")
SIZE = (40, 60)


def result(*parts: tuple[int, tuple[slice, slice], float]) -> Result:
    """Segments of (class, region, score) in order, ids from 1."""
    ids = np.zeros(SIZE, np.int32)
    for number, (_, region, _) in enumerate(parts, start=1):
        ids[region] = number
    segments = tuple(
        Segment(n, c, WORDS.labels[c], c == 0, score, score, score, int((ids == n).sum()), (0, 0, 1, 1))
        for n, (c, _, score) in enumerate(parts, start=1)
    )
    return Result(np.zeros((*SIZE, 3), np.uint8), ids, segments, WORDS)


def mirrored(one: Result) -> Result:
    return Result(one.image, np.ascontiguousarray(one.segment_map[:, ::-1]), one.segments, one.vocabulary)


LEFT, RIGHT, TOP = (slice(0, 40), slice(0, 30)), (slice(0, 40), slice(30, 60)), (slice(0, 20), slice(0, 60))


@pytest.mark.parametrize(
    ("first", "second", "areas"),
    [
        pytest.param([(0, LEFT, 0.9), (1, RIGHT, 0.9)], None, {0: 1200, 1: 1200}, id="the mirror image agrees"),
        pytest.param([(0, LEFT, 0.9)], [(1, LEFT, 0.9)], {}, id="another class"),
        pytest.param([(0, LEFT, 0.05), (1, RIGHT, 0.9)], None, {1: 1200}, id="a low score"),
        pytest.param([(0, LEFT, 0.9)], [(0, TOP, 0.9)], {}, id="a thing with IoU 1/3"),
        pytest.param([(1, LEFT, 0.9)], [(1, TOP, 0.9)], {1: 600}, id="stuff keeps the pixels of both"),
        pytest.param([(1, TOP, 0.9)], [(1, (slice(0, 9), slice(0, 60)), 0.9)], {}, id="stuff, under half agreed"),
        pytest.param([(0, (slice(0, 10), slice(0, 10)), 0.9)], None, {}, id="too small"),
    ],
)
def test_only_what_both_agree_on_is_a_label(first: list, second: list | None, areas: dict[int, int]) -> None:
    one = result(*first)
    ids, classes = agreed(one, mirrored(one if second is None else result(*second)), 0.5, 0.1)
    assert {classes[number - 1]: int((ids == number).sum()) for number in np.unique(ids[ids > 0])} == areas


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        Image.fromarray(np.full((*SIZE, 3), 40 * number, np.uint8)).save(folder / f"{number}.png")
    return folder


class Teacher:
    """Finds grass everywhere, and counts its calls."""

    calls = 0
    name = "grass"

    def __call__(self, image: np.ndarray, vocabulary: Vocabulary) -> Result:
        self.calls += 1
        index = vocabulary.labels.index(self.name)
        found = Segment(1, index, self.name, False, 0.9, 0.9, 0.9, SIZE[0] * SIZE[1], (0, 0, 60, 40))
        return Result(image, np.ones(SIZE, np.int32), (found,), vocabulary)


def test_the_folder_is_coco_panoptic_continues_and_trains(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = Teacher()
    monkeypatch.setattr("eovseg.loading.load", lambda *_: teacher)
    output = tmp_path / "labels"
    assert main([str(photos), "--output", str(output), "--limit", "2"]) == 0
    with (output / "records.jsonl").open("a") as records:
        records.write('{"file_name": "2.p')  # a killed run's last line
    assert main([str(photos), "--output", str(output)]) == 0
    assert teacher.calls == 6  # three photos and their mirror images, once each
    assert "3 photos, 3 segments, 100.0% of the pixels labelled" in capsys.readouterr().out

    folder = PanopticFolder(output)
    assert [photo.file_name for photo in folder.photos] == ["0.png", "1.png", "2.png"]
    (segment,) = folder.photos[0].segments
    assert folder.categories[segment.category_id].name == "grass"
    assert (folder.load_segment_map(folder.photos[0]) == 1).all()

    with_labels = choose_data(output, also=output, also_share=0.25).sources
    assert [source.root for source in with_labels] == [output, output]
    assert with_labels[1].share / sum(source.share for source in with_labels) == pytest.approx(0.25)
    with pytest.raises(ConfigError, match="give a number between 0 and 1"):
        choose_data(output, also=output, also_share=1.5)


@pytest.mark.parametrize(
    ("option", "change"),
    [
        (["--score", "0.3"], "score 0.3 (was 0.1)."),
        (["--checkpoint", "other.safetensors"], 'weights "other.safetensors (SHA-256 '),
    ],
)
def test_a_folder_made_with_other_settings_is_refused(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    option: list[str], change: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("eovseg.loading.load", lambda *_: Teacher())
    Path("other.safetensors").write_bytes(b"other weights")
    command = [str(photos), "--output", "labels"]
    assert main([*command, "--limit", "1"]) == 0
    assert main([*command, *option]) == 1
    error = capsys.readouterr().err
    assert f"labels was made with other settings: {change}" in error and "another --output" in error
    assert len(PanopticFolder(Path("labels")).photos) == 1
    Path("labels/settings.json").write_text("[1]")
    assert main(command) == 1
    assert "settings.json cannot be read" in capsys.readouterr().err


def test_two_photos_of_one_stem_keep_their_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder, output = tmp_path / "photos", tmp_path / "labels"
    folder.mkdir()
    Image.new("RGB", (60, 40)).save(folder / "a.jpg")
    Image.new("RGB", (60, 40), "white").save(folder / "a.png")
    (folder / "._a.jpg").write_bytes(b"no photo")
    (folder / "b.heic").write_bytes(b"no photo that is read")
    monkeypatch.setattr("eovseg.loading.load", lambda *_: Teacher())
    assert main([str(folder), "--output", str(output)]) == 0
    assert '.heic files: 1 ("b.heic"); hidden files: 1 ("._a.jpg")' in caplog.text
    written = PanopticFolder(output)
    assert [photo.file_name for photo in written.photos] == ["a.jpg", "a.png"]
    assert len({photo.panoptic_file_name for photo in written.photos}) == 2

    (output / "panoptic" / written.photos[0].panoptic_file_name).unlink()
    teacher = Teacher()
    monkeypatch.setattr("eovseg.loading.load", lambda *_: teacher)
    assert main([str(folder), "--output", str(output)]) == 0
    assert teacher.calls == 2, "the photo with the deleted PNG, and its mirror image"


def test_photos_of_coco_keep_their_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, output = tmp_path / "photos", tmp_path / "labels"
    folder.mkdir()
    for name in ("000000000139.jpg", "COCO_val2014_000000000285.jpg"):
        Image.new("RGB", (60, 40)).save(folder / name)
    monkeypatch.setattr("eovseg.loading.load", lambda *_: Teacher())
    assert main([str(folder), "--output", str(output)]) == 0
    written = PanopticFolder(output)
    assert photo_identities(written, written.photos[:1]) == {"labels/000000000139.jpg"}
    assert main([str(folder), "--output", str(output), "--coco"]) == 0
    written = PanopticFolder(output)
    assert photo_identities(written, written.photos) == {"coco/139", "coco/285"}
    Image.new("RGB", (60, 40)).save(folder / "mine.jpg")
    capsys.readouterr()
    assert main([str(folder), "--output", str(output), "--coco"]) == 1
    assert capsys.readouterr().err.startswith('"mine.jpg" is not a file name of COCO')


def test_partial_labels_are_kept_and_the_rest_is_labelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = np.zeros(SIZE, np.int32)
    ids[:, :20], ids[:, 20:25] = 7, 9
    partial = tmp_path / "cats"
    for name in ("images", "panoptic"):
        (partial / name).mkdir(parents=True)
    Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(partial / "images" / "a.png")
    write_segment_ids(partial / "panoptic" / "a.png", ids)
    cats = [{"id": 7, "category_id": 17}, {"id": 9, "category_id": 17, "iscrowd": 1}]
    document = {
        "images": [{"id": 1, "file_name": "a.png", "width": SIZE[1], "height": SIZE[0], "coco_id": 139}],
        "annotations": [{"image_id": 1, "file_name": "a.png", "segments_info": cats}],
        "categories": [{"id": 17, "name": "cat", "isthing": 1}],
    }
    (partial / "panoptic.json").write_text(json.dumps(document))
    monkeypatch.setattr("eovseg.loading.load", lambda *_: Teacher())
    output = tmp_path / "labels"
    assert main([str(partial), "--output", str(output), "--complete"]) == 0
    written = PanopticFolder(output)
    (photo,) = written.photos
    assert photo.coco_id == 139
    named = {s.id: (written.categories[s.category_id].name, s.is_crowd) for s in photo.segments}
    assert named == {7: ("cat", False), 9: ("cat", True), 10: ("grass", False)}
    assert (written.load_segment_map(photo) == np.where(ids == 0, 10, ids)).all()

    monkeypatch.setattr(Teacher, "name", "cat")
    assert main([str(partial), "--output", str(tmp_path / "again"), "--complete"]) == 0
    written = PanopticFolder(tmp_path / "again")
    assert (written.load_segment_map(written.photos[0]) == ids).all(), "the folder labels every cat"


def test_photos_without_labels_are_omitted(photos: Path, tmp_path: Path) -> None:
    labels = PseudoLabels(tmp_path / "labels")
    labels.done = {"0.png": {"file_name": "0.png", "width": 60, "height": 40, "segments": [], "labelled": 0.0}}
    labels.finish()
    assert json.loads((tmp_path / "labels" / "panoptic.json").read_text())["images"] == []


def test_a_missing_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none"), "--output", str(tmp_path / "out")]) == 1
    assert "is not a folder" in capsys.readouterr().err


@pytest.mark.parametrize("option", [("--score", "2"), ("--overlap", "-1"), ("--limit", "0")])
def test_numbers_out_of_range_are_refused(
    option: tuple[str, str], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(photos), "--output", str(tmp_path / "out"), *option]) == 1
    assert capsys.readouterr().err.startswith(option[0]) and not (tmp_path / "out").exists()
