"""Tiny data sets of two 24 x 16 photos, in the exact format of the download or of commonly used prepared files."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as rle
from scipy.io import savemat

from eovseg.data.layouts.pascal_context import NUMBERS_59

HEIGHT, WIDTH = 16, 24
Box = tuple[int, int, int, int]  # top, bottom, left, right


def boxes(*filled: tuple[Box, int], background: int = 0) -> np.ndarray:
    """A map of rectangles with their values; later ones cover earlier ones."""
    drawn = np.full((HEIGHT, WIDTH), background, dtype=np.int32)
    for (top, bottom, left, right), value in filled:
        drawn[top:bottom, left:right] = value
    return drawn


def photo(path: Path, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (90, 120, 150)).save(path)


def index_mask(path: Path, values: np.ndarray, palette: bool = False) -> None:
    """8-bit PNG, optionally with a palette, or 16-bit TIFF or PNG for values above 255."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wide = path.suffix == ".tif" or values.max() > 255
    image = Image.fromarray(values.astype(np.uint16 if wide else np.uint8))
    if palette:
        image = image.convert("P")
        image.putpalette([channel for i in range(256) for channel in (i, 255 - i, i // 2)])
        image.putdata(values.ravel().tolist())
    image.save(path)


def prepared(root: Path, folder: str, photos: str, masks: str, stems: Sequence[str], values: np.ndarray) -> Path:
    """Photos and the same index mask for each; `masks` is a pattern of paths in `folder`."""
    for stem in stems:
        photo(root / folder / photos / f"{stem}.jpg")
        index_mask(root / folder / masks.format(stem), values)
    return root


def id_png(path: Path, ids: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    ids = ids.astype(np.int32)
    Image.fromarray(np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)).save(path)


def write_json(path: Path, document: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))


def edit_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads(path.read_text())
    change(document)
    write_json(path, document)


def panoptic(
    annotations: Path,
    pngs: Path,
    categories: Sequence[tuple[int, str, int]],
    photos: Mapping[str, tuple[Any, str, np.ndarray, Mapping[int, tuple[int, int]]]],
) -> None:
    """Writes JSON and PNGs; `photos`: PNG name -> (image id, photo name, ids, {id: (category, crowd)})."""
    images, records = [], []
    for png, (image_id, file_name, ids, segments) in photos.items():
        id_png(pngs / png, ids)
        images.append({"id": image_id, "file_name": file_name, "width": ids.shape[1], "height": ids.shape[0]})
        infos = [
            {"id": i, "category_id": kind, "iscrowd": int(crowd), "area": int((ids == i).sum()), "bbox": [0, 0, 1, 1]}
            for i, (kind, crowd) in segments.items()
        ]
        records.append({"image_id": image_id, "file_name": png, "segments_info": infos})
    listed = [{"id": i, "name": name, "isthing": thing} for i, name, thing in categories]
    write_json(annotations, {"images": images, "annotations": records, "categories": listed})


SCENE = boxes(((0, 8, 0, 24), 70_000), ((8, 16, 0, 12), 2), ((10, 14, 14, 18), 3))  # sky, person, a group of persons


def coco(root: Path) -> Path:
    """val2017, panoptic JSON and PNGs, and instances in all three mask forms."""
    for number in (139, 285):
        photo(root / "val2017" / f"{number:012}.jpg")
    categories = [(1, "person", 1), (44, "bottle", 1), (187, "sky-other-merged", 0)]
    second = boxes(((0, 16, 0, 24), 1))
    panoptic(
        root / "annotations" / "panoptic_val2017.json",
        root / "panoptic_val2017",
        categories,
        {
            "000000000139.png": (139, "000000000139.jpg", SCENE, {70_000: (187, 0), 2: (1, 0), 3: (1, 1)}),
            "000000000285.png": (285, "000000000285.jpg", second, {1: (44, 0)}),
        },
    )
    whole = rle.encode(np.asfortranarray(second == 1, dtype=np.uint8))
    group = np.flatnonzero(np.diff((SCENE == 3).ravel(order="F").astype(int))) + 1
    counts = np.diff([0, *group.tolist(), HEIGHT * WIDTH]).tolist()
    size = [HEIGHT, WIDTH]
    drawn: list[tuple[int, int, int, int, float, Any]] = [
        (5, 139, 1, 0, 120.5, [[0, 8, 16, 8, 16, 16, 0, 16]]),  # extends below the group, as COCO's instances may
        (6, 139, 1, 1, 16, {"size": size, "counts": counts}),
        (7, 285, 44, 0, 384, {"size": size, "counts": whole["counts"].decode()}),
    ]
    keys = ("id", "image_id", "category_id", "iscrowd", "area", "segmentation")
    instances = [dict(zip(keys, values, strict=True)) for values in drawn]
    images = [{"id": i, "file_name": f"{i:012}.jpg", "width": WIDTH, "height": HEIGHT} for i in (139, 285)]
    listed = [{"id": i, "name": name} for i, name, thing in categories if thing]
    write_json(
        root / "annotations" / "instances_val2017.json",
        {"images": images, "annotations": instances, "categories": listed},
    )
    return root


ADE_STEMS = ("ADE_val_00000001", "ADE_val_00000002")
# Classes are SceneParsing's, from 1: 3 sky, 13 person, 1 wall; instance class 4 is the fourth thing, person.
ADE_CLASSES = boxes(((0, 10, 0, 24), 3), ((4, 12, 2, 8), 13), ((12, 14, 0, 4), 1), ((4, 12, 10, 16), 13))


def ade20k_release(root: Path) -> Path:
    """The SceneParsing and the instance release, without built files."""
    root = root / "ADEChallengeData2016"
    for stem in ADE_STEMS:
        photo(root / "images" / "validation" / f"{stem}.jpg")
    index_mask(root / "annotations" / "validation" / f"{ADE_STEMS[0]}.png", ADE_CLASSES)
    index_mask(root / "annotations" / "validation" / f"{ADE_STEMS[1]}.png", boxes(background=1))
    # The second person's instance mask covers the wall completely.
    kinds = boxes(((4, 12, 2, 8), 4), ((12, 14, 0, 6), 4))
    numbers = boxes(((4, 12, 2, 8), 1), ((12, 14, 0, 6), 2))
    for stem, channels in zip(ADE_STEMS, ((kinds, numbers), (kinds * 0, numbers * 0)), strict=True):
        path = root / "annotations_instance" / "validation" / f"{stem}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.stack([*channels, kinds * 0], axis=-1).astype(np.uint8)).save(path)
    (root / "objectInfo150.txt").write_text("Idx\tRatio\tTrain\tVal\tName\n")
    (root / "sceneCategories.txt").write_text("ADE_val_00000001 street\n")
    return root.parent


def ade20k(root: Path) -> Path:
    """With the panoptic files written by Mask2Former's script."""
    ade20k_release(root)
    folder = root / "ADEChallengeData2016"
    ids = boxes(((0, 10, 0, 24), 10), ((4, 12, 2, 8), 11), ((12, 14, 0, 6), 12))
    panoptic(
        folder / "ade20k_panoptic_val.json",
        folder / "ade20k_panoptic_val",
        [(0, "wall", 0), (2, "sky", 0), (12, "person", 1)],
        {
            f"{ADE_STEMS[0]}.png": (ADE_STEMS[0], f"{ADE_STEMS[0]}.jpg", ids, {10: (2, 0), 11: (12, 0), 12: (12, 0)}),
            f"{ADE_STEMS[1]}.png": (ADE_STEMS[1], f"{ADE_STEMS[1]}.jpg", boxes(background=7), {7: (0, 0)}),
        },
    )
    return root


def ade20k_full_release(root: Path) -> Path:
    """The full release: one small photo, one of 600 x 1040 pixels; sky is object 2420, person 1831."""
    scene = root / "ADE20K_2021_17_01" / "images" / "ADE" / "validation" / "urban" / "street"
    for stem, scale in (("ADE_val_00000001", 1), ("ADE_val_00000002", 65)):
        objects = boxes(((0, 8, 0, 24), 2420), ((8, 12, 0, 12), 1831), ((12, 16, 0, 24), 4))
        objects = objects.repeat(scale, axis=0).repeat(25 if scale > 1 else 1, axis=1)
        photo(scene / f"{stem}.jpg", objects.shape[::-1])
        coded = np.stack([objects // 256 * 10, objects % 256, objects * 0], axis=-1).astype(np.uint8)
        Image.fromarray(coded).save(scene / f"{stem}_seg.png")
        write_json(scene / f"{stem}.json", {"annotation": {}})
        Image.fromarray(coded).save(scene / f"{stem}_parts_1.png")
    (root / "ADE20K_2021_17_01" / "index_ade20k.pkl").write_bytes(b"a pickle that nobody opens")
    return root


def ade20k_full(root: Path) -> Path:
    """As prepared by FC-CLIP's script: class 2 sky, 11 person."""
    values = boxes(((0, 8, 0, 24), 2), ((8, 12, 0, 12), 846), background=65535)
    masks = "annotations_detectron2/validation/{}.tif"
    return prepared(root, "ADE20K_2021_17_01", "images_detectron2/validation", masks, ADE_STEMS, values)


VOC_STEMS = ("2007_000033", "2007_000042")
VOC_VALUES = boxes(((0, 8, 0, 8), 1), ((8, 16, 12, 24), 20), ((7, 8, 0, 8), 255))
VOC_PREPARED = boxes(((0, 8, 0, 8), 0), ((8, 16, 12, 24), 19), background=255)


def pascal_voc(root: Path) -> Path:
    """The official download; one additional photo has no mask."""
    folder = root / "VOCdevkit" / "VOC2012"
    photo(folder / "JPEGImages" / "2012_004331.jpg")
    for stem in VOC_STEMS:
        photo(folder / "JPEGImages" / f"{stem}.jpg")
        index_mask(folder / "SegmentationClass" / f"{stem}.png", VOC_VALUES, palette=True)
    names = folder / "ImageSets" / "Segmentation" / "val.txt"
    names.parent.mkdir(parents=True)
    names.write_text("\n".join(VOC_STEMS) + "\n")
    return root


def pascal_voc_d2(root: Path) -> Path:
    """FC-CLIP's prepared layout: classes from 0."""
    masks = "annotations_pascal20/validation/{}.png"
    return prepared(root, "pascal_voc_d2", "images/validation", masks, VOC_STEMS, VOC_PREPARED)


def pascal_voc_detectron2(root: Path) -> Path:
    """The prepared layout of SAN and CAT-Seg with the official photos."""
    folder, masks = "VOCdevkit/VOC2012", "annotations_detectron2/val/{}.png"
    photo(root / folder / "JPEGImages" / "2012_004331.jpg")
    return prepared(root, folder, "JPEGImages", masks, VOC_STEMS, VOC_PREPARED)


CONTEXT_STEMS = ("2008_000002", "2008_000003")
# Numbers of the 459: 2 aeroplane and 458 wood are among the 59, 1 accordion is not.
LABEL_MAP = boxes(((0, 8, 0, 24), 2), ((8, 16, 0, 12), 458), ((8, 16, 12, 20), 1))


def pascal_context_release(root: Path) -> Path:
    """VOC 2010 and the .mat files of the Context download."""
    folder = root / "VOCdevkit" / "VOC2010"
    for stem in CONTEXT_STEMS:
        photo(folder / "JPEGImages" / f"{stem}.jpg")
        (folder / "trainval").mkdir(exist_ok=True)
        savemat(folder / "trainval" / f"{stem}.mat", {"LabelMap": LABEL_MAP.astype(np.uint16)})
    names = folder / "ImageSets" / "Main" / "val.txt"
    names.parent.mkdir(parents=True)
    names.write_text("\n".join(CONTEXT_STEMS) + "\n")
    return root


def pascal_context_59(root: Path) -> Path:
    """FC-CLIP's prepared layout of the 59 classes."""
    values = boxes(((0, 8, 0, 24), 0), ((8, 16, 0, 12), 58), background=255)
    masks = "annotations_ctx59/validation/{}.png"
    return prepared(root, "pascal_ctx_d2", "images/validation", masks, CONTEXT_STEMS, values)


def pascal_context_459(root: Path) -> Path:
    """FC-CLIP's prepared layout of the 459 classes."""
    values = boxes(((0, 8, 0, 24), 1), ((8, 16, 0, 12), 457), ((8, 16, 12, 20), 0), background=65535)
    masks = "annotations_ctx459/validation/{}.tif"
    return prepared(root, "pascal_ctx_d2", "images/validation", masks, CONTEXT_STEMS, values)


def pascal_context_detectron2(root: Path) -> Path:
    """The prepared layout of SAN and CAT-Seg with the photos of VOC 2010."""
    values = boxes(((0, 8, 0, 24), 0), ((8, 16, 0, 12), NUMBERS_59.index(458)), background=255)
    folder, masks = "VOCdevkit/VOC2010", "annotations_detectron2/pc59_val/{}.png"
    photo(root / folder / "JPEGImages" / "2008_000004.jpg")
    return prepared(root, folder, "JPEGImages", masks, CONTEXT_STEMS, values)


CITY_STEMS = ("frankfurt_000000_000294", "munster_000001_000019")
# 23 sky, 24001 and 24002 persons, 26 a group of cars, 3 outside the region of interest.
CITY_IDS = boxes(
    ((0, 8, 0, 24), 23), ((8, 16, 0, 4), 24001), ((8, 16, 4, 8), 24002), ((8, 12, 10, 20), 26), ((14, 16, 10, 24), 3)
)


def cityscapes_release(root: Path) -> Path:
    """leftImg8bit and gtFine as unpacked."""
    for stem in CITY_STEMS:
        city = stem.split("_")[0]
        photo(root / "leftImg8bit" / "val" / city / f"{stem}_leftImg8bit.png")
        index_mask(root / "gtFine" / "val" / city / f"{stem}_gtFine_instanceIds.png", CITY_IDS)
        index_mask(root / "gtFine" / "val" / city / f"{stem}_gtFine_labelIds.png", CITY_IDS.clip(0, 33))
    return root


def cityscapes(root: Path) -> Path:
    """With the panoptic files written by createPanopticImgs.py."""
    cityscapes_release(root)
    ids = np.where(CITY_IDS == 3, 0, CITY_IDS)
    segments = {23: (23, 0), 24001: (24, 0), 24002: (24, 0), 26: (26, 1)}
    panoptic(
        root / "gtFine" / "cityscapes_panoptic_val.json",
        root / "gtFine" / "cityscapes_panoptic_val",
        [(23, "sky", 0), (24, "person", 1), (26, "car", 1)],
        {f"{stem}_gtFine_panoptic.png": (stem, f"{stem}_gtFine_leftImg8bit.png", ids, segments) for stem in CITY_STEMS},
    )
    return root


VISTAS_STEMS = ("_1Gn_xkw7sa_i9GU4mkxxQ", "0035fkbjWljhaftpVM37-g")


def _vistas(root: Path, folder: str, file_name: str, categories: Sequence[tuple[int, str, int]]) -> Path:
    top = root / "mapillary_vistas" / "validation"
    sky, bird = (number for number, _, _ in categories)
    ids = boxes(((0, 8, 0, 24), 5), ((8, 16, 0, 12), 6))
    for stem in VISTAS_STEMS:
        photo(top / "images" / f"{stem}.jpg")
    photos = {f"{s}.png": (s, f"{s}.jpg", ids, {5: (sky, 0), 6: (bird, 0)}) for s in VISTAS_STEMS}
    panoptic(top / folder / file_name, top / folder, categories, photos)
    return root


def mapillary(root: Path) -> Path:
    """The folders of release 1.x; category 66 is listed but never used."""
    _vistas(root, "panoptic", "panoptic_2018.json", [(28, "Sky", 0), (1, "Bird", 1)])
    path = root / "mapillary_vistas" / "validation" / "panoptic" / "panoptic_2018.json"
    edit_json(path, lambda d: d["categories"].append({"id": 66, "name": "Unlabeled", "isthing": 0}))
    return root


def mapillary_in_2(root: Path) -> Path:
    """The labels of release 1.2 in the download of 2.0."""
    return _vistas(root, "v1.2/panoptic", "panoptic_2018.json", [(28, "Sky", 0), (1, "Bird", 1)])


def mapillary_2(root: Path) -> Path:
    """The labels of release 2.0."""
    _vistas(root, "v2.0/panoptic", "panoptic_2020.json", [(62, "nature--sky", 0), (1, "animal--bird", 1)])
    labels = [{"name": "nature--sky", "readable": "Sky"}, {"name": "animal--bird", "readable": "Bird"}]
    write_json(root / "mapillary_vistas" / "config_v2.0.json", {"labels": labels})
    return root


def own_panoptic(root: Path) -> Path:
    """A COCO panoptic folder with custom categories."""
    for stem in "ab":
        photo(root / "images" / f"{stem}.jpg")
    photos = {f"{s}.png": (i, f"{s}.jpg", SCENE, {70_000: (9, 0), 2: (4, 0), 3: (4, 1)}) for i, s in enumerate("ab", 1)}
    panoptic(root / "panoptic.json", root / "panoptic", [(4, "robot, android", 1), (9, "sky", 0)], photos)
    return root


def own_instances(root: Path) -> Path:
    """Photos with polygons and run lengths, with custom categories whose ids mean other classes in COCO."""
    for stem in "ab":
        photo(root / "images" / f"{stem}.jpg")
    whole = rle.encode(np.asfortranarray(boxes(((0, 16, 0, 24), 1)), dtype=np.uint8))["counts"].decode()
    forklift = {"size": [HEIGHT, WIDTH], "counts": whole}
    drawn: list[tuple[int, int, int, Any]] = [
        (1, 1, 1, [[0, 8, 12, 8, 12, 16, 0, 16]]), (2, 1, 2, [[16, 0, 24, 0, 24, 8, 16, 8]]), (3, 2, 2, forklift),
    ]  # fmt: skip
    keys = ("id", "image_id", "category_id", "segmentation")
    images = [{"id": i, "file_name": f"{s}.jpg", "width": WIDTH, "height": HEIGHT} for i, s in enumerate("ab", 1)]
    categories = [{"id": 1, "name": "pallet, skid"}, {"id": 2, "name": "forklift"}]
    annotations = [dict(zip(keys, values, strict=True)) for values in drawn]
    write_json(root / "instances.json", {"images": images, "annotations": annotations, "categories": categories})
    return root


def own_masks(root: Path) -> Path:
    """Photos, masks and one class per line."""
    for stem, suffix in (("a", ".jpg"), ("b", ".png")):
        photo(root / "images" / f"{stem}{suffix}")
        index_mask(root / "masks" / f"{stem}.png", boxes(((0, 8, 0, 24), 1), ((8, 16, 0, 12), 255)))
    (root / "classes.txt").write_text("robot, android: stuff\nsky: stuff\n")
    return root
