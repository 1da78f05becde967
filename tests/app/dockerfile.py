"""Runs the steps of a Dockerfile in a plain folder, for machines without a container engine.

COPY copies what .dockerignore does not exclude, ENV sets variables, and CMD and HEALTHCHECK are returned for the tests
to run. RUN and USER are only read: packages come from the environment of the tests, whose versions are compared.
"""

import json
import re
import shlex
import shutil
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


@dataclass
class Built:
    """The outcome of the steps."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    runs: list[str] = field(default_factory=list)
    user: str = "root"
    ports: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)


def steps(dockerfile: Path) -> list[tuple[str, str]]:
    """(instruction, rest) of each step, with continued lines joined."""
    text = re.sub(r"\\\n", " ", dockerfile.read_text(encoding="utf-8"))
    lines = [line.strip() for line in text.splitlines()]
    return [(line.split()[0].upper(), line.partition(" ")[2]) for line in lines if line and not line.startswith("#")]


def ignored(root: Path, name: str) -> bool:
    """Whether .dockerignore, which lists exceptions only, excludes `name` from the build."""
    lines = (root / ".dockerignore").read_text(encoding="utf-8").split()
    return "*" in lines and f"!{name}" not in lines


def build(root: Path, folder: Path) -> Built:
    """Runs the Dockerfile of `root` in `folder`; raises `AssertionError` for a step that would fail."""
    made = Built(folder)
    for instruction, rest in steps(root / "Dockerfile"):
        if instruction == "COPY":
            *sources, target = rest.split()
            for source in sources:
                assert not ignored(root, source), f"{source} is excluded by .dockerignore"
                assert (root / source).exists(), f"there is no {source} to copy"
                place = (folder / target / source) if target.endswith(("/", ".")) else folder / target
                copy(root / source, place)
        elif instruction == "ENV":
            made.environment |= dict(part.split("=", 1) for part in shlex.split(rest))
        elif instruction == "RUN":
            made.runs.append(rest)
        elif instruction == "USER":
            made.user = rest
        elif instruction == "EXPOSE":
            made.ports += rest.split()
        elif instruction == "CMD":
            made.command = json.loads(rest)
        elif instruction == "HEALTHCHECK":
            made.health = json.loads(rest.partition("CMD ")[2])
        else:
            assert instruction in ("FROM", "ARG", "WORKDIR"), f"unknown instruction: {instruction}"
    return made


def copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"), dirs_exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
