"""Locates the files that ship with the project: weights, vocabularies and photos."""

from pathlib import Path

from eovseg.errors import EovsegError

_PACKAGE = Path(__file__).resolve().parent


def asset_path(name: str) -> Path:
    """Path of a shipped file or folder; `name` is relative to `assets/` ("vocabularies/coco-panoptic-133.json").

    A checkout has them in `assets/`; an installed wheel has only the weights and vocabularies, in the package
    `eovseg.shipped`. Raises `EovsegError` if the file does not exist.
    """
    shipped = _PACKAGE / "shipped"
    # Never look next to an installed package: site-packages may hold another project's `assets`.
    path = (shipped if shipped.is_dir() else _PACKAGE.parent / "assets") / name
    if not path.exists():
        raise EovsegError(f"The file assets/{name} is missing. Run from a checkout of the project, which includes it.")
    return path
