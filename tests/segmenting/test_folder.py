"""A run over photos: bounded memory, failures that are not fatal, and resuming."""

import json
import os
import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eovseg.errors import ConfigError, EovsegError
from eovseg.formats import FILES
from eovseg.result import Result
from eovseg.segmenting.folder import Destination, Tally, segment_photos
from eovseg.segmenting.index import Index, owners, read_index
from eovseg.segmenting.photos import list_photos
from tests.segmenting.conftest import threshold, write_photos


class Counted:
    """The fake network, counting its calls."""

    def __init__(self) -> None:
        self.photos = 0

    def __call__(self, pixels: np.ndarray) -> Result:
        self.photos += 1
        return threshold(pixels)


def segment(
    folder: Path, out: Path, settings: str = "s", files: tuple[str, ...] = tuple(FILES), redo: bool = False
) -> tuple[Tally, int]:
    counted = Counted()
    with Index(out, "index.jsonl", settings, files) as index:
        photos = list_photos([str(folder)], recursive=True, output=out)
        tally = segment_photos(counted, photos, Destination(out, files), index, redo=redo)
    return tally, counted.photos


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_hundreds_of_photos_in_the_memory_of_a_few(tmp_path: Path) -> None:
    write_photos(tmp_path / "in", [f"{number:03d}.png" for number in range(240)])
    seen: list[weakref.ref[np.ndarray]] = []
    alive = []

    def network(pixels: np.ndarray) -> Result:
        result = threshold(pixels)
        seen.extend([weakref.ref(pixels), weakref.ref(result.segment_map)])
        alive.append(sum(reference() is not None for reference in seen))
        return result

    with Index(tmp_path / "out", "index.jsonl", "s", []) as index:
        photos = list_photos([str(tmp_path / "in")])
        segment_photos(network, photos, Destination(tmp_path / "out", ("segments",)), index)
    assert max(alive) <= 4, "this photo and its map, and those that the loop last held"
    assert len(list(read_index(tmp_path / "out" / "index.jsonl"))) == 240


