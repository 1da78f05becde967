"""The photos of the manual's fine-tuning example: facades, one day's to train on and two later days' to measure on.

python docs/fine_tuning_data.py FOLDER OUT takes a COCO-panoptic folder of the facade photos (a-hwang's
building-facade-segmentation, whose file names begin with the day) and writes OUT as a data set `panoptic-folder` with
the splits `train` and `val`. No photo is shipped with the project.
"""

import json
import shutil
import sys
from pathlib import Path

TRAINING_DAY, TRAINING_PHOTOS = "20230329", 24
VALIDATION_DAYS = ("20230417", "20230424")


def main(folder: Path, out: Path) -> None:
    """Copies both splits' photos and labels into `out`."""
    document = json.loads((folder / "panoptic.json").read_text(encoding="utf-8"))
    names = sorted(image["file_name"] for image in document["images"])
    splits = {
        "train": [name for name in names if name.startswith(TRAINING_DAY)][:TRAINING_PHOTOS],
        "val": [name for name in names if name.startswith(VALIDATION_DAYS)],
    }
    for split, photos in splits.items():
        images = [image for image in document["images"] if image["file_name"] in photos]
        numbers = {image["id"] for image in images}
        annotations = [one for one in document["annotations"] if one["image_id"] in numbers]
        for kind, files in (
            ("images", photos),
            ("panoptic", [one["file_name"] for one in annotations]),
        ):
            target = out / kind / split
            target.mkdir(parents=True)
            for name in files:
                shutil.copyfile(folder / kind / name, target / name)
        part = document | {"images": images, "annotations": annotations}
        (out / f"panoptic_{split}.json").write_text(json.dumps(part), encoding="utf-8")
        print(f"{split}: {len(photos)} photos")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
