"""The command as a process: killed repeatedly, launched on two processes, and stopped."""

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
TIMEOUT = 900.0
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
    _, errors = process.communicate(timeout=TIMEOUT)
    return process.returncode, errors


def wait_for_lines(index: Path, lines: int, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + TIMEOUT
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
def test_a_killed_run_is_resumed(photos: Path, alone: dict[str, bytes], tmp_path: Path) -> None:
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
    assert f"{len(good)} of {COUNT} photos were already finished" in errors
    assert {name: (out / name).stat().st_mtime_ns for name in written} == written, "nothing was repeated"
    assert index.read_bytes().startswith(finished)
    whole = {name: content for name, content in tree(out).items() if not name.endswith(".part")}
    assert whole == alone, "equal to an uninterrupted run, except for a file that was being written"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals of another kind")
def test_sigterm_ends_a_run_after_the_photo_in_flight(photos: Path, alone: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(command(photos, out))
    wait_for_lines(out / "index.jsonl", 1, process)
    process.terminate()
    code, errors = finish(process)
    assert code == 130 and "finished results are kept" in errors and "Traceback" not in errors
    assert 1 <= (out / "index.jsonl").read_text().count("\n") < COUNT
    assert not [name for name in tree(out) if name.endswith(".part")]


LAUNCHERS = {
    "torchrun": ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"],
    # --multi_gpu makes accelerate start several processes; with --cpu it always starts one.
    "accelerate": ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1",
                   "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"],
}  # fmt: skip


def assert_both_have_done_all(out: Path, alone: dict[str, bytes]) -> list[bytes]:
    """Results equal those of one process, and each photo has one line in one of the two indexes, which are returned."""
    found = tree(out)
    parts = [found.pop(f"index-{part}-of-2.jsonl") for part in (1, 2)]
    assert all(part.count(b"\n") > 0 for part in parts)
    assert sorted(b"".join(parts).splitlines()) == sorted(alone["index.jsonl"].splitlines())
    assert found == {name: value for name, value in alone.items() if name != "index.jsonl"}
    return parts


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="launchers need a POSIX system here")
@pytest.mark.parametrize("launcher", list(LAUNCHERS))
def test_two_processes_of_a_launcher_share_the_photos(
    photos: Path, alone: dict[str, bytes], tmp_path: Path, launcher: str
) -> None:
    out = tmp_path / "out"
    code, errors = finish(start([*LAUNCHERS[launcher], *command(photos, out)]))
    assert code == 1, "a photo failed in one of the processes"
    assert errors.count("1 of 8 photos could not be segmented.") == 1, "reported once for both processes"
    parts = assert_both_have_done_all(out, alone)
    code, errors = finish(start(command(photos, out, "--shard", "2/2")))
    own, failed = parts[1].count(b"\n"), b'"error"' in parts[1]
    assert code == int(failed)
    assert f"{own - failed} of {own} photos were already finished" in errors


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the launcher's processes in /proc")
@pytest.mark.parametrize("launcher", list(LAUNCHERS))
def test_a_run_with_one_killed_process_is_resumed(
    photos: Path, alone: dict[str, bytes], tmp_path: Path, launcher: str
) -> None:
    out = tmp_path / "out"
    typed = [*LAUNCHERS[launcher], *command(photos, out)]
    process = start(typed)
    wait_for_lines(out / "index-2-of-2.jsonl", 1, process)
    os.kill(child_of_rank(process.pid, 1), signal.SIGKILL)
    assert finish(process)[0] != 0
    noted = {path.name: path.read_bytes() for path in out.glob("index*.jsonl")}
    lines = [json.loads(line) for text in noted.values() for line in text[: text.rfind(b"\n") + 1].splitlines()]
    assert 1 <= len(lines) < COUNT
    written = {name: (out / name).stat().st_mtime_ns for line in lines for name in line.get("files", ())}

    code, errors = finish(start(typed))
    assert code == 1 and "1 of 8 photos could not be segmented." in errors
    assert {name: (out / name).stat().st_mtime_ns for name in written} == written, "nothing was repeated"
    assert_both_have_done_all(out, alone)


def child_of_rank(launcher: int, rank: int) -> int:
    """The process with this `rank`, started by the launcher."""
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            parent = int(status.read_text().partition("PPid:")[2].split()[0])
            environment = (status.parent / "environ").read_bytes().split(b"\0")
        except (OSError, IndexError):
            continue
        if parent == launcher and b"RANK=%d" % rank in environment:
            return int(status.parent.name)
    raise AssertionError(f"the launcher has no process of rank {rank}")


@pytest.mark.slow
def test_the_redo_option(photos: Path, alone: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "out"
    one = command(photos / "1.png", out, "--write", "segments")
    assert finish(start(one))[0] == 0
    result = out / "1-segments.json"
    first = result.read_bytes(), result.stat().st_mtime_ns
    assert "1 of 1 photos were already finished; --redo segments them again." in finish(start(one))[1]
    assert result.stat().st_mtime_ns == first[1]
    code, errors = finish(start([*one, "--redo"]))
    assert code == 0 and "already finished" not in errors
    assert result.read_bytes() == first[0] == alone["1-segments.json"]
    assert result.stat().st_mtime_ns > first[1]
    assert (out / "index.jsonl").read_text().count("\n") == 2
