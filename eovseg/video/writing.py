"""Writes an mp4 file atomically: widely supported H.264 with the original timestamps, and copied sound."""

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from eovseg.atomic_files import atomic_file
from eovseg.errors import VideoError
from eovseg.video.package import file_address, require_av
from eovseg.video.reading import Picture, SoundPacket

SUFFIXES = (".mp4", ".m4v", ".mov")
_ENCODERS = ("libx264", "libopenh264", "h264")  # FFmpeg's encoders, in order of preference
_QUALITY = {"crf": "20", "preset": "veryfast"}  # options of libx264: no visible loss, and fast
_BT709 = 1  # FFmpeg's code for the BT.709 matrix, primaries and transfer function
_STUDIO_RANGE = 1


class VideoWriter:
    """Writes one video; created by `write_video`."""

    def __init__(self, path: Path, container: Any, rate: Fraction, time_base: Fraction, sound: Any) -> None:
        self._av = require_av()
        self._path = path
        self._container = container
        self._rate = rate
        self._time_base = time_base
        codec = getattr(sound, "codec_context", None)  # also None if FFmpeg cannot decode it
        self.sound_left_out = sound is not None and (codec is None or codec.name not in container.supported_codecs)
        self._template = None if self.sound_left_out else sound
        self._stream: Any = None
        self._sound: Any = None
        self._waiting: list[SoundPacket] = []  # until the first picture determines the size

    def write(self, image: np.ndarray, picture: Picture, shift: int = 0) -> None:
        """Appends `image` (H, W, 3) uint8 RGB with the timestamp of `picture` minus `shift` ticks.

        H.264 needs even sides, so the last row or column of an odd side is repeated.
        """
        height, width = image.shape[:2]
        if height % 2 or width % 2:
            image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if self._stream is None:
            self._stream = self._new_stream(image.shape, picture.pixel_aspect)
            if self._template is not None:
                self._sound = self._container.add_stream_from_template(self._template)
        frame = self._av.VideoFrame.from_ndarray(image, "rgb24")
        spaces, ranges = self._av.video.reformatter.Colorspace, self._av.video.reformatter.ColorRange
        frame = frame.reformat(format="yuv420p", dst_colorspace=spaces.ITU709, dst_color_range=ranges.MPEG)
        frame.pts, frame.time_base, frame.duration = picture.ticks - shift, self._time_base, picture.duration
        with self._disk():
            self._container.mux(self._stream.encode(frame))
            for sound in self._waiting:
                self._copy(sound, shift)
        self._waiting.clear()

    def copy(self, sound: SoundPacket, shift: int = 0) -> None:
        """Appends a sound packet with its timestamp reduced by `shift` ticks of the pictures' time base."""
        if self._template is None:
            return
        if self._stream is None:
            self._waiting.append(sound)
            return
        with self._disk():
            self._copy(sound, shift)

    def finish(self) -> None:
        """Flushes the encoder and writes the file's index."""
        with self._disk():
            if self._stream is not None:
                self._container.mux(self._stream.encode(None))
            self._container.close()

    def _copy(self, sound: SoundPacket, shift: int) -> None:
        packet = sound.packet
        earlier = round(shift * self._time_base / packet.time_base)
        packet.pts -= earlier
        if packet.dts is not None:
            packet.dts -= earlier
        packet.stream = self._sound
        self._container.mux(packet)

    def _new_stream(self, shape: tuple[int, ...], pixel_aspect: Fraction) -> Any:
        for name in _ENCODERS:
            with contextlib.suppress(ValueError):  # FFmpeg was built without that encoder
                options = _QUALITY if name == "libx264" else {}
                stream = self._container.add_stream(name, rate=self._rate, options=options)
                break
        else:
            raise VideoError("This installation of av has no H.264 encoder; run pip install --force-reinstall av.")
        stream.height, stream.width = shape[:2]
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.time_base = self._time_base  # that of the input, which preserves variable frame rates
        context.sample_aspect_ratio = pixel_aspect
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _STUDIO_RANGE
        return stream

    @contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except (OSError, self._av.error.FFmpegError) as error:
            raise write_error(self._path, error) from error


@contextmanager
def write_video(path: Path, rate: Fraction, time_base: Fraction, sound: Any = None) -> Iterator[VideoWriter]:
    """A writer to `path`, which appears if the block succeeds; after an error or a second Ctrl-C, nothing is left.

    `sound`: FFmpeg's stream whose packets will be copied. Raises `VideoError` if the file cannot be written.
    """
    av = require_av()
    with atomic_output(path) as part:
        try:
            container = av.open(file_address(part), "w", format="mp4", options={"movflags": "+faststart"})
        except OSError as error:
            raise write_error(path, error) from error
        try:
            writer = VideoWriter(path, container, rate, time_base, sound)
            yield writer
            writer.finish()
        finally:
            with contextlib.suppress(OSError, ValueError):  # already closed, or unusable
                container.close()


@contextmanager
def atomic_output(path: Path) -> Iterator[Path]:
    """`atomic_file`, but its own errors become `VideoError`s; errors raised by the block are not changed."""
    with contextlib.ExitStack() as stack:
        try:
            part = stack.enter_context(atomic_file(path))
        except OSError as error:
            raise write_error(path, error) from error
        yield part
        try:
            stack.close()
        except OSError as error:
            raise write_error(path, error) from error


def write_error(path: Path, error: Exception) -> VideoError:
    """The error to raise if `path` cannot be written, with the system's reason."""
    reason = getattr(error, "strerror", None) or str(error)
    return VideoError(f'"{path}" cannot be written ({reason}).')
