"""The `app.py`, `analysis/` and `assets/` of other projects are never used instead of ours."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from eovseg import assets, own_packages
from eovseg.cli import main
from eovseg.errors import EovsegError

ROOT = Path(__file__).parent.parent
FOREIGN = "print('FOREIGN CODE RAN')\nraise SystemExit(9)\n"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder with packages that have the same names as ours."""
    (tmp_path / "app.py").write_text(FOREIGN)
    for name in ("app", "analysis", "assets"):
        (tmp_path / name).mkdir()
        for file in ("__init__.py", "__main__.py", "limits.py"):
            (tmp_path / name / file).write_text(FOREIGN)
    return tmp_path


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs Python in `folder`, whose modules take precedence over ours, as in an environment."""
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_the_commands_run_ours_in_a_folder_with_the_same_names(elsewhere: Path) -> None:
    done = _run(elsewhere, "-m", "eovseg", "page", "--port", "70000")
    assert (done.returncode, done.stderr) == (2, "--port 70000 is outside 1 to 65535.\n")
    done = _run(elsewhere, "-m", "eovseg", "analysis", "--help")
    assert done.returncode == 0 and done.stdout.startswith("usage: eovseg analysis ")
    assert "FOREIGN" not in done.stdout + done.stderr


def test_our_modules_and_files_are_found_there(elsewhere: Path) -> None:
    code = (
        "from eovseg.own_packages import load; load('app'); load('analysis'); import app.limits, analysis.style;"
        "from eovseg.assets import asset_path;"
        "print(app.limits.__file__, analysis.style.__file__, asset_path('weights/eovseg-xs.safetensors'), sep='\\n')"
    )
    done = _run(elsewhere, "-c", code)
    assert done.stdout.splitlines() == [
        str(ROOT / "app" / "limits.py"),
        str(ROOT / "analysis" / "style.py"),
        str(ROOT / "assets" / "weights" / "eovseg-xs.safetensors"),
    ]


def test_a_foreign_module_that_is_imported_already_is_replaced(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = importlib.util.module_from_spec(importlib.util.spec_from_loader("app", None))  # type: ignore[arg-type]
    kept = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "app"}
    try:
        monkeypatch.setitem(sys.modules, "app", foreign)
        own_packages.load("app")
        loaded = sys.modules["app"]
        assert loaded is not foreign and list(loaded.__path__) == [str(ROOT / "app")]
        own_packages.load("app")
        assert sys.modules["app"] is loaded
    finally:
        sys.modules.update(kept)


def test_a_missing_page_gets_a_sentence(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(own_packages, "HOME", elsewhere)
    with pytest.raises(EovsegError, match=r"The package app of EOV-Seg is not in .*\. Use a checkout of the project\."):
        own_packages.load("app")
    assert main(["page"]) == 1
    assert capsys.readouterr().err == (
        "eovseg: `eovseg page` is only available in a checkout of the project. Clone it and run `make`, or run "
        'pip install -e ".[page]" in it.\n'
    )


def test_a_package_that_the_page_needs_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError("No module named 'gradio'", name="gradio")

    monkeypatch.setattr(own_packages.importlib, "import_module", missing)
    assert main(["page"]) == 1
    assert capsys.readouterr().err == (
        'eovseg: `eovseg page` needs the package gradio. In the checkout, run pip install -e ".[page]".\n'
    )


def test_a_wheel_beside_foreign_assets_uses_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("eovseg/shipped", "assets"):
        (tmp_path / folder / "vocabularies").mkdir(parents=True)
    (tmp_path / "eovseg" / "shipped" / "vocabularies" / "x.json").write_text("ours")
    (tmp_path / "assets" / "vocabularies" / "y.json").write_text("foreign")
    monkeypatch.setattr(assets, "_PACKAGE", tmp_path / "eovseg")
    assert assets.asset_path("vocabularies/x.json").read_text() == "ours"
    assert assets.asset_path("vocabularies").parent.name == "shipped"
    with pytest.raises(EovsegError, match=r"assets/vocabularies/y\.json is missing"):
        assets.asset_path("vocabularies/y.json")
