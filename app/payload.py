"""A result as the browser and the endpoint receive it: pictures as data URLs, segments as plain values."""

import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from app.pictures import data_address
from app.session import Session
from eovseg.colours import id_to_rgb, segment_colours, text_colour
from eovseg.segmented import Segment
from eovseg.vocabulary import Vocabulary

_LISTED, _LONGEST = 8, 40  # words listed as not found, and characters of each
_PLACING_SIDE = 200  # labels are placed on a map of about this size


def stage_value(session: Session, whole: bool = True) -> dict[str, Any]:
    """The data for app/stage.js: the photo, an id for every pixel, and the segments for the legend and the table.

    Without `whole` the photo is left out, because the browser has it under `photo_key`. `ids` is a PNG that encodes
    the segment id as red + 256 green + 65,536 blue. Shares and scores are in 0..1; anchors are (x, y) as shares of
    width and height.
    """
    result = session.shown
    segments = result.segments
    pixels = result.segment_map.size
    anchors = label_anchors(result.segment_map, segments)
    entries: list[dict[str, Any]] = [
        {
            "id": segment.id,
            "name": name,
            "label": segment.label,
            "colour": "#" + bytes(colour).hex(),
            "ink": "#" + bytes(text_colour(colour)).hex(),
            "thing": segment.is_thing,
            "score": round(segment.score, 4),
            "in_vocabulary": round(segment.in_vocabulary, 4),
            "out_of_vocabulary": round(segment.out_of_vocabulary, 4),
            "share": round(segment.area / pixels, 5),
            "anchor": anchor,
            "other": bool(result.background) and segment is segments[-1],
        }
        for segment, name, colour, anchor in zip(
            segments, result.names, segment_colours(segments), anchors, strict=True
        )
    ]
    entries.sort(key=lambda entry: -entry["share"])
    names = ", ".join(entry["name"] for entry in entries[:12]) or "nothing"
    return {
        "token": uuid.uuid4().hex,
        "photo": data_address(result.image, "JPEG", quality=90) if whole else None,
        "photo_key": session.digest,
        "ids": data_address(id_to_rgb(result.segment_map), "PNG", compress_level=3),
        "segments": entries,
        "unfound": unfound(session),
        "description": f"Photo with {len(entries)} segments: {names}",
        "timing": timing(session),
        "undo": len(session.before),
    }


def unfound(session: Session) -> dict[str, Any]:
    """The first typed `words` without a segment, how many `more` there are, and which are `absent` by their verdict.

    The words of a class list are not among them, because there are too many. None are listed after a correction, which
    may rename or delete what was found; for instances, stuff is not listed.
    """
    result, request = session.shown, session.asked
    typed = request.words.classes
    if request.preset and request.background is None:
        typed = typed[len(Vocabulary.preset(request.preset)) :]
    found = {segment.label for segment in result.segments}
    missed = [
        entry.label
        for entry in typed
        if entry.label not in found and not result.corrections and (entry.is_thing or result.task != "instance")
    ]
    absent = {verdict.word for verdict in result.verdicts if not verdict.in_photo}
    listed = {word: word if len(word) <= _LONGEST else word[: _LONGEST - 1] + "…" for word in missed[:_LISTED]}
    return {
        "words": list(listed.values()),
        "more": len(missed) - len(listed),
        "absent": [short for word, short in listed.items() if word in absent],
    }


def answer(session: Session) -> dict[str, Any]:
    """The endpoint's answer: `Result.to_json`, the settings that were given, and the seconds of each step that ran."""
    return {**session.shown.to_json(), "settings": session.asked.settings.given(), "seconds": session.seconds}


def timing(session: Session) -> str:
    """One line that says which steps ran and for how long; steps that did not run again are marked as cached."""
    seconds = session.seconds
    count = len(session.asked.vocabulary)
    words = f"{count:,} class" + ("es" if count != 1 else "")
    parts = [
        f"photo {seconds['photo']:.2f} s" if "photo" in seconds else "photo cached",
        f"{words} {seconds['words']:.2f} s" if "words" in seconds else f"{words} cached",
        f"result {seconds['result']:.2f} s",
    ]
    return " · ".join(parts)


def label_anchors(segment_map: np.ndarray, segments: Sequence[Segment]) -> list[list[float]]:
    """For each segment, the point inside it that is farthest from its border, as shares [x, y] of width and height."""
    height, width = segment_map.shape
    step = max(1, max(height, width) // _PLACING_SIDE)
    coarse = segment_map[step // 2 :: step, step // 2 :: step]
    anchors = []
    for segment in segments:
        x0, y0, x1, y1 = segment.box
        box = (slice(y0 // step, y1 // step + 1), slice(x0 // step, x1 // step + 1))
        mask = np.pad(coarse[box] == segment.id, 1)
        if not mask.any():  # thinner than `step` pixels
            anchors.append([(x0 + x1) / 2 / width, (y0 + y1) / 2 / height])
            continue
        # Labels are wider than high, so an anchor needs more room to its sides than above and below.
        room = np.asarray(ndimage.distance_transform_edt(mask, sampling=(2.5, 1.0)))
        y, x = np.unravel_index(int(room.argmax()), room.shape)
        across = ((int(x) - 1 + x0 // step) * step + step // 2 + 0.5) / width
        down = ((int(y) - 1 + y0 // step) * step + step // 2 + 0.5) / height
        anchors.append([round(min(across, 1.0), 4), round(min(down, 1.0), 4)])
    return anchors
