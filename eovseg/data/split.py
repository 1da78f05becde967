"""The validation split, determined by a hash of the file name and thus the same on every machine."""

import hashlib
from collections.abc import Iterable

from eovseg.data.labelled_folder import LabelledFolder, Photo
from eovseg.errors import ConfigError

VALIDATION_FRACTION = 0.2


def is_validation(file_name: str, fraction: float = VALIDATION_FRACTION) -> bool:
    """Whether the hash of a photo's file name, uniform in [0, 1), is less than `fraction`."""
    if not 0.0 <= fraction < 1.0:
        raise ConfigError(f"The validation fraction must be in [0, 1), got {fraction}.")
    digest = hashlib.sha256(file_name.encode("utf-8")).digest()
    return int.from_bytes(digest[:8], "big") < fraction * 2**64


def validation_photos(folder: LabelledFolder, fraction: float = VALIDATION_FRACTION) -> tuple[Photo, ...]:
    """The photos of `folder` that are excluded from training."""
    return tuple(photo for photo in folder.photos if is_validation(photo.file_name, fraction))


def photo_identities(folder: LabelledFolder, photos: Iterable[Photo]) -> frozenset[str]:
    """Keys that identify photos across sources: the COCO id if there is one, else source and file name."""
    return frozenset(photo_identity(folder, photo) for photo in photos)


def photo_identity(folder: LabelledFolder, photo: Photo) -> str:
    """One photo's identity, see `photo_identities`."""
    return f"coco/{photo.coco_id}" if photo.coco_id is not None else f"{folder.name}/{photo.file_name}"
