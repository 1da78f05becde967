"""`eovseg evaluate --html FOLDER`: a report of the errors as a folder that any browser can open without a server.

`index.html` makes no network requests. `data.js` contains the numbers, `photos/N.jpg` a photo of at most `PHOTO_SIDE`
pixels, and `photos/N.js` the outlines of its true and predicted segments, which are loaded when the photo is opened.
These are scripts, because browsers do not let local pages read JSON files. Text from the data set and the words is
inserted as text only (`textContent`), and the folder contains no paths of the machine.
"""

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from eovseg.atomic_files import write_atomically
from eovseg.data.labelled_folder import LabelledFolder, Photo
from eovseg.errors import ConfigError, DataError
from eovseg.evaluation.bootstrap import warning
from eovseg.evaluation.evidence import JudgedSegment, PhotoEvidence
from eovseg.evaluation.report import Report, plain_values

PHOTO_SIDE = 720
MAX_PHOTOS = 1000  # the worst ones are shown; numbers include all photos
_HERE = Path(__file__).parent
_INDEX, _DATA, _PHOTOS = "index.html", "data.js", "photos"


def check_folder(folder: Path) -> None:
    """Raises `ConfigError` if `folder` is a file or contains anything but a report."""
    if folder.is_file():
        raise ConfigError(f'"{folder}" is a file; give a folder for the HTML report.')
    others = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    if others and not (folder / _DATA).is_file():
        raise ConfigError(f'"{folder}" contains other files; give a new folder or that of an earlier HTML report.')


def write(report: Report, data: LabelledFolder, photos: Sequence[Photo], folder: Path) -> Path:
    """Writes the report of an evaluation with "evidence" and returns the path of its page.

    An earlier report in `folder` is replaced. Raises `ConfigError` like `check_folder`, or if writing fails.
    """
    assert report.evidence is not None, "the evaluation needs the extra 'evidence'"
    check_folder(folder)
    by_name = {photo.file_name: photo for photo in photos}
    worst = sorted(report.evidence, key=lambda one: (math.inf if math.isnan(one.quality) else one.quality, one.photo))
    shown = worst[:MAX_PHOTOS]
    try:
        shutil.rmtree(folder / _PHOTOS, ignore_errors=True)
        (folder / _PHOTOS).mkdir(parents=True)
        for number, evidence in enumerate(shown):
            _write_photo(data, by_name[evidence.photo], folder / _PHOTOS / f"{number}.jpg")
            outlines = {side: [one.path for one in getattr(evidence, side)] for side in ("predicted", "true")}
            script = f"eovsegOutlines({number}, {_script_text(outlines)});\n"
            write_atomically(folder / _PHOTOS / f"{number}.js", script, one_of_many=True)
        write_atomically(folder / _DATA, f"const REPORT = {_script_text(_report_value(report, shown))};\n")
        write_atomically(folder / _INDEX, _page())
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(f'The HTML report cannot be written to "{folder}" ({reason}).') from error
    return folder / _INDEX


def _write_photo(data: LabelledFolder, photo: Photo, path: Path) -> None:
    try:
        picture = Image.fromarray(data.load_image(photo))
    except DataError:  # deleted during the evaluation: the report shows only the outlines
        picture = Image.new("RGB", (photo.width, photo.height), (128, 128, 128))
    picture.thumbnail((PHOTO_SIDE, PHOTO_SIDE), Image.Resampling.BILINEAR, reducing_gap=2)
    picture.save(path, "JPEG", quality=82)


def _report_value(report: Report, shown: Sequence[PhotoEvidence]) -> dict[str, Any]:
    """The data for report.js: numbers in the units of `Report.summary`, classes by index."""
    summary = [
        {"name": name, "value": value, "interval": report.intervals.get(name)}
        for name, value in report.summary().items()
    ]
    rows = {row["class"]: row for row in report.per_class()}
    reliability = report.reliability
    return {
        "title": f"{report.variant.upper()} on {report.data}",
        "photos": report.photos,
        "vocabulary": report.vocabulary,
        "labels": report.labels,
        "things": report.is_thing,
        "settings": {name: str(value) for name, value in report.settings.items()},
        "weights": report.origin.weights if report.origin else None,
        "notes": report.notes,
        "warning": warning(report.photos),
        "summary": summary,
        "classes": [
            {name: value for name, value in rows[label].items() if name != "class"} | {"index": index}
            for index, label in enumerate(report.labels)
            if label in rows
        ],
        "reliability": reliability
        and {
            "confidence": reliability.confidence,
            "accuracy": reliability.accuracy,
            "count": reliability.count,
            "error": reliability.expected_calibration_error,
        },
        "confusion": _confusion(report),
        "shown": [_photo_value(evidence) for evidence in shown],
    }


def _confusion(report: Report) -> list[tuple[int, int, int]]:
    """Numbers of pixels of all photos by true and predicted class."""
    counts: dict[tuple[int, int], int] = {}
    for evidence in report.evidence or ():
        for true, predicted, pixels in evidence.confusion:
            counts[true, predicted] = counts.get((true, predicted), 0) + pixels
    return [(*pair, pixels) for pair, pixels in sorted(counts.items())]


def _photo_value(evidence: PhotoEvidence) -> dict[str, Any]:
    pixels = sum(pixels for _, _, pixels in evidence.confusion)
    return {
        "name": evidence.photo,
        "size": evidence.size,
        "quality": evidence.quality,
        "predicted": [_segment_value(one) for one in evidence.predicted],
        "true": [_segment_value(one) for one in evidence.true],
        # Links to confusions of only a few pixels would not be useful.
        "confusion": [(true, predicted) for true, predicted, n in evidence.confusion if n >= 0.001 * pixels],
    }


def _segment_value(one: JudgedSegment) -> list[Any]:
    """Id, class, verdict, partner, IoU, score, share, as a list because there are thousands."""
    score = None if one.score is None else round(one.score, 4)
    return [one.id, one.class_index, one.verdict, one.partner, round(one.iou, 3), score, round(one.share, 5)]


def _script_text(value: Any) -> str:
    """JSON that is safe inside a script: ASCII only, without the start of a tag."""
    return json.dumps(plain_values(value), allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _page() -> str:
    """The page, including its style sheet and script."""
    text = (_HERE / "report.html").read_text(encoding="utf-8")
    for name in ("report.css", "report.js"):
        text = text.replace(f"/* {name} */", (_HERE / name).read_text(encoding="utf-8"))
    return text
