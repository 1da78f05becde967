"""The code in the manual and the README runs, and the commands shown there have all the options used."""

import contextlib
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import eovseg
from docs import command_line
from eovseg import cli, own_packages
from eovseg.assets import asset_path
from eovseg.data.data_sets import open_data_set
from eovseg.predictor import Predictor
from tests.video.drawn import ball_frames, write_frames

ROOT = Path(__file__).parents[2]
FILES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
PAGES = {path.relative_to(ROOT).as_posix(): path for path in FILES}
_BLOCK = re.compile(r"^( *)```(\w+)([^\n]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
# Launchers that can precede one of our commands.
_LAUNCHERS = re.compile(r"^(?:\w+=\S+ )*(?:accelerate launch .*?|torchrun .*?)-m (?:-- )?(eovseg(?:\.\w+)?) ")


def blocks(text: str, language: str) -> Iterator[tuple[str, str]]:
    """The text after the language's name, and the code, of every code block of a page in that language."""
    for indent, name, rest, code in _BLOCK.findall(text):
        if name == language:
            yield rest.strip(), re.sub(f"^{indent}", "", code, flags=re.MULTILINE)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, xs: Predictor) -> Path:
    """A folder with the files that the pages use."""
    with Image.open(asset_path("photos/bear.jpg")) as photo:
        photo.resize((292, 320)).save(tmp_path / "photo.jpg")
    (tmp_path / "assets" / "photos").mkdir(parents=True)
    shutil.copy(tmp_path / "photo.jpg", tmp_path / "assets" / "photos" / "bear.jpg")
    shutil.copy(asset_path("photos/bus-street.jpg"), tmp_path / "assets" / "photos")
    write_frames(tmp_path / "walk.mp4", ball_frames(3))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(eovseg, "load", lambda *_, **__: xs)
    monkeypatch.setattr(Image.Image, "show", lambda _: None)
    return tmp_path


