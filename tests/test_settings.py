"""`Settings`: validation, and that every function that makes results accepts its fields."""

import inspect
from dataclasses import fields, replace
from typing import Any, get_type_hints

import numpy as np
import pytest

from eovseg.errors import ConfigError
from eovseg.model.config import variant_config
from eovseg.predictor import Predictor
from eovseg.settings import Settings, SettingsArguments
from eovseg.video import segment_video

XS = variant_config("xs")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"alpha": -0.1}, "alpha=-0.1 is outside 0 to 1."),
        ({"void_threshold": float("nan")}, "void_threshold=nan is outside 0 to 1."),
        ({"mask_threshold": True}, "mask_threshold=True is outside 0 to 1."),
        ({"task": None}, "task=None is not allowed; choose one of panoptic, semantic, instance."),
        ({"ensemble": ["sum"]}, "ensemble=['sum'] is not allowed; choose one of geometric, arithmetic."),
        ({"edges": "yes"}, "edges='yes' is not allowed; choose True or False."),
        ({"calibration": (0.0, 1.0)}, "calibration=(0.0, 1.0) is not allowed; give two numbers, a positive slope and a "
         "bias, or False for uncalibrated scores."),
    ],
)  # fmt: skip
def test_errors_name_the_value_and_what_is_allowed(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        Settings(**values)
    assert str(refusal.value) == sentence


def test_a_misspelt_setting_is_named_with_the_right_ones(xs: Predictor) -> None:
    for call in (Settings, lambda **given: xs(np.zeros((9, 9, 3), np.uint8), "sky", **given)):
        with pytest.raises(ConfigError, match=r"no setting 'threshhold'; did you mean .*score_threshold") as said:
            call(threshhold=0.5)
        assert "\n" not in str(said.value)


def test_numbers_of_any_kind_become_floats() -> None:
    settings = Settings(alpha=1, beta=np.float32(0.5), calibration=[2, -1])  # type: ignore[arg-type]
    assert type(settings.alpha) is type(settings.beta) is float
    assert settings.given() == {"alpha": 1.0, "beta": 0.5, "calibration": (2, -1)}


def test_none_stands_for_the_models_own_value() -> None:
    assert Settings().applied(XS) == Settings.of(XS).applied(XS) == XS
    changed = Settings(alpha=0.1, task="semantic").applied(XS)
    assert changed == XS.with_changes(alpha=0.1)
    calibrated = XS.with_changes(calibration=(2.0, 0.0))
    assert Settings().applied(calibrated).calibration == (2.0, 0.0)
    assert Settings(calibration=False).applied(calibrated).calibration is None
    assert Settings(calibration=False).completed(calibrated) == replace(Settings.of(XS), calibration=False)


def test_named_values_override_settings() -> None:
    assert Settings.chosen(Settings(alpha=0.1, beta=0.2), alpha=0.3, edges=None) == Settings(alpha=0.3, beta=0.2)


@pytest.mark.parametrize("call", [Predictor.__call__, Predictor.compose, segment_video])
def test_calls_name_every_field(call: Any) -> None:
    names = [field.name for field in fields(Settings)] + ["settings"]
    assert list(get_type_hints(SettingsArguments)) == names
    given = inspect.signature(call).parameters
    assert [name for name in given if name in names] == names
