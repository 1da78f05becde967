"""Reads a video file: upright pictures with timestamps, decoded in advance by a thread, and undecoded sound packets."""

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from eovseg.errors import ConfigError, VideoError
from eovseg.segmenting.prefetch import prefetch
from eovseg.video.package import file_address, require_av

_PREFETCHED = 8  # packets to decode in advance
# FFmpeg demuxers of files that cannot refer to other files.
_WHOLE_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,ogg,flv,asf"
_MICROSECOND = Fraction(1, 1_000_000)
_UNKNOWN_MATRIX = 2  # FFmpeg's "unspecified" colour space
_HIGH_DEFINITION = 720  # rows from which players assume BT.709 for untagged videos


@dataclass(frozen=True, eq=False)
class Picture:
    """One decoded frame.

    `image` (H, W, 3) uint8 RGB, upright; `index` counts from the first frame read; `ticks` is the timestamp in units of
    the reader's `time_base` and `time` in seconds, from the video's start. `pixel_aspect` is a pixel's width / height.
    """

    image: np.ndarray
    index: int
    ticks: int
    time: float
    duration: int
    pixel_aspect: Fraction


@dataclass(frozen=True, eq=False)
class SoundPacket:
    """Encoded sound to copy: FFmpeg's packet and its timestamp in seconds, both from the video's start."""

    packet: Any
    time: float


class VideoReader:
    """An open video file, to be used in `with`; `read` may be called once.

    `start` and `end` select a part in seconds. `untrusted`: accept only files that contain the pictures themselves;
    a playlist could refer to any video on this machine. Raises `VideoError` if the file is not a video, and
    `ConfigError` for invalid times.
    """

    def __init__(
        self, path: str | Path, start: float | None = None, end: float | None = None, *, untrusted: bool = False
    ) -> None:
        self._start = 0.0 if start is None else start
        self._end = float("inf") if end is None else end
        if not 0 <= self._start < self._end:
            raise ConfigError(
                f"The part from {self._start:g} s to {self._end:g} s is not allowed; give 0 <= start < end in seconds."
            )
        self._av = require_av()
        self.path = Path(path)
        self._container = _open(self._av, self.path, untrusted)
        try:
            self._stream = _picture_stream(self._av, self._container, self.path)
        except VideoError:
            self._container.close()
            raise
        self._stream.thread_type = "AUTO"
        self.time_base: Fraction = self._stream.time_base
        self.rate: Fraction = self._stream.average_rate or self._stream.guessed_rate or Fraction(25)
        sound = self._container.streams.audio
        self.sound = sound[0] if sound else None
        self.damaged = 0  # packets that could not be decoded
        self._first_tick = round((self._container.start_time or 0) * _MICROSECOND / self.time_base)
        self._size: tuple[int, int] | None = None
        self._count = 0
        self._next_tick = 0
        self._last_tick: int | None = None
        self._ended = self._sound_ended = False

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._container.close()

    @property
    def expected(self) -> int | None:
        """Approximate number of pictures that `read` will yield; None if unknown."""
        length = self._container.duration
        seconds = min(float(length * _MICROSECOND) if length else float("inf"), self._end) - self._start
        if not self._start and self._end == float("inf") and self._stream.frames:
            return int(self._stream.frames)
        return max(round(seconds * self.rate), 1) if 0 < seconds < float("inf") else None

    def read(self, sound: bool = False) -> Generator[Picture | SoundPacket, None, None]:
        """Yields the pictures from `start` up to `end` (exclusive) in order, interleaved with the packets of the first
        sound track if `sound`.

        Undecodable packets are counted in `damaged` and skipped; a truncated file just ends early. Raises `VideoError`
        if there are no pictures.
        """
        streams = [self._stream, *([self.sound] if sound and self.sound is not None else [])]
        self._sound_ended = len(streams) == 1
        if self._start:  # seeks to the last keyframe before it
            try:
                self._container.seek(round(self._start * 1_000_000) + (self._container.start_time or 0))
            except (OverflowError, self._av.error.FFmpegError) as error:
                raise VideoError(
                    f'"{self.path.name}" does not support seeking to {self._start:g} s; omit the start time.'
                ) from error
        # Closed with the generator, so that no thread decodes from a closed file.
        with closing(prefetch(self._packets(streams), self._decode, 1, _PREFETCHED)) as packets:
            for packet, decoded in packets:
                if self._is_picture(packet):
                    yield from decoded()
                elif packet.pts is not None:
                    self._from_start(packet)
                    time = float(packet.pts * packet.time_base)
                    self._sound_ended |= time >= self._end
                    if self._start <= time < self._end or (time < 0 and not self._start):
                        yield SoundPacket(packet, time)
        if not self._count:
            raise VideoError(self._no_picture())

    def _no_picture(self) -> str:
        if self._start or self._end < float("inf"):
            return f'"{self.path.name}" has no pictures from {self._start:g} s to {self._end:g} s.'
        return f'"{self.path.name}" is damaged: no picture can be decoded.'

    def _is_picture(self, packet: Any) -> bool:
        return bool(packet.stream.index == self._stream.index)

    def _from_start(self, packet: Any) -> None:
        """Makes the timestamps of a packet relative to the video's start, like those of the pictures."""
        earlier = round(self._first_tick * self.time_base / packet.time_base)
        packet.pts -= earlier
        packet.dts = packet.dts - earlier if packet.dts is not None else None

    def _packets(self, streams: list[Any]) -> Iterator[Any]:
        packets = self._container.demux(streams)
        while not (self._ended and self._sound_ended):
            try:
                packet = next(packets, None)
            except self._av.error.FFmpegError:  # e.g. a truncated file
                self.damaged += 1
                return
            if packet is None:
                return
            yield packet

    def _decode(self, packet: Any) -> list[Picture]:
        """The pictures of one packet; runs in the decoding thread, one packet at a time."""
        if self._ended or not self._is_picture(packet):
            return []
        try:
            frames = packet.decode()
        except self._av.error.FFmpegError:
            self.damaged += 1
            return []
        pictures = []
        for frame in frames:
            # Missing or decreasing timestamps are replaced by the expected next one.
            ticks = self._next_tick if frame.pts is None else frame.pts - self._first_tick
            ticks = ticks if self._last_tick is None or ticks > self._last_tick else self._next_tick
            duration = frame.duration or max(round(1 / (self.rate * self.time_base)), 1)
            self._last_tick, self._next_tick = ticks, ticks + duration
            time = float(ticks * self.time_base)
            if time >= self._end:
                self._ended = True
                break
            if time >= self._start:
                image, turned = self._upright(frame)
                aspect = Fraction(self._stream.sample_aspect_ratio or 1)
                aspect = 1 / aspect if turned else aspect
                pictures.append(Picture(image, self._count, ticks, time, duration, aspect))
                self._count += 1
        return pictures

    def _upright(self, frame: Any) -> tuple[np.ndarray, bool]:
        """(H, W, 3) uint8 RGB of a decoded frame, scaled to the first frame's size; whether its sides are swapped."""
        self._size = self._size or (frame.width, frame.height)
        spaces = self._av.video.reformatter.Colorspace
        marked = frame.colorspace != _UNKNOWN_MATRIX
        unmarked = spaces.ITU709 if frame.height >= _HIGH_DEFINITION else spaces.ITU601
        width, height = self._size
        space = None if marked else unmarked
        pixels = frame.reformat(width, height, "rgb24", src_colorspace=space).to_ndarray()
        matrix = frame.side_data.get(self._av.sidedata.sidedata.Type.DISPLAYMATRIX)
        if matrix is None:
            return pixels, False
        return turn_upright(pixels, np.frombuffer(matrix, dtype=np.int32)[:9])