def test_a_corrupt_photo_is_reported_noted_and_not_fatal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_photos(tmp_path / "in", ["a.png", "c.png"])
    (tmp_path / "in" / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n no more")
    assert segment(tmp_path / "in", tmp_path / "out")[0] == Tally(2, 0, 1)
    assert capsys.readouterr().err.count("b.png") == 1
    lines = list(read_index(tmp_path / "out" / "index.jsonl"))
    assert [Path(line["photo"]).name for line in lines] == ["a.png", "b.png", "c.png"]
    assert "b.png" in lines[1]["error"] and lines[0]["files"][0] == "a-overlay.png"
    assert {entry["name"] for entry in lines[0]["segments"]} <= {"light", "dark"}
    before = tree(tmp_path / "out")
    assert segment(tmp_path / "in", tmp_path / "out")[0] == Tally(0, 2, 1), "retried and reported again"
    assert tree(tmp_path / "out") == before, "but recorded once"


def test_running_out_of_memory_fails_only_that_photo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_photos(tmp_path, ["a.png", "b.png"])
    photos = list_photos([str(tmp_path)])

    def fails_once(pixels: np.ndarray) -> Result:
        if np.array_equal(pixels, np.asarray(Image.open(photos[0].path))):
            raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes")
        return threshold(pixels)

    assert segment_photos(fails_once, photos, Destination()) == Tally(1, 0, 1)
    assert "needs more memory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (RuntimeError("an operation failed.\nC++ frames"), "RuntimeError: an operation failed"),
        (ValueError(), "ValueError: no reason given"),
    ],
)
def test_any_other_error_fails_only_that_photo(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    fault: Exception,
    sentence: str,
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    write_photos(folder, ["a.png", "b.png", "c.png"])
    log = tmp_path / "cache" / "errors.log"
    monkeypatch.setenv("EOVSEG_CACHE", str(log.parent))
    monkeypatch.setattr("eovseg.error_log._kept", set())
    photos = list_photos([str(folder)])
    second = np.asarray(Image.open(photos[1].path))

    def fails_once(pixels: np.ndarray) -> Result:
        if np.array_equal(pixels, second):
            raise type(fault)(*fault.args)
        return threshold(pixels)

    with Index(out, "index.jsonl", "s", list(FILES)) as index:
        assert segment_photos(fails_once, photos, Destination(out), index) == Tally(2, 0, 1)
    expected = f'"b.png" could not be segmented ({sentence}) (traceback in {log}); the other photos are not affected.'
    assert capsys.readouterr().err.splitlines().count(f"eovseg: {expected}") == 1
    assert [line.get("error") for line in read_index(out / "index.jsonl")] == [None, expected, None]
    traceback = log.read_text()
    assert traceback.count("in fails_once") == 1 and type(fault).__name__ in traceback
    with Index(out, "index.jsonl", "s", list(FILES)) as index:
        segment_photos(fails_once, photos, Destination(out), index)
    assert log.read_text() == traceback, "errors at the same line are logged once"
    assert segment(folder, out) == (Tally(1, 2, 0), 1), "the next run retries it"


def test_an_unwritable_log_does_not_hide_the_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken").write_text("a file, not a folder")
    monkeypatch.setenv("EOVSEG_CACHE", str(tmp_path / "taken"))
    monkeypatch.setattr("eovseg.error_log._kept", set())
    write_photos(tmp_path / "in", ["a.png"])

    def fails(pixels: np.ndarray) -> Result:
        raise TypeError("a bug")

    assert segment_photos(fails, list_photos([str(tmp_path / "in")]), Destination()) == Tally(0, 0, 1)
    assert '"a.png" could not be segmented (TypeError: a bug); the other' in capsys.readouterr().err


def test_photos_of_one_stem_in_two_runs_keep_their_results(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    write_photos(folder, ["a.jpg", "a.png"])
    written = []
    for name in ("a.jpg", "a.png", "a.jpg"):
        photos = list_photos([str(folder / name)], output=out, owners=owners(out))
        with Index(out, "index.jsonl", "s", list(FILES)) as index:
            written.append((photos[0].stem, segment_photos(threshold, photos, Destination(out), index).segmented))
    assert written == [("a", 1), ("a-png", 1), ("a", 0)]
    for stem, name in (("a", "a.jpg"), ("a-png", "a.png")):
        document = json.loads((out / f"{stem}-panoptic.json").read_text(encoding="utf-8"))
        assert document["images"][0]["file_name"] == name


def test_an_invalid_setting_ends_the_run(tmp_path: Path) -> None:
    write_photos(tmp_path, ["a.png", "b.png"])

    def refuses(pixels: np.ndarray) -> Result:
        raise ConfigError("alpha=2.0 is outside 0 to 1.")

    with pytest.raises(ConfigError, match="alpha"):
        segment_photos(refuses, list_photos([str(tmp_path)]), Destination())


def test_only_redo_segments_finished_photos_again(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    write_photos(folder, ["a.png", "b.png"])
    segment(folder, out)
    before = tree(out)
    (out / "a-overlay.png").write_bytes(b"spoilt, which a run that trusts the index does not see")
    assert segment(folder, out) == (Tally(0, 2, 0), 0)
    assert segment(folder, out, redo=True) == (Tally(2, 0, 0), 2)
    after = tree(out)
    lines = after.pop("index.jsonl").splitlines()
    assert lines == before.pop("index.jsonl").splitlines() * 2, "one line per photo and run; the last one is valid"
    assert after == before
    assert segment(folder, out) == (Tally(0, 2, 0), 0)


def test_reasons_to_segment_a_photo_again(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    write_photos(folder, ["a.png", "b.png", "sub/c.png"])
    assert segment(folder, out)[1] == 3
    assert segment(folder, out) == (Tally(0, 3, 0), 0)
    (out / "sub" / "c-panoptic.png").unlink()
    assert segment(folder, out)[1] == 1, "a result is missing"
    write_photos(folder, ["x.png", "b.png"])
    assert segment(folder, out)[1] == 2, "one is new and one has changed"
    os.utime(folder / "a.png", ns=(1, 1))
    assert segment(folder, out)[1] == 1, "one may have changed"
    assert segment(folder, out, settings="other words")[1] == 4
    assert segment(folder, out)[1] == 4, "the files had been overwritten with the other words"
    assert segment(folder, out)[1] == 0


def test_a_later_name_collision_moves_no_finished_results(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    write_photos(folder, ["a.png"])
    segment(folder, out)
    first = (out / "a-panoptic.png").read_bytes()
    Image.new("RGB", (24, 16)).save(folder / "a.bmp")
    assert segment(folder, out)[1] == 1
    assert (out / "a-panoptic.png").read_bytes() == first
    assert (out / "a-bmp-panoptic.png").exists()


def test_an_incomplete_last_line_is_dropped(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    write_photos(folder, ["a.png", "b.png"])
    segment(folder, out)
    whole = (out / "index.jsonl").read_bytes()
    lines = whole.splitlines(keepends=True)
    for rest in (lines[1][:10], lines[1][:-1], b"[1, 2]\n"):
        (out / "index.jsonl").write_bytes(lines[0] + rest)
        assert segment(folder, out)[1] == 1
        assert list(read_index(out / "index.jsonl")) == [json.loads(line) for line in lines]


def test_another_process_has_finished_its_part(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    write_photos(folder, ["a.png", "b.png"])
    segment(folder, out)
    (out / "index.jsonl").rename(out / "index-1-of-2.jsonl")
    assert segment(folder, out) == (Tally(0, 2, 0), 0)


def test_only_requested_files_are_written(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    write_photos(folder, ["a.png"])
    segment(folder, out, files=("segments", "overlay"))
    assert sorted(tree(out)) == ["a-overlay.png", "a-segments.json", "index.jsonl"]


def test_stop_after_the_photo_in_flight(tmp_path: Path) -> None:
    write_photos(tmp_path / "in", [f"{n}.png" for n in range(6)])
    counted = Counted()
    photos = list_photos([str(tmp_path / "in")])
    tally = segment_photos(counted, photos, Destination(tmp_path / "out"), stop=lambda: counted.photos == 2)
    assert tally.stopped and counted.photos == 2
    assert len(list((tmp_path / "out").glob("*-overlay.png"))) == 2


def test_a_full_disk_ends_the_run_and_leaves_no_incomplete_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_photos(tmp_path / "in", ["a.png"])

    def full(path: Path, content: bytes) -> None:
        path.open("wb").close()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(EovsegError, match="No space left"):
        segment(tmp_path / "in", tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir() if not p.name.startswith(".")) == ["index.jsonl"]
