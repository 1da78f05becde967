"""The output of commands: in any encoding, with the messages of the operating system."""

import importlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eovseg import cli, own_packages
from eovseg.atomic_files import atomic_file
from eovseg.errors import ConfigError, exit_code

ROOT = Path(__file__).parent.parent
JAPAN = "日本"
COMMANDS = [*cli.COMMANDS, *own_packages.COMMANDS]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for layer in ("eovseg", "analysis", "app")
    for path in (ROOT / layer).rglob("*.py")
    if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
)


@contextmanager
def output_in(encoding: str) -> Iterator[io.BytesIO]:
    """Standard output as a file with this encoding and Python's default strict errors."""
    raw, before = io.BytesIO(), sys.stdout
    stream = sys.stdout = io.TextIOWrapper(raw, encoding=encoding, write_through=True)
    try:
        yield raw
    finally:
        sys.stdout = before
        stream.detach()


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
@pytest.mark.parametrize("module", [*MODULES, *(f"eovseg.cli {name}" for name in COMMANDS)])
def test_help_in_every_encoding(module: str, encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(MODULES) > 10 and "train" in COMMANDS
    name, *arguments = module.split()
    monkeypatch.setattr(sys, "argv", [name, *arguments, "--help"])
    with output_in(encoding) as raw, pytest.raises(SystemExit) as ended:
        importlib.import_module(name).main()
    assert ended.value.code == 0 and b"usage:" in raw.getvalue()


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """A mask folder whose path western encodings cannot represent."""
    root = tmp_path / JAPAN
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
        Image.fromarray(np.zeros((6, 9), np.uint8)).save(root / name / "a.png")
    (root / "classes.txt").write_text("sky: stuff\n")
    return root


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_path_that_the_encoding_cannot_represent(labelled: Path, encoding: str) -> None:
    with output_in(encoding) as raw:
        assert cli.main(["data", "check", "mask-folder", str(labelled)]) == 0
    text = raw.getvalue().decode(encoding)
    assert "\\u65e5\\u672c" in text and "No errors were found." in text


def test_a_process_with_ascii_output(labelled: Path) -> None:
    (labelled / "notes.txt").write_text("")
    command = [sys.executable, "-m", "eovseg", "data", "check", "mask-folder", str(labelled)]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False)
    assert done.returncode == 0 and done.stderr == b"" and rb"\u65e5\u672c" in done.stdout


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FileNotFoundError(2, "No such file or directory", "words.txt"), "words.txt: No such file or directory."),
        (OSError(18, "Invalid cross-device link", "a.part", None, "b.png"), "a.part and b.png: Invalid cross-device"),
        (OSError(24, "Too many open files"), "Too many open files (traceback in "),
        (ConnectionError("The server sent half an answer."), "The server sent half an answer (traceback in "),
        (ConfigError("Give a number."), "Give a number."),
    ],
)
def test_errors_say_what_was_refused(
    error: Exception,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("EOVSEG_CACHE", str(tmp_path))
    monkeypatch.setattr("eovseg.error_log._kept", set())

    def fail(*_: object) -> None:
        raise error

    assert exit_code(fail) == 1
    assert capsys.readouterr().err.startswith(said)
    monkeypatch.setattr("eovseg.data.commands.show_list", fail)
    assert cli.main(["data", "list"]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith(f"eovseg: {said}") and "the output" not in printed and printed.count("\n") == 1
    if "traceback" in said:
        assert "in fail" in (tmp_path / "errors.log").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_command_without_temporary_files(
    number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> None:
        with atomic_file(tmp_path / "image.onnx"):
            os.kill(os.getpid(), number)

    assert exit_code(command) == 130
    assert capsys.readouterr().err == "stopped; finished results are kept.\n" and not list(tmp_path.iterdir())
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_closed_output_is_not_an_error(unbuffered: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "eovseg", "data", "list"]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    child = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, cwd=ROOT, env=environment, check=False)
    os.close(writer)
    assert (child.returncode, child.stderr) == (141, b"")


@pytest.mark.parametrize("in_memory", [False, True])
def test_another_broken_pipe_is_reported(
    in_memory: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EOVSEG_CACHE", str(tmp_path))
    if in_memory:
        monkeypatch.setattr(sys, "stdout", io.StringIO())

    def fail(*_: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("eovseg.data.commands.show_list", fail)
    assert exit_code(fail) == 1
    assert cli.main(["data", "list"]) == 1
    first, second = capfd.readouterr().err.splitlines()
    assert first.startswith("Broken pipe (traceback in ") and second.startswith("eovseg: Broken pipe")
