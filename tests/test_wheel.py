"""The wheel: its content, and that it works in an environment without access to this checkout."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from zipfile import ZipFile

import pytest

from eovseg import own_packages
from eovseg.cli import COMMANDS

ROOT = Path(__file__).parent.parent
LARGEST = 20_000_000  # bytes
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built from a copy because setuptools leaves files in the source folder and reuses old ones."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copyfile(ROOT / name, source / name)
    for name in ("eovseg", "analysis", "app", "assets"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(target), str(source)], check=True)
    (built,) = target.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel and this environment's other packages, without its editable eovseg."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--disable-pip-version-check", str(wheel)], check=True)
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(subprocess.run([python, "-c", where], capture_output=True, text=True, check=True).stdout.strip())
    # .pth files in a folder that was added by a .pth file are not read, which excludes editable installs.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return python.parent


def run(environment: Path, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """A program of the environment, run in `folder`."""
    variables = {**os.environ, "EOVSEG_CACHE": str(folder / "cache")}
    variables.pop("PYTHONPATH", None)
    return subprocess.run(
        [str(environment / command[0]), *command[1:]],
        cwd=folder, env=variables, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_wheel_contains_only_the_library_and_xs(wheel: Path) -> None:
    assert wheel.stat().st_size <= LARGEST
    with ZipFile(wheel) as archive:
        names = archive.namelist()
    top = {name.partition("/")[0] for name in names}
    assert top == {"eovseg", wheel.name.rsplit("-", 3)[0] + ".dist-info"}
    shipped = {name.removeprefix("eovseg/shipped/") for name in names if name.startswith("eovseg/shipped/")}
    vocabularies = {f"vocabularies/{path.name}" for path in (ROOT / "assets" / "vocabularies").iterdir()}
    weights = {f"weights/{name}" for name in ("README.md", "eovseg-xs.safetensors", "eovseg-xs.honesty.json")}
    assert shipped == {"__init__.py"} | weights | vocabularies
    code = {path.relative_to(ROOT).as_posix() for path in (ROOT / "eovseg").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == code | {"eovseg/shipped/__init__.py"}


def test_it_is_imported_from_the_environment(environment: Path, tmp_path: Path) -> None:
    code = "import eovseg, sys; print(eovseg.__file__); import importlib.util as u; print(u.find_spec('app'))"
    done = run(environment, tmp_path, "python", "-c", code)
    place, app = done.stdout.splitlines()
    assert Path(place).is_relative_to(environment.parent) and app == "None"


def test_every_command_has_help(environment: Path, tmp_path: Path) -> None:
    done = run(environment, tmp_path, "eovseg", "--help")
    assert done.returncode == 0 and all(name in done.stdout for name in (*COMMANDS, *own_packages.COMMANDS))
    for command in COMMANDS:
        done = run(environment, tmp_path, "eovseg", command, "--help")
        assert done.returncode == 0 and done.stdout.startswith(f"usage: eovseg {command} "), done.stderr


def test_it_segments_a_photo(environment: Path, tmp_path: Path) -> None:
    photo = ROOT / "assets" / "photos" / "bear.jpg"
    done = run(environment, tmp_path, "eovseg", "segment", str(photo), "-v", "bear; grass: stuff", "-o", "out")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "bear-overlay.png").is_file() and (tmp_path / "out" / "bear-segments.json").is_file()


def test_the_page_command_says_where_to_find_the_page(environment: Path, tmp_path: Path) -> None:
    done = run(environment, tmp_path, "eovseg", "page")
    assert done.returncode == 1 and "only available in a checkout of the project" in done.stderr
    assert done.stderr.count("\n") == 1
