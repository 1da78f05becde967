"""`eovseg video` as typed in a shell, with a fake network, and interrupted by signals."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from eovseg.cli import main
from eovseg.settings import Settings
from tests.video.drawn import BlobPredictor, ball_frames, read_back, write_frames

ROOT = Path(__file__).parent.parent.parent
TIMEOUT = 300  # timeout in seconds; starting a process on a busy machine may take long
# The command with a slow network that prints when a frame begins and when the first Ctrl-C is received.
SLOW = """
import signal, sys, time
from eovseg import loading
from eovseg.cli import main
from tests.video.drawn import BlobPredictor

class Slow(BlobPredictor):
    def __call__(self, *arguments, **settings):
        print("frame", flush=True)
        end, noted = time.monotonic() + float(sys.argv[1]), False
        while time.monotonic() < end:
            time.sleep(0.02)
            if not noted and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                noted = True
                print("noted", flush=True)
        return super().__call__(*arguments, **settings)

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
loading.load = lambda *arguments: Slow()
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.mp4"
    write_frames(path, ball_frames(50), sound="aac")
    return path


@pytest.fixture
def predictor(monkeypatch: pytest.MonkeyPatch) -> BlobPredictor:
    made = BlobPredictor()
    monkeypatch.setattr("eovseg.loading.load", lambda *arguments: made)
    return made


def test_options_reach_the_network_and_the_files(
    source: Path, tmp_path: Path, predictor: BlobPredictor, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["-v", "ball; ground: stuff", "-v", "sky: stuff", "--background", "tree", "--alpha", "0.3"]
    options += ["--task", "semantic", "--every", "2", "--start", "0.4", "--end", "1.2", "--opacity", "0.2"]
    options += ["--no-labels", "--tracks", str(tmp_path / "t.jsonl")]
    assert main(["video", str(source), str(tmp_path / "o.mp4"), *options]) == 0
    assert predictor.calls[0]["settings"] == Settings(alpha=0.3, task="semantic")
    assert predictor.calls[0]["background"].words == ("tree", "palm tree", "bushes")
    assert predictor.calls[0]["vocabulary"].labels == ("ball", "ground", "sky")
    assert len(read_back(tmp_path / "o.mp4").frames) == 20
    lines = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert [line["time"] for line in lines] == pytest.approx(np.arange(0.4, 1.2, 0.08).tolist())
    assert "20 frames, 10 of them segmented" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["missing.mp4", "o.mp4"], "was not found"),
        (["in.mp4", "in.mp4"], "is also the input video"),
        (["in.mp4", "o.txt"], "must end in .mp4"),
        (["in.mp4", "o.mp4", "--every", "0"], "every=0"),
        (["in.mp4", "o.mp4", "--opacity", "3"], "between 0 and 1"),
        (["in.mp4", "o.mp4", "--start", "60"], "no picture"),
        (["in.mp4", "o.mp4", "--background", "nothing/here.txt"], "nothing/here.txt"),
    ],
)
def test_mistakes_are_reported_in_one_sentence(
    source: Path,
    predictor: BlobPredictor,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    sentence: str,
) -> None:
    monkeypatch.chdir(source.parent)
    assert main(["video", *arguments, "-v", "ball"]) == 1
    errors = capsys.readouterr().err
    assert sentence in errors and errors.startswith("eovseg: ") and errors.count("\n") == 1
    assert [path.name for path in source.parent.iterdir()] == ["in.mp4"]


def test_dropped_sound_is_reported(
    tmp_path: Path, predictor: BlobPredictor, capsys: pytest.CaptureFixture[str]
) -> None:
    write_frames(tmp_path / "in.mkv", ball_frames(3), sound="pcm_u8")
    assert main(["video", str(tmp_path / "in.mkv"), str(tmp_path / "o.mp4"), "-v", "ball"]) == 0
    assert "the sound was dropped" in capsys.readouterr().err


def start(source: Path, target: Path, seconds: float, frames: int = 0) -> subprocess.Popen[str]:
    """Starts the slow command and waits until this many frames have begun."""
    arguments = ["video", str(source), str(target), "-v", "ball; ground: stuff", "--tracks", f"{target}.jsonl"]
    command = [sys.executable, "-c", SLOW, str(seconds), *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(frames):
        assert process.stdout.readline() == "frame\n"
    return process


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals of another kind")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_with_a_complete_shorter_video(source: Path, tmp_path: Path, number: signal.Signals) -> None:
    out = tmp_path / "out"
    process = start(source, out / "o.mp4", 0.1, frames=5)
    process.send_signal(number)
    _, errors = process.communicate(timeout=TIMEOUT)
    found = read_back(out / "o.mp4")
    assert process.returncode == 130 and 5 <= len(found.frames) < 50 and found.sound
    assert f'stopped; "{out / "o.mp4"}" contains the first {len(found.frames)} frames.' in errors
    assert "Traceback" not in errors
    assert len((out / "o.mp4.jsonl").read_text().splitlines()) == len(found.frames)
    assert sorted(path.name for path in out.iterdir()) == ["o.mp4", "o.mp4.jsonl"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals of another kind")
def test_a_second_signal_leaves_no_files(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(source, out / "o.mp4", 60, frames=1)
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None and process.stdout.readline() == "noted\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130 and errors == "eovseg: stopped; nothing was written.\n"
    assert not list(out.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals of another kind")
def test_a_killed_run_leaves_no_incomplete_video(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(source, out / "o.mp4", 0.1, frames=3)
    process.kill()
    process.communicate(timeout=TIMEOUT)
    assert not (out / "o.mp4").exists()
    assert all(path.name.endswith(".part") for path in out.iterdir())
    # The next run removes the files of the killed one.
    process = start(source, out / "o.mp4", 0)
    assert process.communicate(timeout=TIMEOUT) and process.returncode == 0
    assert sorted(path.name for path in out.iterdir()) == ["o.mp4", "o.mp4.jsonl"]
