"""Photos without labels, for distillation: a plain folder of image files as augmented batches."""

import logging
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from eovseg.data.augment import Augmentation, augment
from eovseg.data.label_files import read_photo
from eovseg.data.sources import VOID, Sample
from eovseg.errors import DataError
from eovseg.photo_folders import PHOTO_SUFFIXES, LeftOut, walk

_LOG = logging.getLogger(__name__)


def list_photos(folder: Path | str) -> tuple[Path, ...]:
    """The photos directly in `folder`, by name; a warning is logged about what is left out.

    Raises `DataError` where there are none.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; unlabelled photos are read from a folder of image files.")
    left_out = LeftOut()
    photos = tuple(root / name for _, name in walk(root, recursive=False, left_out=left_out))
    if not photos:
        raise DataError(f"{root} has no photos ({', '.join(PHOTO_SUFFIXES)}).")
    if left_out.kinds:
        _LOG.warning("%s", left_out.note(root))
    return photos


class UnlabelledBatches(Dataset[Tensor]):
    """`batches[step]` is (B, 3, S, S) float32 RGB 0..255, random views of the photos; seed and step decide all."""

    def __init__(
        self, folder: Path | str, batch_size: int, crop_size: int, augmentation: Augmentation, seed: int = 0
    ) -> None:
        self.photos = list_photos(folder)
        self.batch_size = batch_size
        self.crop_size = crop_size
        self.augmentation = augmentation
        self.seed = seed

    def __getitem__(self, step: int) -> Tensor:
        rng = np.random.default_rng([self.seed, step])
        chosen = rng.choice(len(self.photos), size=self.batch_size, replace=self.batch_size > len(self.photos))
        views = []
        for index in chosen:
            image = read_photo(self.photos[index])
            segment_map = np.full(image.shape[:2], VOID, dtype=np.uint16)
            sample = Sample(image, segment_map, {}, np.zeros(0, dtype=bool))
            views.append(augment(sample, None, self.crop_size, self.augmentation, rng).image)
        return torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2).float().contiguous()
