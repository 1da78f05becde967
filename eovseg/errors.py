"""Errors that a person can act on: one sentence with what was given, what is allowed and what to do."""

import argparse
import io
import os
import select
import sys
from collections.abc import Callable, Sequence
from pathlib import Path


class EovsegError(Exception):
    """Base of every error that the command line and the page show as a plain sentence."""


class VocabularyError(EovsegError):
    """The words cannot be used (empty, too many, too long, unknown preset)."""


class ImageError(EovsegError):
    """The photo cannot be read or is outside the accepted sizes."""


class VideoError(EovsegError):
    """A video cannot be read or written, or the package that does it is missing."""


class CheckpointError(EovsegError):
    """A weight file is missing, foreign, truncated, unsafe or made for another variant."""


class ConfigError(EovsegError):
    """A setting has a value that is not allowed."""


class DataError(EovsegError):
    """A data set folder is incomplete or inconsistent; the message names the file."""


def run_command(
    parser: argparse.ArgumentParser,
    run: Callable[[argparse.Namespace], int | None],
    arguments: Sequence[str] | None = None,
) -> int:
    """`exit_code` of `run` with the options in `arguments`, those of the process where it is None."""
    any_encoding()
    options = parser.parse_args(arguments)
    return exit_code(lambda: run(options))


def exit_code(command: Callable[[], int | None], program: str = "") -> int:
    """Run a command: its own exit code or 0; 1 after one sentence on standard error, with `program` before it, for what
    a person can act on, `EovsegError` and what the system refuses (`OSError`); 130 after Ctrl-C.

    Nothing is said, and the code is 141 as shells count SIGPIPE, where the reader of standard output has gone, as after
    `| head`.
    """
    try:
        code = command() or 0
        sys.stdout.flush()
        return code
    except (EovsegError, OSError) as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            with Path(os.devnull).open("w") as nowhere:
                os.dup2(nowhere.fileno(), sys.stdout.fileno())  # so that Python does not fail again when it ends
            return 141
        print(f"{program}{sentence(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{program}stopped; what was finished is kept.", file=sys.stderr)
        return 130


def _nobody_reads() -> bool:
    """Whether the reader of standard output has gone: another pipe, to a program or a worker, may have broken too."""
    try:
        descriptor = sys.stdout.fileno()
        sys.stdout.flush()
    except BrokenPipeError:
        return True
    except (OSError, ValueError):  # replaced by something in memory, or closed
        return False
    if not hasattr(select, "poll"):  # Windows
        return False
    watched = select.poll()  # without a buffer, nothing is left that could be flushed
    watched.register(descriptor, 0)
    return any(event & select.POLLERR for _, event in watched.poll(0))


def sentence(error: EovsegError | OSError) -> str:
    """What a command says about an error: our own words, or what the system refuses, with the file where it names one.

    The traceback of an error of the system that names no file goes to the log, as nobody could tell what was refused.
    """
    if isinstance(error, EovsegError):
        return str(error)
    reason = (error.strerror or str(error) or type(error).__name__).rstrip(".")
    files = [str(name) for name in (error.filename, error.filename2) if name is not None]
    if files:
        return f"{' and '.join(files)}: {reason}."
    from eovseg.error_log import keep_traceback

    return f"{reason}{keep_traceback(error)}."


def any_encoding() -> None:
    """Let standard output and error write what their encoding lacks as an escape (`\\u65e5`) instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
