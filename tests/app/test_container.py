"""The steps of the Dockerfile and of the Space in a plain folder: the page works with the files that they copy."""

import importlib.metadata
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app.spaces.__main__ import main as write_space
from tests.app.conftest import free_port
from tests.app.dockerfile import ROOT, build
from tests.app.visitors import wait_until_up


def serve(folder: Path, environment: dict[str, str], command: list[str], health: list[str], cache: Path) -> None:
    """Runs the image's command in `folder` on a free port, then its health check."""
    port = str(free_port())
    if "7860" not in command:
        pytest.fail("the command names no port")
    command = [sys.executable if part == "python" else part.replace("7860", port) for part in command]
    health = [sys.executable if part == "python" else part.replace("7860", port) for part in health]
    # Imports the copied packages, not those of this clone, which is installed in the environment.
    given = {**os.environ, **environment, "EOVSEG_CACHE": str(cache), "PYTHONPATH": str(folder)}
    assert subprocess.run(health, env=given, cwd=folder, capture_output=True, check=False).returncode != 0
    server = subprocess.Popen(
        command, env=given, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        wait_until_up(f"http://127.0.0.1:{port}/", server)
        assert subprocess.run(health, env=given, cwd=folder, check=False).returncode == 0
        maps = Path(f"/proc/{server.pid}/environ")
        assert not maps.exists() or f"PYTHONPATH={folder}".encode() in maps.read_bytes()
    finally:
        server.send_signal(signal.SIGTERM)
        said, _ = server.communicate(timeout=60)
    assert server.returncode == 0 and "Traceback" not in said, said


@pytest.mark.slow
def test_the_steps_of_the_dockerfile_serve_the_page(tmp_path: Path) -> None:
    made = build(ROOT, tmp_path / "image")
    assert made.user not in ("root", "0") and made.ports == ["7860"]
    assert made.command[:5] == ["python", "-m", "app", "--host", "0.0.0.0"]
    serve(made.folder, made.environment, made.command, made.health, tmp_path / "cache")


@pytest.mark.slow
def test_the_folder_of_the_space_builds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "space"
    assert write_space([str(folder)]) == 0
    head = (folder / "README.md").read_text(encoding="utf-8").split("---")[1]
    assert "sdk: docker" in head and "app_port: 7860" in head
    made = build(folder, tmp_path / "image")
    serve(made.folder, made.environment, made.command, made.health, tmp_path / "cache")
    assert write_space([str(folder)]) == 2
    assert "is not empty" in capsys.readouterr().err


def test_the_image_installs_the_tested_pinned_versions() -> None:
    runs = " && ".join(build_runs())
    assert "-r requirements.txt" in runs and "--index-url" in runs
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.split(";")[0].strip() for line in lines if line.strip() and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.+]+", pin) for pin in pins)
    for name in ("gradio", "timm", "pillow"):
        pin = next(pin for pin in pins if pin.startswith(f"{name}=="))
        assert importlib.metadata.version(name) == pin.partition("==")[2]


def build_runs() -> list[str]:
    from tests.app.dockerfile import steps

    return [rest for instruction, rest in steps(ROOT / "Dockerfile") if instruction == "RUN"]
