"""Errors that a person can act on: one sentence with what was given, what is allowed and what to do."""

import sys
from collections.abc import Callable


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


def exit_code(command: Callable[[], object]) -> int:
    """Run a command: 0 when it is done, 1 after the sentence of an `EovsegError` on standard error."""
    try:
        command()
    except EovsegError as error:
        print(error, file=sys.stderr)
        return 1
    return 0
