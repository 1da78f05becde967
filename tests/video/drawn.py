"""Drawn frames, videos made from them, and a fake network that detects bright blobs."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from scipy import ndimage

from eovseg.result import Result
from eovseg.segmented import Segment
from eovseg.vocabulary import Vocabulary

VOCABULARY = Vocabulary.parse("ball; box; ground: stuff; sky: stuff")
BALL, BOX, GROUND, SKY = range(4)
CLOCK = Fraction(1, 1000)


class Block(NamedTuple):
    """A rectangle of one class: top, left, bottom, right."""

    class_id: int
    top: int
    left: int
    bottom: int
    right: int
    score: float = 0.9


def scene(blocks: Sequence[Block], size: tuple[int, int] = (80, 120), seed: int | None = None) -> Result:
    """Later blocks cover earlier ones; ids and order are shuffled with `seed`."""
    order = np.arange(len(blocks)) if seed is None else np.random.default_rng(seed).permutation(len(blocks))
    numbers = {int(index): number for number, index in enumerate(order, start=1)}
    ids = np.zeros(size, dtype=np.int32)
    for index, block in enumerate(blocks):
        ids[max(block.top, 0) : max(block.bottom, 0), max(block.left, 0) : max(block.right, 0)] = numbers[index]
    segments = []
    for index in order.tolist():
        number, block = numbers[index], blocks[index]
        rows, columns = np.nonzero(ids == number)
        if len(rows):
            box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
            segments.append(segment(number, block.class_id, len(rows), box, block.score))
    return Result(np.zeros((*size, 3), dtype=np.uint8), ids, tuple(segments), VOCABULARY)


def segment(number: int, class_id: int, area: int, box: tuple[int, int, int, int], score: float = 0.9) -> Segment:
    label, is_thing = VOCABULARY.labels[class_id], class_id in (BALL, BOX)
    return Segment(number, class_id, label, is_thing, score, score, score, area, box)


class BlobPredictor:
    """Each bright blob is a ball, the rest is ground; records calls and frame sizes."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, photo: np.ndarray, vocabulary: Vocabulary, **settings: Any) -> Result:
        self.calls.append({"vocabulary": vocabulary, **settings})
        self.shapes.append(photo.shape)
        blobs, count = ndimage.label(photo.mean(-1) > 110)
        ids = (blobs + 1).astype(np.int32)
        boxes = ndimage.find_objects(ids, max_label=count + 1)
        segments = []
        for number, (rows, columns) in enumerate(boxes, start=1):
            box = (columns.start, rows.start, columns.stop, rows.stop)
            segments.append(segment(number, GROUND if number == 1 else BALL, int((ids == number).sum()), box))
        return Result(photo, ids, tuple(segments), VOCABULARY)


def ball_frames(count: int, size: tuple[int, int] = (64, 96)) -> list[np.ndarray]:
    """(H, W, 3) uint8 frames: a light square moves over a dark background with a red upper left corner."""
    frames = []
    for index in range(count):
        frame = np.full((*size, 3), 40, dtype=np.uint8)
        frame[:16, :16] = (200, 20, 20)
        left = 20 + index * 2 % (size[1] - 40)
        frame[30:46, left : left + 16] = 230
        frames.append(frame)
    return frames


def write_frames(
    path: Path,
    frames: Iterable[np.ndarray],
    times: Sequence[int] | None = None,
    *,
    sound: str | None = None,
    turn: int | None = None,
    mirrored: bool = False,
    format: str | None = None,
) -> None:
    """A video of `frames` at `times` (ms; by default 40 apart), with a second of sound for each 25 frames.

    `turn`: rotation by the player in degrees, counter-clockwise.
    """
    with av.open(str(path), "w", format=format) as container:
        stream: Any = None
        tone: Any = None
        count = 0
        for index, frame in enumerate(frames):
            if stream is None:
                stream = container.add_stream("libx264", rate=25, options={"crf": "8", "g": "12"})
                stream.height, stream.width, stream.pix_fmt = *frame.shape[:2], "yuv444p"
                stream.codec_context.time_base = CLOCK
                if turn is not None:
                    stream.set_display_rotation(turn, hflip=mirrored)
                if sound:
                    tone = container.add_stream(sound, rate=16_000, layout="mono")
            picture = av.VideoFrame.from_ndarray(frame, "rgb24")
            picture.pts, picture.time_base = times[index] if times else index * 40, CLOCK
            picture.duration = 40
            container.mux(stream.encode(picture))
            count += 1
        container.mux(stream.encode(None))
        if tone is not None:
            write_tone(container, tone, count * 640 // 1024)


def write_tone(container: Any, stream: Any, blocks: int) -> None:
    """`blocks` times 1,024 samples."""
    wave = (np.sin(np.arange(1024) / 5)[None] * 0.3).astype(np.float32)
    resampler = av.AudioResampler(stream.codec_context.format, "mono", 16_000)
    for index in range(blocks):
        frame = av.AudioFrame.from_ndarray(wave, "fltp", "mono")
        frame.rate, frame.pts = 16_000, index * 1024
        for piece in resampler.resample(frame):
            container.mux(stream.encode(piece))
    container.mux(stream.encode(None))


class Read(NamedTuple):
    """The content of a video file."""

    frames: list[np.ndarray]
    times: list[float]
    sound: list[bytes]
    sound_times: list[float]
    codecs: tuple[str, ...]
    pixel_format: str
    end: float


def read_back(path: Path) -> Read:
    with av.open(str(path)) as container:
        frames, times, end = [], [], 0.0
        for frame in container.decode(video=0):
            frames.append(frame.to_ndarray(format="rgb24"))
            times.append(float(frame.pts * frame.time_base))
            end = float((frame.pts + (frame.duration or 0)) * frame.time_base)
        codecs = tuple(stream.codec_context.name for stream in container.streams)
        pixel_format = container.streams.video[0].pix_fmt
    with av.open(str(path)) as container:
        packets = [packet for stream in container.streams.audio for packet in container.demux(stream) if packet.size]
        sound = [bytes(packet) for packet in packets]
        sound_times = [float(packet.pts * packet.time_base) for packet in packets]
    return Read(frames, times, sound, sound_times, codecs, pixel_format, end)
