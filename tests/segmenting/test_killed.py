"""The command as it is typed: SIGKILL in mid-run and again, launched on two processes, told to stop."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from eovseg.assets import asset_path
from tests.segmenting.test_folder import tree

ROOT = Path(__file__).parents[2]
PATIENCE = 900.0
WORDS = "bear; grass: stuff"
COUNT = 8


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    with Image.open(asset_path("photos/bear.jpg")) as image:
        for number in range(COUNT):
            image.resize((100 + number, 96)).save(folder / f"{number}.png")
    (folder / "4.png").write_bytes(b"broken")
    return folder


def command(photos: Path, out: Path, *options: str) -> list[str]:
    return ["-m", "eovseg", "segment", str(photos), "-v", WORDS, "-o", str(out), "--device", "cpu", *options]


def start(arguments: list[str]) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, *arguments], env=environment, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, errors = process.communicate(timeout=PATIENCE)
    return process.returncode, errors


def wait_for_lines(index: Path, lines: int, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + PATIENCE
    while process.poll() is None and (not index.exists() or index.read_text().count("\n") < lines):
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture(scope="module")
def alone(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("alone") / "out"
    code, errors = finish(start(command(photos, out)))
    assert code == 1 and "1 of 8 photos could not be segmented." in errors
    return tree(out)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_killed_run_goes_on_where_it_was(photos: Path, alone: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "out"
    index = out / "index.jsonl"
    process = start(command(photos, out))
    wait_for_lines(index, 2, process)
    process.kill()
    assert finish(process)[0] == -signal.SIGKILL
    noted = index.read_bytes()
    finished = noted[: noted.rfind(b"\n") + 1]
    lines = [json.loads(line) for line in finished.splitlines()]
    assert 2 <= len(lines) < COUNT
    good = [line for line in lines if "error" not in line]
    written = {name: (out / name).stat().st_mtime_ns for line in good for name in line["files"]}

    code, errors = finish(start(command(photos, out)))
    assert code == 1
    assert f"{len(good)} of {COUNT} photos were finished already" in errors
    assert {name: (out / name).stat().st_mtime_ns for name in written} == written, "nothing was done twice"
    assert index.read_bytes().startswith(finished)
    assert tree(out) == alone, "as if it had never been killed"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals of another kind")
def test_sigterm_ends_a_run_after_the_photo_in_flight(photos: Path, alone: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(command(photos, out))
    wait_for_lines(out / "index.jsonl", 1, process)
    process.terminate()
    code, errors = finish(process)
    assert code == 130 and "what was finished is kept" in errors and "Traceback" not in errors
    assert 1 <= (out / "index.jsonl").read_text().count("\n") < COUNT
    assert not [name for name in tree(out) if name.endswith(".part")]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="torchrun needs a POSIX system here")
def test_two_processes_of_a_launcher_share_the_photos(photos: Path, alone: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "out"
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    code, errors = finish(start([*launcher, *command(photos, out)]))
    assert code == 1, "a photo failed, in whichever process"
    assert errors.count("1 of 8 photos could not be segmented.") == 1, "said once, for both"
    found = tree(out)
    parts = [found.pop(f"index-{part}-of-2.jsonl") for part in (1, 2)]
    assert all(part.count(b"\n") > 0 for part in parts)
    assert sorted(b"".join(parts).splitlines()) == sorted(alone["index.jsonl"].splitlines())
    assert found == {name: value for name, value in alone.items() if name != "index.jsonl"}
    code, errors = finish(start(command(photos, out, "--shard", "2/2")))
    own, failed = parts[1].count(b"\n"), b'"error"' in parts[1]
    assert code == int(failed)
    assert f"{own - failed} of {own} photos were finished already" in errors
