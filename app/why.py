"""Why a segment has its class: the competing words, both classifiers' probabilities, and TDEE's routers."""

from typing import Any

from analysis.ensemble import class_votes
from app.session import Session, network_segment
from eovseg.colours import segment_colours
from eovseg.segmented import Segment

TOP = 5


def why_value(session: Session, segment_id: int) -> dict[str, Any]:
    """The explanation of the segment `segment_id` of the session's result; {} if there is no such segment.

    Probabilities, shares and router weights are in 0..1; `routers` has one entry per decoder layer. `model_label` is
    the word that the model chose, which differs from `label` after a rename. The segment becomes the session's chosen
    one.
    """
    value = _value(session, segment_id)
    session.chosen = segment_id if value else None
    return value


def _value(session: Session, segment_id: int) -> dict[str, Any]:
    result = session.shown
    index = next((i for i, segment in enumerate(result.segments) if segment.id == segment_id), None)
    if index is None:
        return {}
    segment = result.segments[index]
    value: dict[str, Any] = {
        "name": result.names[index],
        "colour": "#" + bytes(segment_colours(result.segments)[index]).hex(),
        "kind": "thing" if segment.is_thing else "stuff",
        "area": segment.area,
        "share": round(segment.area / result.segment_map.size, 5),
        "box": list(segment.box),
        "words": [],
        "parts": [],
        "routers": [],
        "segment": segment.id,
        "label": segment.label,
        "model_label": network_segment(session, index).label,
        "likely": list(segment.words),
        "revision": session.revision,
    }
    if result.background and index == len(result.segments) - 1:
        return value | {"other": True, "parts": _parts(result.background)}
    query = result.queries[index] if result.queries else -1
    if query < 0:
        return value
    return value | _votes(session, query, segment) | {"routers": _routers(session, query)}


def _votes(session: Session, query: int, segment: Segment) -> dict[str, Any]:
    """The best words of a segment's kernel, each with its two probabilities and their weight.

    `calibrated` is the score that the page shows for the segment, or None if it is not calibrated.
    """
    predictor, decoded = session.predictor, session.decoded
    rule = session.asked.settings.applied(predictor.config)
    weights: dict[str, Any] = {"alpha": rule.alpha, "beta": rule.beta, "ensemble": rule.ensemble}
    votes = class_votes(predictor, decoded, query, TOP, **weights)
    words = [
        {
            "word": vote.label,
            "seen": vote.seen,
            "weight": (rule.alpha if vote.seen else rule.beta) if vote.weighed else 0.0,
            "inside": round(vote.in_vocabulary, 4),
            "outside": round(vote.out_of_vocabulary, 4),
            "score": round(vote.score, 4),
        }
        for vote in votes
    ]
    void = predictor.log_probabilities(decoded, **weights)[query, -1].exp()
    return {
        "words": words,
        "ensemble": rule.ensemble,
        "void": round(float(void), 4),
        "weighed": votes[0].weighed,
        "calibrated": round(segment.score, 4) if rule.calibration and session.shown.task == "panoptic" else None,
    }


def _routers(session: Session, query: int) -> list[dict[str, float]]:
    """TDEE's mask and spatial weight in each layer, as means over channels; empty without TDEE or intermediates."""
    inside = session.decoded.intermediates
    if inside is None:
        return []
    return [
        {
            "mask": round(float(router.mask_weight[0, query].float().mean()), 4),
            "spatial": round(float(router.spatial_weight[0, query].float().mean()), 4),
        }
        for router in inside.routers
    ]


def _parts(background: tuple[Segment, ...]) -> list[dict[str, Any]]:
    """The background words that won pixels, as shares (0..1) of "other", largest first."""
    total = sum(segment.area for segment in background)
    areas: dict[str, int] = {}
    for segment in background:
        areas[segment.label] = areas.get(segment.label, 0) + segment.area
    largest = sorted(areas.items(), key=lambda item: -item[1])[: 2 * TOP]
    return [{"word": word, "share": round(area / max(total, 1), 4)} for word, area in largest]
