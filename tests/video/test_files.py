"""From file to file: frames, timestamps, size, sound, memory, and atomic output."""

import json
import weakref
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from eovseg.errors import ConfigError, VideoError
from eovseg.result import Result
from eovseg.video import reading, segment_frames, segment_video
from eovseg.vocabulary import Vocabulary
from tests.video.drawn import VOCABULARY, BlobPredictor, ball_frames, read_back, write_frames

TIMES = [0, 40, 80, 200, 210, 300, 500, 540, 1000, 1010]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.mp4"
    write_frames(path, ball_frames(25), sound="aac")
    return path


def near(a: np.ndarray, b: np.ndarray, by: float = 4) -> bool:
    return a.shape == b.shape and float(np.abs(a.astype(int) - b).mean()) < by


def test_frames_timestamps_and_sound_are_preserved(source: Path, tmp_path: Path) -> None:
    predictor = BlobPredictor()
    summary = segment_video(predictor, source, tmp_path / "out" / "o.mp4", VOCABULARY)
    before, after = read_back(source), read_back(tmp_path / "out" / "o.mp4")
    assert after.codecs == ("h264", "aac") and after.pixel_format == "yuv420p"
    assert after.times == pytest.approx(before.times) and after.end == pytest.approx(before.end)
    assert after.sound == before.sound and after.sound_times == pytest.approx(before.sound_times)
    assert (summary.frames, summary.segmented, summary.tracks) == (25, 25, 2)
    assert all(call["keep"] is False for call in predictor.calls), "frames evict no photo from the cache"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["o.mp4"], "no other files are left"


def test_the_picture_is_the_frame_with_its_segments(source: Path, tmp_path: Path) -> None:
    segment_video(BlobPredictor(), source, tmp_path / "o.mp4", VOCABULARY, opacity=0)
    plain = segment_frames(BlobPredictor(), source, VOCABULARY)
    for frame, written, drawn in zip(plain, read_back(tmp_path / "o.mp4").frames, ball_frames(25), strict=True):
        assert near(frame.image, drawn)
        assert near(np.asarray(frame.overlay(0)), written, 5)
        flat = np.asarray(frame.overlay(1, labels=False))
        assert (flat[2, 50] == next(s.colour for s in frame.segments if s.name == "ground")).all()


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts"])
def test_a_variable_frame_rate_is_preserved(tmp_path: Path, suffix: str) -> None:
    source = tmp_path / f"in.{suffix}"
    write_frames(source, ball_frames(10), TIMES, sound="aac")
    segment_video(BlobPredictor(), source, tmp_path / "o.mp4", VOCABULARY)
    after, before = read_back(tmp_path / "o.mp4"), read_back(source)
    start = max(before.times[0], 0) if suffix != "ts" else before.sound_times[0]  # start of the file
    assert after.times == pytest.approx([time - start for time in before.times], abs=2e-5)
    assert after.times == pytest.approx([after.times[0] + time / 1000 for time in TIMES], abs=2e-5)
    assert len(after.sound) == len(before.sound)
    assert after.sound_times == pytest.approx([time - start for time in before.sound_times], abs=1e-3)


@pytest.mark.parametrize("size", [(63, 97), (64, 95), (1, 5), (65, 64)])
def test_odd_sides_become_even(tmp_path: Path, size: tuple[int, int]) -> None:
    frames = [np.full((*size, 3), 90, dtype=np.uint8)] * 3
    write_frames(tmp_path / "in.mp4", frames)
    segment_video(BlobPredictor(), tmp_path / "in.mp4", tmp_path / "o.mp4", VOCABULARY)
    after = read_back(tmp_path / "o.mp4")
    assert len(after.frames) == 3 and after.frames[0].shape[:2] == (size[0] + size[0] % 2, size[1] + size[1] % 2)


