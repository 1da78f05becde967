"""`python -m eovseg.benchmark.training`: views per second in training XS, at first and now.

All cases run the training command, alternately. "first" is one process with two threads that spin while they wait, and
the recipe of version 0.1 (DDA, masks sampled at points) with the image encoder in torch. "first recipe, two processes"
trains the same network with the same losses in two processes of one thread each, with the image encoder in OpenVINO.
"now" does so with the current recipe. The first steps of each run, which fill caches, are not counted.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eovseg.errors import EovsegError, any_encoding, exit_code, parse_options

FIRST = {
    "variant": "xs", "loss": {"points": 768}, "openvino": False,
    "model": ['interaction="DDA"', "attention_heads=8", 'mask_bias="none"', "mask_regression=false", "vas_offset=true"],
}  # fmt: skip
CASES: dict[str, tuple[dict[str, Any], int, int]] = {  # recipe, processes, threads of each
    "first": (FIRST, 1, 2),
    "first recipe, two processes": (FIRST | {"openvino": True}, 2, 1),
    "now": ({"variant": "xs"}, 2, 1),
}
STEPS, WARM_UP = 20, 10
_PORT = 29_611


def run_case(name: str, data: Path, folder: Path) -> dict[str, Any]:
    """Trains for `STEPS`; seconds per step and views per second after the warm-up. Raises `EovsegError`."""
    from eovseg.benchmark.command import processor

    recipe, processes, threads = CASES[name]
    config = folder / "recipe.json"
    config.write_text(json.dumps(recipe), encoding="utf-8")
    command = [
        sys.executable, "-m", "eovseg.training", "--config", str(config), "--data", str(data), "--device", "cpu",
        "--output", str(folder / "run"), "--steps", str(STEPS), "--threads", str(threads),
    ]  # fmt: skip
    children = []
    for rank in range(processes):
        waiting = "PASSIVE" if processes > 1 else "ACTIVE"
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": waiting}
        if processes > 1:
            environment |= {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes), "RANK": str(rank)}
            environment |= {"LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_PORT)}
        children.append(subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE))
    endings = [(child.communicate()[1], child.returncode) for child in children]
    for printed, code in endings:
        if code:
            raise EovsegError(f"The training run {name!r} failed: {printed.decode(errors='replace')[-500:]}")
    lines = [json.loads(line) for line in (folder / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    later = [line["seconds_per_step"] for line in lines if line["step"] > WARM_UP]
    seconds = sum(later) / len(later)
    batch = json.loads((folder / "run" / "recipe.json").read_text(encoding="utf-8"))["batch"]
    return {"case": name, "processes": processes, "threads": threads, "seconds_per_step": round(seconds, 3),
            "views_per_second": round(batch / seconds, 2), "processor": processor()}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the command; returns the exit code."""
    any_encoding()
    parser = argparse.ArgumentParser(prog="python -m eovseg.benchmark.training", description=__doc__)
    parser.add_argument("data", type=Path, help="folder of XS's sources")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each case, alternately")
    parser.add_argument("--out", type=Path, required=True, help="CSV file to write")
    options = parse_options(parser, argv)

    def run() -> None:
        from eovseg.benchmark.command import write_rows

        rows = []
        for turn in range(options.repeats):
            for name in CASES:
                with tempfile.TemporaryDirectory() as folder:
                    rows.append({"turn": turn, **run_case(name, options.data, Path(folder))})
                print(rows[-1], flush=True)
        write_rows(options.out, rows)

    return exit_code(run)


if __name__ == "__main__":
    sys.exit(main())
