"""Imports PyAV, which includes FFmpeg, only when a video is opened, because it is optional."""

from pathlib import Path
from types import ModuleType

from eovseg.errors import VideoError


def require_av() -> ModuleType:
    """The module `av`; raises `VideoError` if it is not installed."""
    try:
        import av
    except ImportError as error:
        raise VideoError(
            'Videos need the package av. Run pip install av, or pip install -e ".[video]" in the checkout.'
        ) from error
    return av


def file_address(path: Path) -> str:
    """`path` as a URL for FFmpeg, which would otherwise read a colon in the name as a scheme."""
    return f"file:{path}"
