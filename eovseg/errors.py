"""Errors that a person can act on: one sentence with what was given, what is allowed and what to do."""


class EovsegError(Exception):
    """Base of every error that the command line and the page show as a plain sentence."""


class VocabularyError(EovsegError):
    """The words cannot be used (empty, too many, too long, unknown preset)."""


class ImageError(EovsegError):
    """The photo cannot be read or is outside the accepted sizes."""


class CheckpointError(EovsegError):
    """A weight file is missing, foreign, truncated, unsafe or made for another variant."""


class ConfigError(EovsegError):
    """A setting has a value that is not allowed."""


class DataError(EovsegError):
    """A data set folder is incomplete or inconsistent; the message names the file."""
