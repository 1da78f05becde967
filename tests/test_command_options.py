"""Options shared by all commands: each is passed to `eovseg.load` or `Settings`."""

from argparse import ArgumentParser
from dataclasses import fields
from pathlib import Path

import pytest

from eovseg.cli import main
from eovseg.command_options import add_model_options, add_settings_options, chosen_model, chosen_settings
from eovseg.errors import ConfigError
from eovseg.settings import Settings


def settings(*options: str) -> Settings:
    parser = ArgumentParser()
    add_settings_options(parser)
    return chosen_settings(parser.parse_args(options))


def test_every_setting_has_an_option() -> None:
    given = settings(
        "--task", "semantic", "--ensemble", "arithmetic", "--composition", "best-first", "--no-edges",
        "--no-calibration", "--alpha", "0", "--beta", "0.1", "--score-threshold", "0.2", "--overlap-threshold", "0.3",
        "--void-threshold", "0.4", "--mask-threshold", "0.5", "--pixel-threshold", "1",
    )  # fmt: skip
    assert given == Settings(
        task="semantic", ensemble="arithmetic", composition="best-first", edges=False, calibration=False, alpha=0,
        beta=0.1, score_threshold=0.2, overlap_threshold=0.3, void_threshold=0.4, mask_threshold=0.5, pixel_threshold=1,
    )  # fmt: skip
    assert all(getattr(given, field.name) != field.default for field in fields(Settings))
    assert settings() == Settings() and settings("--edges") == Settings(edges=True)
    with pytest.raises(ConfigError, match=r"alpha=1\.5 is outside 0 to 1"):
        settings("--alpha", "1.5")


def test_model_options_are_those_of_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eovseg.loading.load", lambda *arguments: arguments)
    parser = ArgumentParser()
    add_model_options(parser)
    options = ["--variant", "s", "--checkpoint", "s.pth", "--device", "cuda:1", "--dtype", "bfloat16"]
    chosen = parser.parse_args([*options, "--backend", "compile"])
    assert chosen_model(chosen) == ("s", Path("s.pth"), "cuda:1", "bfloat16", "compile")
    assert chosen_model(chosen, "cpu") == ("s", Path("s.pth"), "cpu", "bfloat16", "compile")
    assert chosen_model(parser.parse_args([])) == (None, None, "auto", "float32", "torch")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (
            ["segment", "a.jpg", "--vocabluary", "x"],
            "unrecognized arguments: --vocabluary x; did you mean --vocabulary?",
        ),
        (["data", "check", "mask-folder", ".", "--qiuck"], "--qiuck; did you mean --quick?"),
        (["analysis", "vas-selection", ".", "--out", "x", "--wrods=y"], "--wrods=y; did you mean --words?"),
        (["page", "--prot", "1"], "--prot 1; did you mean --port?"),
        (["data", "list", "more"], "unrecognized arguments: more\n"),
    ],
)
def test_a_mistyped_option_is_answered_with_the_nearest(
    typed: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(typed)
    assert said in capsys.readouterr().err
