"""Each format is read back by a small reader for its tool; test_own_readers.py runs the large ones."""

import json
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from cvat_sdk.masks import decode_mask
from PIL import Image
from pycocotools.coco import COCO

from eovseg.errors import EovsegError
from eovseg.formats import FORMATS
from eovseg.formats.label_studio import labelling_config
from eovseg.formats.photo import printable
from eovseg.result import Result
from eovseg.vocabulary import Vocabulary, WordClass
from tests.formats.shapes import NASTY, VOCABULARY, iou, noise, result_of, with_its_rest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # from supervision, about OpenCV not being installed
    import supervision

RESULTS = {name: with_its_rest(mask) for name, mask in NASTY.items()}
RESULTS["noise"] = with_its_rest(noise(3))
RESULTS["overlapping"] = result_of(
    [NASTY["ring"], NASTY["everything"].repeat(2, 0)[:, [0, 1, 2, 3, 3]]], overlapping=True
)
RESULTS["real masks"] = None  # computed by `real_result`


@pytest.fixture(scope="module")
def real_result() -> Result:
    """The result of the shipped network for a shipped photo."""
    from eovseg.assets import asset_path
    from eovseg.loading import load

    words = "oven; cabinet; wall: stuff; floor: stuff; window; sink; chair"
    return replace(load("xs")(asset_path("photos/kitchen.jpg"), words), name="photo.jpg")


@pytest.fixture(params=RESULTS)
def result(request: pytest.FixtureRequest) -> Result:
    return RESULTS[request.param] or request.getfixturevalue("real_result")


def written(result: Result, folder: Path, kind: str) -> Path:
    """The file of a format, with the photo beside the folder of labels, as YOLO requires."""
    path = result.write(folder, "photo", [kind])[-1]
    (folder / "images").mkdir(exist_ok=True)
    Image.fromarray(result.image).save(folder / "images" / "photo.jpg")
    return path


def masks_by_class(result: Result, class_ids: list[int], masks: list[np.ndarray]) -> None:
    """Compares the masks that were read with the result; a segment may have become several of its class."""
    for class_id in {segment.class_id for segment in result.segments}:
        own = [result.mask(i) for i, segment in enumerate(result.segments) if segment.class_id == class_id]
        back = [mask for mask, number in zip(masks, class_ids, strict=True) if number == class_id]
        assert iou(np.any(own, axis=0), np.any(back, axis=0)) == 1.0


def test_yolo_by_supervision(result: Result, tmp_path: Path) -> None:
    path = written(result, tmp_path, "yolo")
    read = supervision.DetectionDataset.from_yolo(
        str(tmp_path / "images"), str(path.parent), str(tmp_path / "yolo" / "data.yaml"), force_masks=True
    )
    assert read.classes == [entry.label for entry in result.vocabulary.classes]
    ((_, _, found),) = list(read)
    masks_by_class(result, found.class_id.tolist(), list(found.mask))
    values = np.array([float(v) for line in path.read_text().splitlines() for v in line.split()[1:]])
    assert values.min() >= 0 and values.max() <= 1, "YOLO only accepts coordinates relative to the photo"


def test_yolo_with_truncated_coordinates(tmp_path: Path) -> None:
    # Ultralytics truncates coordinates for training, whereas supervision rounds them.
    ring = result_of([NASTY["ring"]])
    (line,) = written(ring, tmp_path, "yolo").read_text().splitlines()
    points = (np.array(line.split()[1:], dtype=np.float32).reshape(-1, 2) * np.float32([5, 4])).astype(np.int32)
    np.testing.assert_array_equal(supervision.polygon_to_mask(points, (5, 4)).astype(bool), NASTY["ring"])


def test_coco_instances_by_pycocotools(result: Result, tmp_path: Path) -> None:
    coco = COCO(str(written(result, tmp_path, "coco-instances")))
    annotations = coco.loadAnns(coco.getAnnIds())
    assert len(annotations) == len(result.segments)
    assert [coco.cats[a["category_id"]]["name"] for a in annotations] == [s.label for s in result.segments]
    assert min(coco.cats) == 1
    for index, annotation in enumerate(annotations):
        np.testing.assert_array_equal(coco.annToMask(annotation), result.mask(index))
        assert annotation["area"] == result.segments[index].area
        if isinstance(annotation["segmentation"], dict):
            assert annotation["segmentation"]["size"] == list(result.segment_map.shape)


def test_only_holes_need_run_lengths(tmp_path: Path) -> None:
    both = result_of([NASTY["thin ring"], ~NASTY["thin ring"]])
    ring, middle = COCO(str(written(both, tmp_path, "coco-instances"))).loadAnns([1, 2])
    assert isinstance(ring["segmentation"], dict) and sorted(middle["segmentation"][0]) == [1, 1, 1, 1, 2, 2, 2, 2]


