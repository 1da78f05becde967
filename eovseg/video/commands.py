"""`eovseg video`: options and the run from one file to another."""

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
    """The options of `eovseg video`."""
    parser.add_argument("source", metavar="IN", type=Path, help="a video")
    parser.add_argument("target", metavar="OUT", type=Path, help="the mp4 file that is written")
    add_word_options(parser)
    add_model_options(parser)
    add_settings_options(parser)
    part = parser.add_argument_group("video")
    part.add_argument("--every", type=int, default=1, metavar="N", help="segment each N-th frame, hold it between (1)")
    part.add_argument("--start", type=float, metavar="SECONDS", help="leave out what is before")
    part.add_argument("--end", type=float, metavar="SECONDS", help="leave out what is from there on")
    part.add_argument("--opacity", type=float, default=0.5, metavar="0..1", help="of the colours (0.5)")
    part.add_argument("--no-labels", action="store_true", help="colours only, no names")
    memory = f"segmented frames that a thing may be missing without losing its number and colour ({TRACK_MEMORY})"
    part.add_argument("--memory", type=int, default=TRACK_MEMORY, metavar="N", help=memory)
    part.add_argument("--tracks", type=Path, metavar="FILE", help="JSON lines: the segments of each segmented frame")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Segment one video. Ctrl-C or SIGTERM make what is there by then a whole video; a second one leaves nothing."""
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
    """Say what was written, what was lost and whether it is all; the exit code."""
    frames = f"{summary.frames:,} frame" + ("s" if summary.frames != 1 else "")
    print(f"{target}: {frames}, {summary.segmented:,} of them segmented, {summary.tracks:,} tracks")
    if summary.damaged:
        print(f"eovseg: {summary.damaged:,} packets of the video are damaged and were left out.", file=sys.stderr)
    if summary.sound_left_out:
        print("eovseg: the sound is of a kind that mp4 cannot hold and was left out.", file=sys.stderr)
    if summary.stopped:
        print(f'eovseg: stopped; "{target}" holds the first {frames}.', file=sys.stderr)
        return STOPPED
    return 0
