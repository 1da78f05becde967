"""The values that the browser and the endpoint receive."""

import base64
import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.inputs import make_request
from app.payload import answer, label_anchors, stage_value
from app.session import Request, Session, run
from eovseg.segmented import Segment
from eovseg.vocabulary import Vocabulary
from tests.app.fake_predictor import FakePredictor, segment_of


def request_of(words: str) -> Request:
    return Request(Vocabulary.parse(words))


def decoded(address: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))).convert("RGB"))


@pytest.fixture
def session(predictor: FakePredictor, photo_file: Callable[..., str]) -> Session:
    return run(Session(), predictor, photo_file(90, 60), request_of("sky: stuff; <i>car</i>: thing"))


def test_the_ids_are_decoded_exactly(session: Session) -> None:
    value = stage_value(session)
    colours = decoded(value["ids"]).astype(np.int64)
    assert session.result is not None
    assert np.array_equal(colours @ [1, 256, 65_536], session.result.segment_map)
    assert decoded(value["photo"]).shape == (60, 90, 3)


def test_segments_have_unique_names_and_are_sorted_by_size(session: Session) -> None:
    entries = stage_value(session)["segments"]
    assert [entry["name"] for entry in entries] == ["sky", "<i>car</i> 1", "<i>car</i> 2"]
    shares = [entry["share"] for entry in entries]
    assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(1, abs=1e-3)
    assert len({entry["colour"] for entry in entries}) == 3


def test_words_without_a_segment_are_listed(predictor: FakePredictor, photo_file: Callable[..., str]) -> None:
    def unfound(typed: str, preset: str = "", **settings: Any) -> dict[str, Any]:
        request = make_request(typed, preset, False, {"score_threshold": 0.87} | settings)
        value: dict[str, Any] = stage_value(run(Session(), predictor, photo_file(90, 60), request))["unfound"]
        assert set(value.pop("absent")) <= set(value["words"])
        return value

    assert unfound("sky: stuff; <i>car</i>: thing") == {"words": ["<i>car</i>"], "more": 0}
    assert unfound("sky: stuff; <i>car</i>: thing", score_threshold=0) == {"words": [], "more": 0}
    long = unfound("sky: stuff; " + "; ".join(f"{'x' * 60}{number}: thing" for number in range(20)))
    assert long == {"words": ["x" * 39 + "…"] * 8, "more": 12}
    assert unfound("", "cityscapes-19") == {"words": [], "more": 0}, "a class list is not listed"
    assert unfound("zebra: thing", "cityscapes-19") == {"words": ["zebra"], "more": 0}
    assert unfound("sky: stuff; zebra: thing", task="instance", score_threshold=1) == {"words": ["zebra"], "more": 0}


def test_the_photo_is_sent_once(session: Session) -> None:
    whole, rest = stage_value(session), stage_value(session, whole=False)
    assert rest["photo"] is None and whole["photo"] and rest["photo_key"] == whole["photo_key"] == session.digest


def test_everything_is_json(session: Session) -> None:
    value = stage_value(session)
    assert json.loads(json.dumps(value, allow_nan=False)) == value
    assert json.loads(json.dumps(answer(session), allow_nan=False))["segments"][1]["label"] == "<i>car</i>"


def test_each_result_has_its_own_token(session: Session, predictor: FakePredictor) -> None:
    before = stage_value(session)["token"]
    assert session.photo is not None
    run(session, predictor, session.photo, request_of("dog"))
    assert stage_value(session)["token"] != before


def test_timing_says_what_was_cached(session: Session, predictor: FakePredictor) -> None:
    assert session.photo is not None
    assert "cached" not in stage_value(session)["timing"]
    run(session, predictor, session.photo, request_of("dog"))
    assert stage_value(session)["timing"].startswith("photo cached · 1 class 0.")
    run(session, predictor, session.photo, request_of("dog"))
    assert stage_value(session)["timing"].startswith("photo cached · 1 class cached · result 0.")


@pytest.mark.parametrize("size", [(40, 60), (300, 900), (900, 300), (1, 7), (1000, 1000)])
def test_anchors_lie_inside_their_segments(size: tuple[int, int]) -> None:
    height, width = size
    y, x = np.mgrid[:height, :width]
    segment_map = np.where((x - width * 0.8) ** 2 + (y - height * 0.3) ** 2 < (min(size) * 0.2) ** 2, 2, 1)
    segment_map = segment_map.astype(np.int32)
    vocabulary = Vocabulary.parse("a; b")
    segments: list[Segment] = [segment_of(segment_map, number, number - 1, vocabulary) for number in (1, 2)]
    present = [segment for segment in segments if segment.area]
    for segment, (across, down) in zip(present, label_anchors(segment_map, present), strict=True):
        assert segment_map[min(int(down * height), height - 1), min(int(across * width), width - 1)] == segment.id


def test_a_one_pixel_wide_segment_has_an_anchor() -> None:
    segment_map = np.zeros((1000, 1000), dtype=np.int32)
    segment_map[:, 1] = 1  # between the samples of the coarse map
    segment = segment_of(segment_map, 1, 0, Vocabulary.parse("pole"))
    assert label_anchors(segment_map, [segment]) == [[0.0015, 0.5]]
