"""Reports contain the commit and the command that created them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from eovseg.evaluation.origin import Origin, commit

ROOT = Path(__file__).parents[2]


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A git repository with a file of code and one report."""
    (tmp_path / "assets" / "evaluation").mkdir(parents=True)
    for name in ("code.py", "assets/evaluation/report.txt"):
        (tmp_path / name).write_text("1\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def test_the_commit_tells_whether_the_code_differs(checkout: Path) -> None:
    head = git(checkout, "rev-parse", "HEAD")
    assert commit(checkout) == head
    (checkout / "assets/evaluation/report.txt").write_text("2\n")
    (checkout / "notes.txt").write_text("not tracked\n")
    assert commit(checkout) == head  # files written by the command are not changes of the code
    (checkout / "code.py").write_text("2\n")
    assert commit(checkout) == f"{head} with uncommitted changes"


def test_missing_information_from_git_is_unknown(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = git(checkout, "rev-parse", "HEAD")
    (checkout / ".git" / "index").write_bytes(b"broken")  # `git status` fails, `git rev-parse` does not
    assert commit(checkout) == f"{head} and unknown changes"
    monkeypatch.setenv("PATH", str(checkout))  # no git there
    assert commit(checkout) == "unknown"


def test_a_package_outside_a_checkout_has_no_commit(checkout: Path) -> None:
    (checkout / "installed").mkdir()
    assert commit(checkout / "installed") is None  # the enclosing checkout is another project


def test_the_command_is_quoted_for_the_shell(tmp_path: Path) -> None:
    (tmp_path / "probe.py").write_text("from eovseg.evaluation.origin import command_line\nprint(command_line())\n")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}
    for program, expected in ((["-m", "probe"], "python -m probe"), ([str(tmp_path / "probe.py")], "probe.py")):
        command = [sys.executable, *program, "--words", "sky; bus stop"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == f"{expected} --words 'sky; bus stop'"


def test_the_weight_file_is_identified_by_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "small.safetensors"
    path.write_bytes(b"abc")
    origin = Origin.of(path)
    assert (origin.weights, origin.sha256) == (
        "small.safetensors",
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    )
    assert str(tmp_path) not in origin.lines()[0]
    assert Origin.of(None).lines()[0] == "Weights: none"
