"""`eovseg evaluate --html FOLDER`: a report that shows the errors, in one folder that any browser opens.

`index.html` asks nobody for anything. `data.js` holds the numbers, `photos/N.jpg` a photo at most `PHOTO_SIDE` pixels
long and `photos/N.js` the outlines of its true and predicted segments, read when the photo is opened. Scripts rather
than JSON, because a browser refuses a page without a server to read other files. All text that comes from the data set
or the words reaches the page as text (`textContent`); the folder names no path of the machine.
"""

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from eovseg.data.labelled_folder import LabelledFolder, Photo
from eovseg.errors import ConfigError, DataError
from eovseg.evaluation.evidence import Judged, PhotoEvidence
from eovseg.evaluation.report import Report
from eovseg.whole_files import write_whole

PHOTO_SIDE = 720
MAX_PHOTOS = 1000  # the worst ones; numbers count all
_HERE = Path(__file__).parent
_INDEX, _DATA, _PHOTOS = "index.html", "data.js", "photos"


def check_folder(folder: Path) -> None:
    """Raise `ConfigError` where a report cannot go: a file, or a folder with something else than a report in it."""
    if folder.is_file():
        raise ConfigError(f'"{folder}" is a file; give a folder for the HTML report.')
    others = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    if others and not (folder / _DATA).is_file():
        raise ConfigError(
            f'"{folder}" holds other files; give a new folder for the HTML report, or an earlier report\'s.'
        )


def write(report: Report, data: LabelledFolder, photos: Sequence[Photo], folder: Path) -> Path:
    """Write the report of an evaluation with "evidence" and return the path of its page.

    An earlier report in `folder` is replaced. Raises `ConfigError` as `check_folder`, and where nothing can be written.
    """
    assert report.evidence is not None, "the evaluation keeps evidence"
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
            write_whole(folder / _PHOTOS / f"{number}.js", script, one_of_many=True)
        write_whole(folder / _DATA, f"const REPORT = {_script_text(_report_value(report, shown))};\n")
        write_whole(folder / _INDEX, _page())
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(f'The HTML report cannot be written to "{folder}" ({reason}).') from error
    return folder / _INDEX


def _write_photo(data: LabelledFolder, photo: Photo, path: Path) -> None:
    try:
        picture = Image.fromarray(data.load_image(photo))
    except DataError:  # it was read before, and is gone: the report shows the outlines alone
        picture = Image.new("RGB", (photo.width, photo.height), (128, 128, 128))
    picture.thumbnail((PHOTO_SIDE, PHOTO_SIDE), Image.Resampling.BILINEAR, reducing_gap=2)
    picture.save(path, "JPEG", quality=82)


def _report_value(report: Report, shown: Sequence[PhotoEvidence]) -> dict[str, Any]:
    """What report.js draws; numbers in percent where `Report.summary` has them so, classes by their index."""
    summary = [
        {"name": name, "value": _known(value), "interval": report.intervals.get(name)}
        for name, value in report.summary().items()
    ]
    rows = {row["class"]: row for row in report.per_class()}
    reliability = report.reliability
    return {
        "title": f"{report.variant.upper()} on {report.data}",
        "photos": report.photos,
        "vocabulary": report.vocabulary,
        "labels": report.labels,
        "things": report.is_thing.tolist(),
        "settings": {name: str(value) for name, value in report.settings.items()},
        "weights": report.origin.weights if report.origin else None,
        "notes": report.notes,
        "summary": summary,
        "classes": [
            {name: _known(value) for name, value in rows[label].items() if name != "class"} | {"index": index}
            for index, label in enumerate(report.labels)
            if label in rows
        ],
        "reliability": reliability
        and {
            "confidence": [_known(value) for value in reliability.confidence.tolist()],
            "accuracy": [_known(value) for value in reliability.accuracy.tolist()],
            "count": reliability.count.tolist(),
            "error": _known(reliability.expected_calibration_error),
        },
        "confusion": _confusion(report),
        "shown": [_photo_value(evidence) for evidence in shown],
    }


def _confusion(report: Report) -> list[tuple[int, int, int]]:
    """Pixels of all photos by true and predicted class."""
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
        "quality": _known(evidence.quality),
        "predicted": [_segment_value(one) for one in evidence.predicted],
        "true": [_segment_value(one) for one in evidence.true],
        # A link to a confusion of a few pixels would show nothing.
        "confusion": [(true, predicted) for true, predicted, n in evidence.confusion if n >= 0.001 * pixels],
    }


def _segment_value(one: Judged) -> list[Any]:
    """Id, class, verdict, partner, IoU, score, share: short, as there are thousands."""
    score = None if one.score is None else round(one.score, 4)
    return [one.id, one.class_index, one.verdict, one.partner, round(one.iou, 3), score, round(one.share, 5)]


def _known(value: Any) -> Any:
    """A number for JSON; None for NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _script_text(value: Any) -> str:
    """JSON that is also a script, whatever its texts hold: in ASCII, without the start of a tag."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _page() -> str:
    """The page with its style sheet and script in it."""
    text = (_HERE / "report.html").read_text(encoding="utf-8")
    for name in ("report.css", "report.js"):
        text = text.replace(f"/* {name} */", (_HERE / name).read_text(encoding="utf-8"))
    return text
