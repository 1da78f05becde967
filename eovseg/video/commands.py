"""`eovseg video`: its options, and the run."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from eovseg.choices import TRACK_MEMORY
from eovseg.command_options import (
    add_model_options,
    add_settings_options,
    add_word_options,
    chosen_model,
    chosen_settings,
    chosen_words,
)
from eovseg.stopping import STOPPED, StopSignals

if TYPE_CHECKING:
    from eovseg.video.files import Summary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `eovseg video`."""
    parser.add_argument("source", metavar="IN", type=Path, help="video to segment")
    parser.add_argument("target", metavar="OUT", type=Path, help="mp4 file to write")
    add_word_options(parser)
    add_model_options(parser)
    add_settings_options(parser)
    part = parser.add_argument_group("video")
    part.add_argument("--every", type=int, default=1, metavar="N", help="segment only every N-th frame (default: 1)")
    part.add_argument("--start", type=float, metavar="SECONDS", help="start time (default: start of the video)")
    part.add_argument("--end", type=float, metavar="SECONDS", help="end time (default: end of the video)")
    part.add_argument(
        "--opacity", type=float, default=0.5, metavar="0..1", help="opacity of the colours (default: 0.5)"
    )
    part.add_argument("--no-labels", action="store_true", help="do not draw names")
    memory = f"number of segmented frames that a thing may miss without losing its track (default: {TRACK_MEMORY})"
    part.add_argument("--memory", type=int, default=TRACK_MEMORY, metavar="N", help=memory)
    part.add_argument("--tracks", type=Path, metavar="FILE", help="write one JSON line per segmented frame")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Segments one video. The first Ctrl-C or SIGTERM finishes a shorter video; a second one discards it."""
    from eovseg.video.files import check_files, segment_video

    vocabulary, background = chosen_words(options)
    settings = chosen_settings(options)
    check_files(options.source, options.target, options.tracks)
    predictor = chosen_model(options)
    with StopSignals() as signals:
        try:
            summary = segment_video(
                predictor,
                options.source,
                options.target,
                vocabulary,
                background=background,
                every=options.every,
                start=options.start,
                end=options.end,
                memory=options.memory,
                opacity=options.opacity,
                labels=not options.no_labels,
                tracks=options.tracks,
                stop=lambda: signals.received,
                settings=settings,
            )
        except KeyboardInterrupt:
            print("eovseg: stopped; nothing was written.", file=sys.stderr)
            return STOPPED
    return _report(options.target, summary)


def _report(target: Path, summary: "Summary") -> int:
    """Prints what was written and what was skipped; returns the exit code."""
    frames = f"{summary.frames:,} frame" + ("s" if summary.frames != 1 else "")
    print(f"{target}: {frames}, {summary.segmented:,} of them segmented, {summary.tracks:,} tracks")
    if summary.damaged:
        print(f"eovseg: {summary.damaged:,} damaged packets of the video were skipped.", file=sys.stderr)
    if summary.sound_left_out:
        print("eovseg: the sound was dropped, because mp4 does not support its format.", file=sys.stderr)
    if summary.stopped:
        print(f'eovseg: stopped; "{target}" contains the first {frames}.', file=sys.stderr)
        return STOPPED
    return 0
