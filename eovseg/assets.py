"""Where the files that ship with the project (weights, vocabularies, photos) are found."""

from importlib import resources
from pathlib import Path

from eovseg.errors import EovsegError

_CHECKOUT = Path(__file__).resolve().parent.parent / "assets"


def asset_path(name: str) -> Path:
    """Path of a shipped file or folder, `name` relative to `assets/` ("vocabularies/coco-panoptic-133.json").

    A checkout keeps them in the folder `assets/`; an installed wheel carries the same folder as the
    package `eovseg_assets`. Raises `EovsegError` where neither has the file.
    """
    if _CHECKOUT.is_dir():
        path = _CHECKOUT / name
    else:
        try:
            path = Path(str(resources.files("eovseg_assets"))) / name
        except ModuleNotFoundError:
            path = _CHECKOUT / name
    if not path.exists():
        raise EovsegError(f"The shipped file assets/{name} is missing; reinstall the project to get it back.")
    return path