@pytest.mark.parametrize("name", [name for name, path in PAGES.items() if "```python\n" in path.read_text("utf-8")])
def test_python_runs(name: str, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Runs the code blocks of a page in order; blocks with a word after `python` have separate tests."""
    values: dict[str, Any] = {}
    code = [code for rest, code in blocks(PAGES[name].read_text(encoding="utf-8"), "python") if not rest]
    for block in code:
        exec(block, values)
        for line in block.splitlines():  # `print(words.labels)  # ('person', 'sky', 'car')`
            if said := re.fullmatch(r"print\((.+)\)  # ([('\[\d].*)", line):
                assert str(eval(said[1], values)) == said[2]
    assert capsys.readouterr().out or any((work / "out").iterdir())


def test_the_readme_is_short() -> None:
    assert len(PAGES["README.md"].read_text(encoding="utf-8").splitlines()) <= 140


def commands(text: str) -> Iterator[str]:
    """All of our commands in the shell blocks of a page, each on one line and without its comment."""
    for rest, code in blocks(text, "sh"):
        if rest:
            continue
        for line in re.sub(r"\\\n\s*", "", code).splitlines():
            line = re.sub(r"\s+#.*", "", line).strip()
            line = _LAUNCHERS.sub(lambda found: f"python -m {found[1]} ", line)
            line = re.sub(r"^(\.venv/bin/)?(eovseg|python) ", r"\2 ", line)
            if re.match(r"(eovseg|python -m (eovseg|analysis|app))\b", line):
                yield line


MODULES = {"eovseg.training": "train", "eovseg.evaluation": "evaluate"}


def parse(command: str) -> None:
    """Parses the options of a command; raises `SystemExit` if one does not exist."""
    words = shlex.split(command)
    words = words[1:] if words[0] == "eovseg" else words[2:]
    if words[0] in MODULES:
        words[0] = MODULES[words[0]]
    elif words[0] == "eovseg":
        words = words[1:]
    if words[0] in own_packages.COMMANDS:
        command_line.parser_of(f"{own_packages.COMMANDS[words[0]][0]}.__main__").parse_args(words[1:])
    elif words[0] in cli.COMMANDS:
        cli.build_parser(words[0]).parse_args(words)
    else:
        tool = words[0] if words[0] in command_line.TOOLS else f"{words[0]}.__main__"
        command_line.parser_of(tool).parse_args(words[1:])


SHOWN = [(name, command) for name, path in PAGES.items() for command in commands(path.read_text(encoding="utf-8"))]


@pytest.mark.parametrize(("name", "command"), SHOWN, ids=[f"{name}: {command[:60]}" for name, command in SHOWN])
def test_commands_have_these_options(name: str, command: str) -> None:
    parse(command)


def test_a_wrong_option_is_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("eovseg segment photos -v dog --no-such-option")
    assert list(
        commands("```sh\ntorchrun --nproc_per_node 2 -m -- eovseg.training \\\n    --data D  # two\nls\n```\n")
    ) == ["python -m eovseg.training --data D"]


def test_the_command_of_the_first_page_works(work: Path) -> None:
    (work / "photos").mkdir()
    shutil.copy(work / "photo.jpg", work / "photos" / "bear.jpg")
    command = next(one for one in commands(PAGES["docs/start.md"].read_text(encoding="utf-8")) if "segment" in one)
    arguments = shlex.split(command)[1:]
    with contextlib.chdir(work):
        assert cli.main(["photos" if word == "photos/*.jpg" else word for word in arguments]) == 0
    assert len(list((work / "out").glob("bear-*"))) == 4


def test_labels_written_by_segment_are_a_panoptic_folder(work: Path) -> None:
    """As docs/data-sets.md describes: classes by their first names, for `train --data`."""
    shown = [one for one in commands(PAGES["docs/data-sets.md"].read_text(encoding="utf-8")) if " mine" in one]
    segment, check = (next(one for one in shown if part in one) for part in (" segment ", " panoptic-folder "))
    (work / "mine" / "images").mkdir(parents=True)
    shutil.copy(work / "assets" / "photos" / "bear.jpg", work / "mine" / "images")
    (work / "words.txt").write_text("brown bear, bear\ngrass, lawn: stuff\n", encoding="utf-8")
    assert cli.main(shlex.split(segment)[1:]) == 0
    shutil.copy(work / "mine" / "panoptic" / "coco-panoptic.json", work / "mine" / "panoptic.json")
    assert cli.main(shlex.split(check)[1:]) == 0
    found = open_data_set("panoptic-folder", work / "mine")
    assert [category.name for category in found.categories.values()] == ["brown bear", "grass"]


def test_every_command_is_listed() -> None:
    """The page of options is generated from a list of parsers, which must contain every command."""
    listed = {name for name, _ in command_line.parsers()}
    for command in cli.COMMANDS:
        assert any(name == f"eovseg {command}" or name.startswith(f"eovseg {command} ") for name in listed), command
    reading = set()
    for layer in ("eovseg", "analysis", "app"):
        for path in (ROOT / layer).rglob("*.py"):
            if "argparse.ArgumentParser(" in path.read_text(encoding="utf-8"):
                reading.add(".".join(path.relative_to(ROOT).with_suffix("").parts))
    known = {f"{package}.__main__" for package, *_ in own_packages.COMMANDS.values()} | {
        "eovseg.cli",
        "eovseg.training.__main__",  # also `eovseg train`
        "eovseg.training.weight_file",
        "eovseg.evaluation.__main__",
    }
    # If a module's parser is also a subcommand of another one, it is listed there.
    shared = {name for name in command_line.TOOLS if name not in reading}
    assert reading - known - set(command_line.TOOLS) == set()
    assert all((ROOT / f"{name.replace('.', '/')}.py").is_file() for name in shared)


def test_options_of_a_command_are_written_out() -> None:
    parser = dict(command_line.parsers())["eovseg segment"]
    text = command_line.section("eovseg segment", parser)
    assert "`-o OUTPUT`, `--output OUTPUT`" in text and "`--variant {xs,s,m,l}`" in text
    assert all(command_line.section(name, one).startswith(f"## `{name}`") for name, one in command_line.parsers())
    photos = next(action for action in parser._actions if action.dest == "photos")
    assert f"\n: {photos.help}\n" in text and "SUPPRESS" not in text


def test_the_fine_tuning_table_agrees_with_the_reports() -> None:
    from docs.fine_tuning_table import REPORTS, table
    from eovseg.evaluation.stored import read_report

    lines = table().splitlines()
    for name, column in (("before", 2), ("after", 3)):
        report = read_report(REPORTS / name)
        low, high = report.intervals["PQ"]
        shown = next(line for line in lines if line.startswith("| PQ |")).split("|")[column].strip()
        assert shown == f"{report.summary()['PQ']:.1f} [{low:.1f}, {high:.1f}]"
        wanted = shlex.split(report.origin.command if report.origin else "")[3:]
        assert wanted in [
            shlex.split(command)[1:] for command in commands(PAGES["docs/training.md"].read_text("utf-8"))
        ]
