"""Implementation of `eovseg benchmark`: measures each case in a new process and appends a row to a CSV."""

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
from itertools import product
from pathlib import Path
from typing import Any

import torch

from eovseg.atomic_files import atomic_file
from eovseg.benchmark.measure import PARTS, Case, measure, measure_difference
from eovseg.errors import ConfigError
from eovseg.loading import chosen_device

# Takes less than half an hour on two cores, because words and sizes are varied for one network only.
QUICK = (
    *(Case(variant, backend, words=150) for variant in ("xs", "s", "m", "l") for backend in ("torch", "openvino")),
    *(Case(variant, "compile", words=150, repeats=2) for variant in ("s", "l")),
    *(Case(variant, backend, "bfloat16") for variant in ("xs", "s", "l") for backend in ("torch", "openvino")),
    *(Case("s", "openvino", words=words) for words in (20, 847, 5000)),
    *(Case("xs", backend, words=50, side=384, repeats=9) for backend in ("torch", "openvino")),
    *(Case("xs", "openvino", words=50, side=side) for side in (512, 1024)),
    *(Case(variant, device="cuda", dtype=dtype) for variant in ("s", "m", "l") for dtype in ("float32", "bfloat16")),
    *(Case(variant, "compile", "bfloat16", device="cuda") for variant in ("s", "m", "l")),
)
# CPU instruction sets that determine which dtypes are fast.
INSTRUCTIONS = ("avx512f", "avx512_bf16", "amx_bf16")
_CASE = tuple(field.name for field in fields(Case))


def cases(options: argparse.Namespace) -> list[Case]:
    """The cases chosen by the options; without --variant, `QUICK`. Raises `ConfigError`."""
    if not options.variant:
        return list(QUICK)
    for name in ("words", "side"):
        if min(getattr(options, name)) < 1:
            raise ConfigError(f"--{name} is {min(getattr(options, name))}; give whole numbers of at least 1.")
    if options.repeats < 1:
        raise ConfigError(f"--repeats is {options.repeats}; give at least 1.")
    if not options.device.startswith("cuda"):  # without a GPU, its rows say so
        chosen_device(options.device)
    choices = product(options.variant, options.backend, options.dtype, options.words, options.side)
    return [Case(*choice, options.device, options.repeats) for choice in choices]


def run(options: argparse.Namespace) -> int:
    """Measures the cases that are not yet in the CSV, row by row; returns 1 if a row failed."""
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.one:
        case = Case(**json.loads(options.one))
        print(json.dumps(measure_difference(case) if case.emulated else measure(case)))
        return 0
    rows = _read(options.out)
    done = {tuple(row[name] for name in _CASE) for row in rows}
    failed = 0
    for case in cases(options):
        if tuple(str(value) for value in asdict(case).values()) in done:
            continue
        load = load_average()
        found = _measured(case, options.threads)
        failed += "failed" in found
        rows.append({**{k: str(v) for k, v in asdict(case).items()}, **machine(case.device), **load, **found})
        write_rows(options.out, rows)
        print(_line(case, found), flush=True)
    return int(failed > 0)


def machine(device: str) -> dict[str, Any]:
    """The hardware and software of a row."""
    name = (
        torch.cuda.get_device_name(device) if device.startswith("cuda") and torch.cuda.is_available() else processor()
    )
    return {"hardware": name, "threads": torch.get_num_threads(), "torch": torch.__version__.partition("+")[0]}


def load_average() -> dict[str, float]:
    """The load average of the last minute, for the row measured next; empty on Windows."""
    return {"load average before": round(os.getloadavg()[0], 1)} if hasattr(os, "getloadavg") else {}


def processor() -> str:
    """The processor's name, its number of cores and which of `INSTRUCTIONS` it has."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    flags = next((line for line in lines if line.startswith("flags")), "")
    kinds = [kind for kind in INSTRUCTIONS if f" {kind} " in f"{flags} "]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores ({', '.join(kinds) or 'no AVX-512'})"


def _measured(case: Case, threads: int | None) -> dict[str, Any]:
    """The case's row from a new process, or why there is none."""
    reason = case.unsupported_reason()
    if reason and not (case.emulated and case.backend == "torch" and case.device == "cpu"):
        return {"not run": reason}
    command = [sys.executable, "-m", "eovseg", "benchmark", "--out", os.devnull, "--one", json.dumps(asdict(case))]
    command += ["--threads", str(threads)] if threads else []
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return {"failed": lines[-1] if lines else f"exit code {done.returncode}"}
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {"not run": reason} | row if reason else row


def _line(case: Case, found: dict[str, Any]) -> str:
    name = f"{case.variant} {case.backend} {case.dtype} {case.words} words {case.side} px {case.device}"
    for problem in ("not run", "failed"):
        if problem in found:
            return f"{name}: {problem}: {found[problem]}"
    parts = ", ".join(f"{part} {found[f'ratio {part}']}" for part in (*PARTS, "changed word", "changed alpha"))
    return f"{name}: {found['fast whole (s)']} s, {found['ratio whole']} times as fast as plain ({parts})"


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Writes a CSV with the columns of all rows, atomically."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with atomic_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows(rows)
