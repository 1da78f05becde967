"""Where the files that ship with the project (weights, vocabularies, photos) are found."""

from pathlib import Path

from eovseg.errors import EovsegError

_HOME = Path(__file__).resolve().parent.parent
# In an installed wheel and in a checkout. By place and not by name: many have an `assets` of their own.
_FOLDERS = ("eovseg_assets", "assets")


def asset_path(name: str) -> Path:
    """Path of a shipped file or folder, `name` relative to `assets/` ("vocabularies/coco-panoptic-133.json").

    A checkout keeps them in the folder `assets/`; an installed wheel carries the same folder as the
    package `eovseg_assets`. Raises `EovsegError` where neither has the file.
    """
    for folder in _FOLDERS:
        if (path := _HOME / folder / name).exists():
            return path
    raise EovsegError(f"The shipped file assets/{name} is missing; reinstall the project to get it back.")
