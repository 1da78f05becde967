"""Photos without labels: a plain folder of image files."""

import logging
from pathlib import Path

from eovseg.errors import DataError
from eovseg.photo_folders import PHOTO_SUFFIXES, SkippedFiles, walk

_LOG = logging.getLogger(__name__)


def list_photos(folder: Path | str) -> tuple[Path, ...]:
    """The photos directly in `folder`, sorted by name; logs a warning about skipped files.

    Raises `DataError` if there are none.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; give a folder of image files.")
    skipped = SkippedFiles()
    photos = tuple(root / name for _, name in walk(root, recursive=False, skipped=skipped))
    if not photos:
        raise DataError(f"{root} has no photos ({', '.join(PHOTO_SUFFIXES)}).")
    if skipped.kinds:
        _LOG.warning("%s", skipped.note(root))
    return photos
