"""Where the files that ship with the project (weights, vocabularies, photos) are found."""

from pathlib import Path

from eovseg.errors import EovsegError

_PACKAGE = Path(__file__).resolve().parent


def asset_path(name: str) -> Path:
    """Path of a shipped file or folder, `name` relative to `assets/` ("vocabularies/coco-panoptic-133.json").

    A checkout keeps them in the folder `assets/`; an installed wheel has the weights and vocabularies as the package
    `eovseg.shipped`. Raises `EovsegError` where the file is not there.
    """
    shipped = _PACKAGE / "shipped"
    # An installed wheel does not look beside itself, where another project may have put its `assets`.
    path = (shipped if shipped.is_dir() else _PACKAGE.parent / "assets") / name
    if not path.exists():
        raise EovsegError(f"The file assets/{name} is missing; a checkout of the project has it.")
    return path
