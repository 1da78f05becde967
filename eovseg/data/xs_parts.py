"""The fully labelled COCO photos used to select XS (validation) and for its single final test (test).

Both are lists of COCO image ids in `xs_parts.json`. No source may train on these photos, whatever folder they are in.
`python -m eovseg.data.xs_parts DATA OUTPUT` copies each part into a COCO panoptic folder for `eovseg evaluate`.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

import numpy as np

from eovseg.atomic_files import write_atomically
from eovseg.data.label_files import read_json
from eovseg.data.panoptic_folder import read_segment_ids, write_segment_ids
from eovseg.errors import DataError, run_command

Part = Literal["validation", "test"]
PARTS: tuple[Part, ...] = ("validation", "test")
FOLDERS = ("coco_panoptic", "coco_taming")


@cache
def part(name: Part) -> frozenset[int]:
    """COCO image ids of one part."""
    return frozenset(json.loads(files("eovseg.data").joinpath("xs_parts.json").read_text(encoding="utf-8"))[name])


def identities(name: Part) -> frozenset[str]:
    """Identities (`split.photo_identity`) of the photos of one part."""
    return frozenset(f"coco/{number}" for number in part(name))


def gather(data: Path, name: Part, output: Path) -> int:
    """Copies the photos and labels of a part from `data` to the COCO panoptic folder `output`; returns the count.

    Segments of classes not in coco_panoptic become unlabelled. Raises `DataError` for missing photos.
    """
    wanted = set(part(name))
    sources = {source: read_json(data / source / "panoptic.json") for source in FOLDERS}
    categories = sources["coco_panoptic"]["categories"]
    known = {category["id"] for category in categories}
    images, annotations = [], []
    for folder in ("images", "panoptic"):
        (output / folder).mkdir(parents=True, exist_ok=True)
    for source, content in sources.items():
        labels = {entry["image_id"]: entry for entry in content["annotations"]}
        for image in content["images"]:
            if image["coco_id"] not in wanted:
                continue
            wanted.remove(image["coco_id"])
            entry = labels[image["id"]]
            shutil.copyfile(data / source / "images" / image["file_name"], output / "images" / image["file_name"])
            ids = read_segment_ids(data / source / "panoptic" / entry["file_name"])
            segments = [segment for segment in entry["segments_info"] if segment["category_id"] in known]
            ids[~np.isin(ids, [segment["id"] for segment in segments])] = 0
            write_segment_ids(output / "panoptic" / entry["file_name"], ids)
            images.append({**image, "id": image["coco_id"]})
            annotations.append({**entry, "image_id": image["coco_id"], "segments_info": segments})
    if wanted:
        raise DataError(f"{len(wanted)} photos of the part {name} are not in {' or '.join(FOLDERS)} below {data}.")
    document = {"images": images, "annotations": annotations, "categories": categories}
    write_atomically(output / "panoptic.json", json.dumps(document))
    return len(images)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m eovseg.data.xs_parts", description=__doc__)
    parser.add_argument("data", type=Path, help="folder that contains the training sources")
    parser.add_argument("output", type=Path, help="output folder; gets the subfolders validation and test")

    def run(options: argparse.Namespace) -> None:
        for name in PARTS:
            print(f"{options.output / name}: {gather(options.data, name, options.output / name)} photos")

    return run_command(parser, run, argv)


if __name__ == "__main__":
    sys.exit(main())
