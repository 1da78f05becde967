"""Reading videos: upright pictures, timestamps, and errors for other files."""

import socket
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eovseg.errors import ConfigError, VideoError
from eovseg.video import package
from eovseg.video.reading import Picture, VideoReader
from tests.video.drawn import ball_frames, write_frames, write_tone

TIMES = [0, 40, 80, 200, 210, 300, 500, 540, 1000, 1010]


def pictures(path: Path, start: float | None = None, end: float | None = None) -> list[Picture]:
    with VideoReader(path, start, end) as reader:
        return [item for item in reader.read() if isinstance(item, Picture)]


def error(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(int) - b).mean())


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
def test_pictures_come_in_order_with_their_times_and_colours(tmp_path: Path, suffix: str) -> None:
    frames = ball_frames(10)
    write_frames(tmp_path / f"a.{suffix}", frames, TIMES)
    found = pictures(tmp_path / f"a.{suffix}")
    assert [picture.index for picture in found] == list(range(10))
    assert [picture.time for picture in found] == pytest.approx([time / 1000 for time in TIMES])
    assert all(error(picture.image, frame) < 4 for picture, frame in zip(found, frames, strict=True))
    assert found[0].image.shape == (64, 96, 3) and found[0].image.dtype == np.uint8


def test_a_video_that_does_not_begin_at_zero_is_read_from_its_start(tmp_path: Path) -> None:
    write_frames(tmp_path / "a.ts", ball_frames(5), [5000 + 40 * index for index in range(5)])
    assert [picture.time for picture in pictures(tmp_path / "a.ts")] == pytest.approx([0, 0.04, 0.08, 0.12, 0.16])