def test_coco_panoptic_by_its_own_rule(result: Result, tmp_path: Path) -> None:
    # panopticapi is not on PyPI. Its rule: id = R + 256 G + 65536 B, and segments_info lists each id once.
    document = json.loads(written(result, tmp_path, "coco-panoptic").read_text(encoding="utf-8"))
    (annotation,) = document["annotations"]
    ids = np.asarray(Image.open(tmp_path / annotation["file_name"])).astype(int) @ [1, 256, 65_536]
    np.testing.assert_array_equal(ids, result.segment_map)
    infos = {info["id"]: info for info in annotation["segments_info"]}
    assert len(infos) == len(annotation["segments_info"]) and infos.keys() == set(np.unique(ids).tolist()) - {0}
    names = {category["id"]: category["name"] for category in document["categories"]}
    for segment in result.segments:
        if info := infos.get(segment.id):
            ys, xs = np.nonzero(ids == segment.id)
            assert info["bbox"] == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1] and info["area"] == len(xs)
            assert names[info["category_id"]] == segment.label


def test_labelme_by_supervision(result: Result, tmp_path: Path) -> None:
    path = written(result, tmp_path, "labelme")
    read = supervision.DetectionDataset.from_labelme(str(tmp_path / "images"), str(path.parent), force_masks=True)
    ((_, _, found),) = list(read)
    assert len(found) == len(result.segments), "the parts of a segment are one group"
    for index, segment in enumerate(result.segments):
        assert read.classes[found.class_id[index]] == segment.label
        np.testing.assert_array_equal(found.mask[index], result.mask(index))


def test_labelme_has_the_fields_that_its_program_reads(tmp_path: Path) -> None:
    document = json.loads(written(RESULTS["ring"], tmp_path, "labelme").read_text(encoding="utf-8"))
    assert document.keys() == {"version", "flags", "shapes", "imagePath", "imageData", "imageHeight", "imageWidth"}
    assert (document["imagePath"], document["imageData"], document["imageHeight"]) == ("photo.jpg", None, 4)
    kinds = {"label": str, "points": list, "group_id": int | None, "shape_type": str, "flags": dict, "description": str}
    for shape in document["shapes"]:
        assert all(isinstance(shape[key], kind) for key, kind in kinds.items())


