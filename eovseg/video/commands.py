"""`eovseg video`: options and the run from one file to another."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from eovseg.choices import TRACK_MEMORY
from eovseg.segmenting.commands import STOPPED, add_model_arguments, given_settings, given_words
from eovseg.training.stopping import StopSignals

if TYPE_CHECKING:
    from eovseg.video.files import Summary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `eovseg video`."""
    parser.add_argument("source", metavar="IN", type=Path, help="a video")
    parser.add_argument("target", metavar="OUT", type=Path, help="the mp4 file that is written")
    add_model_arguments(parser)
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
    from eovseg.loading import load
    from eovseg.video.files import check_files, segment_video

    vocabulary, background = given_words(options)
    check_files(options.source, options.target, options.tracks)
    predictor = load(options.variant, options.checkpoint, options.device, options.dtype, options.backend)
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
                **given_settings(options),
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
