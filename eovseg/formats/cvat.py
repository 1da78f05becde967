"""CVAT for images 1.1: one XML document with one mask per segment, which preserves holes and separate parts."""

from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from eovseg.formats.photo import PhotoFile, crop, printable, runs

if TYPE_CHECKING:
    from eovseg.segmented import SegmentedPhoto
    from eovseg.vocabulary import Vocabulary


def document(result: "SegmentedPhoto", photo: PhotoFile, path: Path) -> bytes:
    """The document of one photo."""
    start, end = frame(result.vocabulary, 1)
    return start + ElementTree.tostring(_image(result, photo), encoding="utf-8") + end


def frame(vocabulary: "Vocabulary", photos: int) -> tuple[bytes, bytes]:
    """The text before and after the `image` elements; `photos` is the number of photos."""
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    ElementTree.SubElement(task, "size").text = str(photos)
    ElementTree.SubElement(task, "mode").text = "annotation"
    labels = ElementTree.SubElement(task, "labels")
    for entry in vocabulary.classes:
        label = ElementTree.SubElement(labels, "label")
        ElementTree.SubElement(label, "name").text = printable(entry.label)
        ElementTree.SubElement(label, "type").text = "mask"
        ElementTree.SubElement(label, "attributes")
    end = b"</annotations>"
    whole = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return whole.removesuffix(end) + b"\n", b"\n" + end + b"\n"


def _image(result: "SegmentedPhoto", photo: PhotoFile) -> ElementTree.Element:
    height, width = result.segment_map.shape
    size = {"width": str(width), "height": str(height)}
    image = ElementTree.Element("image", {"id": "0", "name": printable(photo.name), **size})
    for index, segment in enumerate(result.segments):
        mask, left, top = crop(result, index)
        if mask.size:
            place = {"left": left, "top": top, "width": mask.shape[1], "height": mask.shape[0]}
            values = {"label": printable(segment.label), "source": "auto", "occluded": "0", "z_order": "0"}
            lengths = ", ".join(map(str, runs(mask)))
            ElementTree.SubElement(
                image, "mask", {**values, "rle": lengths, **{key: str(value) for key, value in place.items()}}
            )
    return image
