"""The code of docs/formats.md runs as written; only servers and very large packages are replaced by minimal fakes."""

import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import eovseg
from eovseg.assets import asset_path
from eovseg.formats import FORMATS, label_studio
from eovseg.formats.photo import crop

PAGE = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
WORDS = "elephant; tree; bush: stuff; sky: stuff; grass: stuff"
PHOTO = asset_path("photos/savanna.jpg")


def code(name: str) -> str:
    (block,) = re.findall(rf"```python {name}\n(.*?)```", PAGE, re.DOTALL)
    return str(block)


def stand_in(monkeypatch: pytest.MonkeyPatch, name: str, **values: Any) -> None:
    module = ModuleType(name)
    module.__dict__.update(values)
    monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def predictor(xs: eovseg.Predictor) -> Any:
    return xs


def test_every_format_is_on_the_page() -> None:
    assert re.findall(r"^\| `([\w-]+)` \|", PAGE, re.MULTILINE) == list(FORMATS)


@pytest.mark.filterwarnings("ignore:OpenCV")
def test_supervision(predictor: Any) -> None:
    values: dict[str, Any] = {"predictor": predictor, "photo": PHOTO}
    exec(code("supervision").replace("dog; grass: stuff", WORDS), values)
    kinds = [segment.is_thing for segment in values["result"].segments]
    assert len(values["things"]) == sum(kinds) and set(kinds) == {True, False}
    changed = (values["picture"] != values["result"].image).any(axis=-1)
    assert changed.any() and not (changed & ~values["things"].mask.any(axis=0)).any()


class MLBase:
    """A fake of Label Studio's server for a backend: labels of the project's interface, photos as local files."""

    def __init__(self, config: str) -> None:
        self.kept: dict[str, str] = {}
        labels = [label.get("value") for label in ElementTree.fromstring(config).iter("Label")]
        controls = {label_studio.FROM_NAME: SimpleNamespace(labels=labels)}
        self.label_interface = SimpleNamespace(get_control=controls.__getitem__)
        self.setup()

    def setup(self) -> None: ...

    def set(self, key: str, value: str) -> None:
        self.kept[key] = value

    def get_local_path(self, url: str, task_id: int) -> str:
        assert url == "/data/local-files/?d=savanna.jpg" and task_id == 7
        return str(PHOTO)


def test_label_studio_backend(monkeypatch: pytest.MonkeyPatch, predictor: Any) -> None:
    monkeypatch.setattr(eovseg, "load", lambda variant: predictor)
    stand_in(monkeypatch, "label_studio_ml")
    stand_in(monkeypatch, "label_studio_ml.model", LabelStudioMLBase=MLBase)
    stand_in(monkeypatch, "label_studio_ml.response", ModelResponse=SimpleNamespace)
    values: dict[str, Any] = {}
    exec(code("label-studio"), values)
    words = eovseg.Vocabulary.parse("elephant; tree; bush; sky; grass")
    backend = values["Backend"](label_studio.labelling_config(words).decode())
    answer = backend.predict([{"id": 7, "data": {"image": "/data/local-files/?d=savanna.jpg"}}])
    assert answer.predictions == [label_studio.prediction(predictor(PHOTO, words))]
    assert {"elephant", "sky"} <= {one["value"]["brushlabels"][0] for one in answer.predictions[0]["result"]}
    assert backend.kept == {"model_version": "eovseg-xs"}
    # A label with synonyms and a kind is one class, and comes back as the project spells it.
    config = label_studio.labelling_config(words).decode().replace('"sky"', '"sky, clouds: stuff"')
    (found,) = (
        values["Backend"](config)
        .predict([{"id": 7, "data": {"image": "/data/local-files/?d=savanna.jpg"}}])
        .predictions
    )
    named = {one["value"]["brushlabels"][0] for one in found["result"]}
    assert "sky, clouds: stuff" in named and named <= {*words.labels, "sky, clouds: stuff"} - {"sky"}


def test_fiftyone_model(monkeypatch: pytest.MonkeyPatch, predictor: Any) -> None:
    monkeypatch.setattr(eovseg, "load", lambda variant: predictor)
    stand_in(monkeypatch, "fiftyone", Model=object, Detection=SimpleNamespace, Detections=SimpleNamespace)
    values: dict[str, Any] = {}
    exec(code("fiftyone"), values)
    result = predictor(PHOTO, "elephant; grass")
    applied: dict[str, Any] = {}
    dataset = SimpleNamespace(
        apply_model=lambda model, label_field: applied.update({label_field: model.predict(result.image)})
    )
    values["segment_dataset"](dataset, "elephant; grass")
    found = applied["eovseg"].detections
    assert [one.label for one in found] == [segment.label for segment in result.segments]
    height, width = result.segment_map.shape
    for index, one in enumerate(found):
        left, top, wide, high = (round(v * s) for v, s in zip(one.bounding_box, (width, height) * 2, strict=True))
        mask = np.zeros((height, width), dtype=bool)
        mask[top : top + high, left : left + wide] = one.mask
        np.testing.assert_array_equal(mask, result.mask(index))
        assert one.mask.shape == crop(result, index)[0].shape
