"""Draws the segments of a video into a new video file, and writes its tracks to a JSON lines file."""

import contextlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from eovseg.choices import TRACK_MEMORY, Task
from eovseg.errors import ConfigError, VideoError
from eovseg.model.config import Composition, Ensemble
from eovseg.predictor import Predictor
from eovseg.settings import Calibration, Settings
from eovseg.typed_settings import suggest_misspelt_names
from eovseg.video.frames import Frame, FrameSegmenter
from eovseg.video.reading import Picture, VideoReader
from eovseg.video.writing import SUFFIXES, atomic_output, write_error, write_video
from eovseg.vocabulary import Vocabulary


@dataclass
class Summary:
    """Numbers of frames written, of frames segmented, of tracks and of undecodable packets; whether the run was stopped
    early, and whether the sound was dropped."""

    frames: int = 0
    segmented: int = 0
    tracks: int = 0
    damaged: int = 0
    stopped: bool = False
    sound_left_out: bool = False


def check_files(source: str | Path, target: str | Path, tracks: str | Path | None = None) -> None:
    """Validates file names before anything slow is loaded; raises `VideoError`."""
    written = [Path(target), *([Path(tracks)] if tracks is not None else [])]
    if written[0].suffix.lower() not in SUFFIXES:
        raise VideoError(f'The output "{target}" is an mp4 file; its name must end in {" or ".join(SUFFIXES)}.')
    for path in written:
        if path.is_dir():
            raise VideoError(f'"{path}" is a folder; give a file name.')
        if _same(path, Path(source)):
            raise VideoError(f'"{path}" is also the input video; give another name.')
    if len(written) == 2 and _same(*written):
        raise VideoError(f'Video and tracks cannot both be written to "{target}"; give different names.')
    with VideoReader(source):
        pass


def _same(first: Path, second: Path) -> bool:
    with contextlib.suppress(OSError):
        if first.samefile(second):  # links too
            return True
    return first.absolute() == second.absolute()


@suggest_misspelt_names
def segment_video(
    predictor: Predictor,
    source: str | Path,
    target: str | Path,
    vocabulary: Vocabulary | str,
    *,
    background: Vocabulary | str | None = None,
    every: int = 1,
    memory: int = TRACK_MEMORY,
    start: float | None = None,
    end: float | None = None,
    opacity: float = 0.5,
    labels: bool = True,
    tracks: str | Path | None = None,
    progress: bool | None = None,
    stop: Callable[[], bool] = lambda: False,
    task: Task | None = None,
    alpha: float | None = None,
    beta: float | None = None,
    ensemble: Ensemble | None = None,
    score_threshold: float | None = None,
    overlap_threshold: float | None = None,
    void_threshold: float | None = None,
    composition: Composition | None = None,
    mask_threshold: float | None = None,
    pixel_threshold: float | None = None,
    edges: bool | None = None,
    calibration: Calibration = None,
    settings: Settings | None = None,
) -> Summary:
    """Draws the segments of the video `source` into the mp4 file `target`.

    Keeps size (rounded up to even), timestamps and the first sound track; with `start` and `end` (seconds), timestamps
    start at 0. `opacity` 0..1 and `labels` as in `Result.overlay`; `tracks`: a JSON lines file, one line per segmented
    frame (`Frame.to_json`). `progress` None shows a bar only on terminals. `stop` is polled after each frame; the
    frames so far become a complete video. Files are written atomically. `background`, `every` and `memory` are those
    of `segment_frames`; `task`, `alpha`, ... are the fields of `Settings` and override those of `settings`.
    Raises `VideoError` and `ConfigError`.
    """
    if not 0 <= opacity <= 1:
        raise ConfigError(f"The overlay's opacity must be between 0 and 1, not {opacity}.")
    chosen = Settings.chosen(
        settings, task=task, alpha=alpha, beta=beta, ensemble=ensemble, score_threshold=score_threshold,
        overlap_threshold=overlap_threshold, void_threshold=void_threshold, composition=composition,
        mask_threshold=mask_threshold, pixel_threshold=pixel_threshold, edges=edges, calibration=calibration,
    )  # fmt: skip
    segmenter = FrameSegmenter(predictor, vocabulary, background, every=every, memory=memory, settings=chosen)
    check_files(source, target, tracks)
    summary = Summary()
    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(VideoReader(source, start, end))
        note = stack.enter_context(_lines(Path(tracks))) if tracks is not None else _nothing
        writer = stack.enter_context(write_video(Path(target), reader.rate, reader.time_base, reader.sound))
        shift = round((start or 0) / reader.time_base)
        hidden = None if progress is None else not progress
        bar = stack.enter_context(tqdm(total=reader.expected, unit="frame", disable=hidden))
        for item in stack.enter_context(contextlib.closing(reader.read(sound=True))):
            if not isinstance(item, Picture):
                writer.copy(item, shift)
                continue
            frame = segmenter(item)
            writer.write(np.asarray(frame.overlay(opacity, labels)), item, shift)
            if frame.is_new:
                note(frame)
                summary.segmented += 1
            summary.frames += 1
            bar.update()
            del item, frame
            if stop():
                summary.stopped = True
                break
        summary.tracks, summary.damaged = segmenter.tracks, reader.damaged
        summary.sound_left_out = writer.sound_left_out
    return summary


def _nothing(frame: Frame) -> None:
    return None


@contextmanager
def _lines(path: Path) -> Iterator[Callable[[Frame], None]]:
    """Appends frames as JSON lines to a file that appears if the block succeeds."""
    with atomic_output(path) as part, part.open("w", encoding="utf-8", errors="replace") as file:

        def note(frame: Frame) -> None:
            try:
                file.write(json.dumps(frame.to_json(), ensure_ascii=False) + "\n")
            except OSError as error:
                raise write_error(path, error) from error

        yield note