def turn_upright(pixels: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, bool]:
    """Rotates and flips `pixels` (H, W, 3) by FFmpeg's display matrix (9,); returns whether the sides were swapped.

    The matrix maps (x, y) to (a x + c y, b x + d y), where a, b, c, d are its entries 0, 1, 3 and 4. Cameras only use
    rotations by multiples of 90 degrees, so others are rounded to these.
    """
    a, b, c, d = (int(matrix[place]) for place in (0, 1, 3, 4))
    turned = abs(b) + abs(c) > abs(a) + abs(d)
    if turned:
        pixels = pixels.transpose(1, 0, 2)
    across, down = (c, b) if turned else (a, d)
    pixels = pixels[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1]
    return np.ascontiguousarray(pixels), turned


def _open(av: Any, path: Path, untrusted: bool) -> Any:
    if path.is_dir():
        raise VideoError(f'"{path}" is a folder; give a video file.')
    try:
        # Only local files: a playlist must not cause network requests.
        options = {"protocol_whitelist": "file"} | ({"format_whitelist": _WHOLE_FORMATS} if untrusted else {})
        container = av.open(file_address(path), options=options)
    except FileNotFoundError as error:
        raise VideoError(f'The video "{path.name}" was not found.') from error
    except PermissionError as error:
        raise VideoError(f'"{path.name}" cannot be read: permission denied.') from error
    except (OSError, ValueError) as error:  # base classes of FFmpeg's errors
        raise VideoError(f'"{path.name}" is not a readable video, or it is damaged or truncated.') from error
    return container


def _picture_stream(av: Any, container: Any, path: Path) -> Any:
    """The video stream, ignoring cover art; raises `VideoError` for photos."""
    names = container.format.name
    if names == "image2" or names.endswith("_pipe"):
        raise VideoError(f'"{path.name}" is a photo; use `eovseg segment` for photos.')
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:
            return stream
    raise VideoError(f'"{path.name}" has no video stream.')
