"""PyAV, which carries FFmpeg: imported when a video is opened, so that photos need no such package."""

from pathlib import Path
from types import ModuleType

from eovseg.errors import VideoError


def require_av() -> ModuleType:
    """The module `av`. Raises `VideoError` where it is not installed."""
    try:
        import av
    except ImportError as error:
        raise VideoError('Videos need the package av: pip install "eovseg[video]" or av.') from error
    return av


def file_address(path: Path) -> str:
    """`path` as FFmpeg takes it: without the scheme, a colon in a name would be read as one."""
    return f"file:{path}"