def brush_pixels(rle: list[int]) -> np.ndarray:
    """Decodes Label Studio's brush run lengths according to its documentation (see eovseg.formats.label_studio)."""
    bits, at = "".join(f"{byte:08b}" for byte in rle), 0

    def take(count: int) -> int:
        nonlocal at
        at += count
        return int(bits[at - count : at], 2)

    number, word = take(32), take(5) + 1
    sizes = [take(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < number:
        same = take(1)
        length = take(sizes[take(2)]) + 1
        values += [take(word)] * length if same else [take(word) for _ in range(length)]
    return np.array(values)


def test_label_studio_as_documented(result: Result, tmp_path: Path) -> None:
    # test_own_readers.py uses the decoder of label-studio-sdk.
    (task,) = json.loads(written(result, tmp_path, "label-studio").read_text(encoding="utf-8"))
    assert task["data"]["image"] == f"/data/local-files/?d={result.name}"
    (prediction,) = task["predictions"]
    height, width = result.segment_map.shape
    for index, region in enumerate(prediction["result"]):
        assert (region["type"], region["original_width"], region["original_height"]) == ("brushlabels", width, height)
        assert region["value"]["brushlabels"] == [result.segments[index].label]
        pixels = brush_pixels(region["value"]["rle"]).reshape(height, width, 4)
        np.testing.assert_array_equal(pixels[..., 3] > 0, result.mask(index))
    assert len(prediction["result"]) == len(result.segments)


def test_cvat_by_its_sdk(result: Result, tmp_path: Path) -> None:
    root = ElementTree.parse(written(result, tmp_path, "cvat")).getroot()
    assert root.findtext("version") == "1.1" and root.findtext("meta/task/mode") == "annotation"
    labels = [label.findtext("name") for label in root.iterfind("meta/task/labels/label")]
    assert labels == [entry.label for entry in result.vocabulary.classes]
    (image,) = root.iterfind("image")
    size = {"image_width": int(image.get("width", 0)), "image_height": int(image.get("height", 0))}
    assert (image.get("name"), image.get("id")) == (result.name, "0")
    masks = list(image)
    assert [mask.get("label") for mask in masks] == [segment.label for segment in result.segments]
    for index, mask in enumerate(masks):
        left, top, wide, high = (int(mask.get(key, 0)) for key in ("left", "top", "width", "height"))
        points = [*map(int, mask.get("rle", "").split(", ")), left, top, left + wide - 1, top + high - 1]
        np.testing.assert_array_equal(decode_mask(points, **size), result.mask(index))


def test_to_supervision(result: Result) -> None:
    found = result.to_supervision()
    np.testing.assert_array_equal(found.mask, result.masks())
    assert found.mask.shape == (len(result.segments), *result.segment_map.shape)
    assert found["class_name"].tolist() == [segment.label for segment in result.segments]
    assert found["segment_name"].tolist() == result.names
    assert found.xyxy.tolist() == [list(segment.box) for segment in result.segments]
    assert found.confidence.tolist() == pytest.approx([segment.score for segment in result.segments])
    assert len(found[found.class_id == 0]) == sum(segment.class_id == 0 for segment in result.segments)


def test_an_empty_result(tmp_path: Path) -> None:
    empty = Result(np.zeros((2, 3, 3), np.uint8), np.zeros((2, 3), np.int32), (), VOCABULARY, name="photo.jpg")
    empty.save(tmp_path, formats=FORMATS)
    nothing = empty.to_supervision()
    assert empty.masks().shape == (0, 2, 3) and len(nothing[nothing["is_thing"]]) == 0
    assert (tmp_path / "yolo/labels/photo.txt").read_bytes() == b""
    assert COCO(str(tmp_path / "photo-coco-instances.json")).getAnnIds() == []


def test_missing_supervision_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(EovsegError, match=r"needs the package supervision: pip install supervision$"):
        RESULTS["ring"].to_supervision()


def test_a_format_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(EovsegError, match=r'^There is no format "voc"; choose from yolo, .*outlines\.$'):
        RESULTS["ring"].save(tmp_path, formats=["voc"])
    assert not any(tmp_path.iterdir())


def test_labels_of_other_classes_are_kept(tmp_path: Path) -> None:
    RESULTS["ring"].save(tmp_path, "a", ["yolo"])
    (tmp_path / "yolo/data.yaml").write_text("names: {0: mine}\n")
    with pytest.raises(EovsegError, match=r"contains labels of other classes"):
        RESULTS["ring"].save(tmp_path, "b", ["yolo"])
    assert (tmp_path / "yolo/data.yaml").read_text() == "names: {0: mine}\n"


def test_odd_names_and_words_reach_xml_and_json(tmp_path: Path) -> None:
    odd = result_of([NASTY["ring"]], name="a<b>&\x07\udcff.jpg")
    odd.save(tmp_path, "photo", FORMATS)
    image = ElementTree.parse(tmp_path / "photo-cvat.xml").find("image")
    assert image is not None and image.get("name") == "a<b>&??.jpg"
    assert json.loads((tmp_path / "photo-coco-instances.json").read_bytes())["images"][0]["file_name"].endswith("?.jpg")


@pytest.mark.parametrize("char", ["\ufffe", "\uffff", "\x07", "\x80", "\ud800"], ids=ascii)
def test_characters_invalid_in_xml_and_yaml_are_replaced(char: str) -> None:
    assert printable(f"<é\t{char}😀>") == "<é\t?😀>"


def test_words_with_characters_invalid_in_xml_and_yaml(tmp_path: Path) -> None:
    words = Vocabulary((WordClass(("cat\uffff <&>",), True), WordClass(("sky\ufffe",), False), WordClass(("x",), True)))
    odd = result_of([NASTY["ring"]])
    odd = replace(odd, vocabulary=words, segments=(replace(odd.segments[0], label=words.labels[0]),))
    odd.save(tmp_path, "photo", FORMATS)
    labels = [label.get("value") for label in ElementTree.fromstring(labelling_config(words)).iter("Label")]
    assert labels == ["cat? <&>", "sky?", "x"]
    (task,) = json.loads((tmp_path / "photo-label-studio.json").read_bytes())
    assert task["predictions"][0]["result"][0]["value"]["brushlabels"] == labels[:1], "as in the interface"
    image = ElementTree.parse(tmp_path / "photo-cvat.xml").find("image")
    assert image is not None and [mask.get("label") for mask in image] == labels[:1]
    assert yaml.safe_load((tmp_path / "yolo/data.yaml").read_text(encoding="utf-8"))["names"] == dict(enumerate(labels))


@pytest.mark.parametrize("name", ["a b/c #1?.jpg", "50%+1 & 2.png", "façade.jpg", "no\udcffutf8.jpg"])
def test_label_studio_reads_the_url_of_any_photo(name: str, tmp_path: Path) -> None:
    result_of([NASTY["ring"]], name=name).save(tmp_path, "photo", ["label-studio"])
    (task,) = json.loads((tmp_path / "photo-label-studio.json").read_bytes())
    address = urlsplit(task["data"]["image"])
    assert (address.path, address.fragment) == ("/data/local-files/", "")
    assert parse_qs(address.query) == {"d": [name.replace("\udcff", "?")]}