@pytest.mark.parametrize("turn", [0, 90, 180, -90])
@pytest.mark.parametrize("mirrored", [False, True])
def test_pictures_are_turned_upright(tmp_path: Path, turn: int, mirrored: bool) -> None:
    frame = ball_frames(1)[0]
    write_frames(tmp_path / "a.mp4", [frame] * 3, turn=turn, mirrored=mirrored)
    upright = np.rot90(frame, turn // 90)  # both counter-clockwise; mirrored afterwards
    expected = upright[:, ::-1] if mirrored else upright
    found = pictures(tmp_path / "a.mp4")
    assert found[0].image.shape == expected.shape
    assert error(found[0].image, expected) < 4


@pytest.mark.parametrize(("start", "end"), [(0.2, 0.54), (0.205, None), (None, 0.21), (1.0, 9.0)])
def test_a_part_contains_its_frames(tmp_path: Path, start: float | None, end: float | None) -> None:
    write_frames(tmp_path / "a.mp4", ball_frames(10), TIMES)
    expected = [time for time in TIMES if (start or 0) * 1000 <= time < (end or 99) * 1000]
    found = pictures(tmp_path / "a.mp4", start, end)
    assert [picture.time * 1000 for picture in found] == pytest.approx(expected)
    assert found[0].index == 0


def test_a_part_can_begin_between_key_frames(tmp_path: Path) -> None:
    frames = ball_frames(40)  # keyframes are 12 frames apart
    write_frames(tmp_path / "a.mp4", frames)
    found = pictures(tmp_path / "a.mp4", start=0.8)
    assert len(found) == 20 and error(found[0].image, frames[20]) < 4


def test_the_number_of_frames_is_estimated(tmp_path: Path) -> None:
    write_frames(tmp_path / "a.mp4", ball_frames(25))
    for start, end, expected in ((None, None, 25), (0.4, None, 15), (0.2, 0.4, 5)):
        with VideoReader(tmp_path / "a.mp4", start, end) as reader:
            assert reader.expected == expected


def test_a_truncated_video_gives_its_readable_frames(tmp_path: Path) -> None:
    write_frames(tmp_path / "a.ts", ball_frames(50))
    whole = (tmp_path / "a.ts").read_bytes()
    (tmp_path / "cut.ts").write_bytes(whole[: len(whole) * 2 // 3])
    assert 20 < len(pictures(tmp_path / "cut.ts")) < 50


def test_damage_in_the_middle_is_skipped(tmp_path: Path) -> None:
    write_frames(tmp_path / "a.ts", ball_frames(50))
    whole = bytearray((tmp_path / "a.ts").read_bytes())
    middle = len(whole) // 2
    whole[middle : middle + 1500] = bytes(1500)
    (tmp_path / "broken.ts").write_bytes(whole)
    found = pictures(tmp_path / "broken.ts")
    assert 25 < len(found) <= 50 and found[-1].time == pytest.approx(49 * 0.04), "to the end"


def make(path: Path, kind: str) -> None:
    if kind == "text":
        path.write_text("no video at all")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "folder":
        path.mkdir()
    elif kind == "photo":
        Image.new("RGB", (32, 32)).save(path, "JPEG")
    elif kind == "headless":  # mp4's index is at the end
        write_frames(path, ball_frames(10), format="mp4")
        path.write_bytes(path.read_bytes()[:-400])
    elif kind == "sound":
        import av

        with av.open(str(path), "w", format="mp4") as container:
            write_tone(container, container.add_stream("aac", rate=16_000, layout="mono"), 20)


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("missing", "was not found"),
        ("text", "is not a readable video"),
        ("empty", "is not a readable video"),
        ("folder", "is a folder"),
        ("photo", "use `eovseg segment` for photos"),
        ("headless", "damaged or truncated"),
        ("sound", "no video stream"),
    ],
)
def test_files_that_are_no_videos_are_refused(tmp_path: Path, kind: str, sentence: str) -> None:
    path = tmp_path / "a: odd name.mp4"
    make(path, kind)
    with pytest.raises(VideoError, match=sentence) as caught:
        pictures(path)
    assert "a: odd name.mp4" in str(caught.value) and "\n" not in str(caught.value)


def test_a_playlist_opens_no_other_files(tmp_path: Path) -> None:
    """Files and URLs referenced by a file are not opened."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        (tmp_path / "a.mp4").write_text(f"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:{port}/a.ts\n#EXT-X-ENDLIST\n")
        with pytest.raises(VideoError, match=r"\.$"):
            pictures(tmp_path / "a.mp4")
        listening.settimeout(0.2)
        with pytest.raises(TimeoutError):
            listening.accept()


def test_names_with_colons_are_files(tmp_path: Path) -> None:
    write_frames(tmp_path / "a.mp4", ball_frames(2))
    (tmp_path / "a.mp4").rename(tmp_path / "http: 1.mp4")
    assert len(pictures(tmp_path / "http: 1.mp4")) == 2


@pytest.mark.parametrize(("start", "end"), [(-1.0, None), (2.0, 1.0), (1.0, 1.0), (float("nan"), None)])
def test_invalid_times_are_refused(tmp_path: Path, start: float, end: float | None) -> None:
    with pytest.raises(ConfigError, match="is not allowed"):
        VideoReader(tmp_path / "a.mp4", start, end)


def test_a_part_beyond_the_end_is_refused(tmp_path: Path) -> None:
    write_frames(tmp_path / "a.mp4", ball_frames(5))
    with pytest.raises(VideoError, match="no pictures from 7 s to inf s"):
        pictures(tmp_path / "a.mp4", start=7)


def test_an_absurd_start_time_is_refused(tmp_path: Path) -> None:
    write_frames(tmp_path / "a.mp4", ball_frames(5))
    with pytest.raises(VideoError, match=r'"a.mp4" does not support seeking to 1e\+20 s; omit the start time\.'):
        pictures(tmp_path / "a.mp4", start=1e20)


def test_timestamps_that_jump_back_are_continued(tmp_path: Path) -> None:
    """Two concatenated recordings in one file."""
    write_frames(tmp_path / "a.ts", ball_frames(10))
    (tmp_path / "two.ts").write_bytes(2 * (tmp_path / "a.ts").read_bytes())
    times = [picture.time for picture in pictures(tmp_path / "two.ts")]
    assert len(times) >= 19
    assert min(later - earlier for earlier, later in pairwise(times)) > 0.03  # 25 pictures a second


def test_a_missing_package_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(VideoError, match=r"pip install av"):
        package.require_av()