def test_a_rotated_video_is_written_upright(tmp_path: Path) -> None:
    write_frames(tmp_path / "in.mp4", ball_frames(3), turn=90)
    predictor = BlobPredictor()
    segment_video(predictor, tmp_path / "in.mp4", tmp_path / "o.mp4", VOCABULARY, opacity=0, labels=False)
    assert set(predictor.shapes) == {(96, 64, 3)}, "the network also gets it upright"
    assert near(read_back(tmp_path / "o.mp4").frames[0], np.rot90(ball_frames(3)[0]), 5)
    with av.open(str(tmp_path / "o.mp4")) as container:
        assert next(container.decode(video=0)).rotation == 0, "players do not rotate it again"


def test_non_square_pixels_are_preserved(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "in.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        for frame in ball_frames(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode(None))
    segment_video(BlobPredictor(), tmp_path / "in.mkv", tmp_path / "o.mp4", VOCABULARY)
    with av.open(str(tmp_path / "o.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(4, 3)


def test_a_part_begins_at_zero_with_its_sound(source: Path, tmp_path: Path) -> None:
    segment_video(BlobPredictor(), source, tmp_path / "o.mp4", VOCABULARY, start=0.2, end=0.6)
    before, after = read_back(source), read_back(tmp_path / "o.mp4")
    assert after.times == pytest.approx([0.04 * index for index in range(10)])
    expected = [piece for piece, time in zip(before.sound, before.sound_times, strict=True) if 0.2 <= time < 0.6]
    first = min(time for time in before.sound_times if time >= 0.2)
    assert after.sound == expected and after.sound_times[0] == pytest.approx(first - 0.2, abs=0.001)


def test_every_third_frame_is_segmented_and_held(source: Path, tmp_path: Path) -> None:
    predictor = BlobPredictor()
    tracks = tmp_path / "tracks.jsonl"
    summary = segment_video(predictor, source, tmp_path / "o.mp4", VOCABULARY, every=3, tracks=tracks)
    assert len(predictor.calls) == summary.segmented == 9 and summary.frames == 25
    assert len(read_back(tmp_path / "o.mp4").frames) == 25
    assert [json.loads(line)["frame"] for line in tracks.read_text().splitlines()] == list(range(0, 25, 3))
    held = list(segment_frames(predictor, source, VOCABULARY, every=3))[3:6]
    assert [frame.is_new for frame in held] == [True, False, False]
    assert held[1].track_map is held[0].track_map and not np.array_equal(held[1].image, held[0].image)


def test_tracks_list_the_segments_of_each_frame(source: Path, tmp_path: Path) -> None:
    segment_video(BlobPredictor(), source, tmp_path / "o.mp4", VOCABULARY, tracks=tmp_path / "t.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert [line["time"] for line in lines] == pytest.approx([0.04 * index for index in range(25)])
    for line in lines:
        ball = next(segment for segment in line["segments"] if segment["name"] == "ball 1")
        assert ball["label"] == ball["label_in_frame"] == "ball" and ball["is_thing"] and ball["score"] == 0.9
        x0, y0, x1, y1 = ball["box"]
        assert abs(x0 - 20 - 2 * line["frame"]) <= 1 and ball["area"] == pytest.approx((x1 - x0) * (y1 - y0), rel=0.1)
    assert len({segment["track"] for line in lines for segment in line["segments"]}) == 2


class Watching(BlobPredictor):
    """Counts how many of the frames passed to it are still alive."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[weakref.ref[np.ndarray]] = []
        self.most = 0

    def __call__(self, photo: np.ndarray, vocabulary: Vocabulary, **settings: Any) -> Result:
        self.seen.append(weakref.ref(photo))
        self.most = max(self.most, sum(frame() is not None for frame in self.seen))
        return super().__call__(photo, vocabulary, **settings)


def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    most = []
    for count in (20, 120):
        write_frames(tmp_path / "in.mp4", ball_frames(count), sound="aac")
        watching = Watching()
        segment_video(watching, tmp_path / "in.mp4", tmp_path / "o.mp4", VOCABULARY)
        assert len(watching.seen) == count
        most.append(watching.most)
    assert most[0] == most[1] <= 4


def test_decoding_does_not_run_far_ahead(tmp_path: Path) -> None:
    write_frames(tmp_path / "in.mp4", ball_frames(200))
    alive: weakref.WeakSet[reading.Picture] = weakref.WeakSet()
    made = reading.Picture.__init__

    def counted(self: Any, *arguments: Any, **named: Any) -> None:
        made(self, *arguments, **named)
        alive.add(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading.Picture, "__init__", counted)
        most = max(len(alive) for _ in segment_frames(BlobPredictor(), tmp_path / "in.mp4", VOCABULARY))
    assert 2 <= most <= 40, "prefetched packets, and frames buffered by the decoder at the end"


def test_a_run_stopped_between_frames_gives_a_complete_shorter_video(source: Path, tmp_path: Path) -> None:
    predictor = BlobPredictor()
    tracks = tmp_path / "t.jsonl"
    summary = segment_video(
        predictor,
        source,
        tmp_path / "o.mp4",
        VOCABULARY,
        tracks=tracks,
        stop=lambda: len(predictor.calls) == 10,
    )
    assert summary.stopped and summary.frames == 10
    after = read_back(tmp_path / "o.mp4")
    assert len(after.frames) == 10 and after.sound and len(tracks.read_text().splitlines()) == 10


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interruption_within_a_frame_leaves_nothing_and_keeps_an_old_file(
    source: Path, tmp_path: Path, error: type[BaseException]
) -> None:
    class Breaking(BlobPredictor):
        def __call__(self, photo: np.ndarray, vocabulary: Vocabulary, **settings: Any) -> Result:
            if len(self.calls) == 5:
                raise error
            return super().__call__(photo, vocabulary, **settings)

    out = tmp_path / "out"
    out.mkdir()
    (out / "o.mp4").write_bytes(b"the old one")
    with pytest.raises(error):
        segment_video(Breaking(), source, out / "o.mp4", VOCABULARY, tracks=out / "t.jsonl")
    assert [path.name for path in out.iterdir()] == ["o.mp4"]
    assert (out / "o.mp4").read_bytes() == b"the old one"


def test_sound_that_mp4_cannot_store_is_dropped_and_reported(tmp_path: Path) -> None:
    write_frames(tmp_path / "in.mkv", ball_frames(25), sound="pcm_u8")
    summary = segment_video(BlobPredictor(), tmp_path / "in.mkv", tmp_path / "o.mp4", VOCABULARY)
    assert summary.sound_left_out and read_back(tmp_path / "o.mp4").codecs == ("h264",)


def test_impossible_file_names_are_refused(source: Path, tmp_path: Path) -> None:
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "link.mp4").symlink_to(source)
    (tmp_path / "file").write_text("")
    cases: list[tuple[Path, Path | None, str]] = [
        (source, None, "is also the input video"),
        (tmp_path / "link.mp4", None, "is also the input video"),
        (tmp_path / "o.mp4", source, "is also the input video"),
        (tmp_path / "o.mp4", tmp_path / "o.mp4", "different names"),
        (tmp_path / "folder.mp4", None, "is a folder"),
        (tmp_path / "o.avi", None, "must end in .mp4"),
        (tmp_path / "file" / "o.mp4", None, "cannot be written"),
    ]
    for target, tracks, sentence in cases:
        with pytest.raises(VideoError, match=sentence):
            segment_video(BlobPredictor(), source, target, VOCABULARY, tracks=tracks)
    assert len(read_back(source).frames) == 25


@pytest.mark.parametrize("settings", [{"every": 0}, {"opacity": 2.0}, {"memory": -1}, {"start": 3.0, "end": 1.0}])
def test_invalid_settings_are_refused(source: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        segment_video(BlobPredictor(), source, tmp_path / "o.mp4", VOCABULARY, **settings)
    assert not (tmp_path / "o.mp4").exists()
