"""User errors: their messages say what was given, what is allowed and what to do."""

import argparse
import difflib
import io
import os
import select
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from eovseg.stopping import STOPPED, sigterm_like_ctrl_c


class EovsegError(Exception):
    """Base class of all errors that the command line and the page show as a plain message."""


class VocabularyError(EovsegError):
    """The vocabulary is invalid (empty, too many or too long words, unknown preset)."""


class ImageError(EovsegError):
    """The photo cannot be read or its size is not supported."""


class VideoError(EovsegError):
    """A video cannot be read or written, or the package for it is missing."""


class CheckpointError(EovsegError):
    """A weight file is missing, truncated, unsafe, not an EOV-Seg checkpoint, or of another variant."""


class ConfigError(EovsegError):
    """A setting has an invalid value."""


class DataError(EovsegError):
    """A data set is incomplete or inconsistent; the message names the file."""


def run_command(
    parser: argparse.ArgumentParser,
    run: Callable[[argparse.Namespace], int | None],
    arguments: Sequence[str] | None = None,
) -> int:
    """`exit_code` of `run` with the options parsed from `arguments` (None: those of the process)."""
    any_encoding()
    options = parse_options(parser, arguments)
    return exit_code(lambda: run(options))


def parse_options(parser: argparse.ArgumentParser, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """`parser.parse_args(arguments)`; the error for an unknown option also names the most similar one."""
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        known = _option_names(parser)
        names = (given.partition("=")[0] for given in unknown if given.startswith("--"))
        close = dict.fromkeys(match for name in names for match in difflib.get_close_matches(name, known, n=1))
        meant = f"; did you mean {' and '.join(close)}?" if close else ""
        parser.error(f"unrecognized arguments: {' '.join(unknown)}{meant}")
    return options


def _option_names(parser: argparse.ArgumentParser) -> list[str]:
    """The options of a parser and of its subcommands."""
    names = list(parser._option_string_actions)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            names += [name for command in action.choices.values() for name in _option_names(command)]
    return names


def exit_code(command: Callable[[], int | None], program: str = "") -> int:
    """Runs a command; returns its exit code, or 1 for an `EovsegError` or `OSError`, 130 after Ctrl-C or SIGTERM.

    The error is printed to standard error as one sentence, prefixed with `program`.

    If standard output is a broken pipe, as with `| head`, prints nothing and returns 141, the shell's code for SIGPIPE.
    """
    try:
        with sigterm_like_ctrl_c():
            code = command() or 0
            sys.stdout.flush()
            return code
    except (EovsegError, OSError) as error:
        if isinstance(error, BrokenPipeError) and _reader_gone():
            with Path(os.devnull).open("w") as nowhere:
                os.dup2(nowhere.fileno(), sys.stdout.fileno())  # so that Python's final flush does not fail
            return 141
        print(f"{program}{error_message(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{program}stopped; finished results are kept.", file=sys.stderr)
        return STOPPED


def _reader_gone() -> bool:
    """Whether standard output is the broken pipe; it may also be another one, e.g. to a worker."""
    try:
        descriptor = sys.stdout.fileno()
        sys.stdout.flush()
    except BrokenPipeError:
        return True
    except (OSError, ValueError):  # replaced by an in-memory stream, or closed
        return False
    if not hasattr(select, "poll"):  # Windows
        return False
    watched = select.poll()  # an unbuffered stream has nothing to flush, so poll it
    watched.register(descriptor, 0)
    return any(event & select.POLLERR for _, event in watched.poll(0))


def error_message(error: EovsegError | OSError) -> str:
    """The message of an error: our own text, or that of the operating system with the file name, if any.

    An `OSError` without a file name is not informative, so its traceback is logged.
    """
    if isinstance(error, EovsegError):
        return str(error)
    reason = (error.strerror or str(error) or type(error).__name__).rstrip(".")
    files = [str(name) for name in (error.filename, error.filename2) if name is not None]
    if files:
        return f"{' and '.join(files)}: {reason}."
    from eovseg.error_log import log_traceback

    return f"{reason}{log_traceback(error)}."


def any_encoding() -> None:
    """Makes standard output and error escape characters that their encoding lacks (`\\u65e5`) instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
