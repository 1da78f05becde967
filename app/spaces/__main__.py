"""`python -m app.spaces FOLDER`: writes the files of a Docker Space, copied from this clone of the project."""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from eovseg.errors import any_encoding, parse_options

ROOT = Path(__file__).parent.parent.parent
TAKEN = (
    "Dockerfile", ".dockerignore", "requirements.txt", "pyproject.toml", "LICENSE", "NOTICE", "eovseg", "analysis",
    "app", "assets",
)  # fmt: skip


def write(folder: Path) -> list[Path]:
    """Copies the Dockerfile's sources and the Space's README to the new or empty `folder`; raises `OSError`."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FileExistsError(f'"{folder}" is not empty; give a new folder.')
    for name in TAKEN:
        source, target = ROOT / name, folder / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        else:
            shutil.copyfile(source, target)
    shutil.copyfile(Path(__file__).with_name("README.md"), folder / "README.md")
    return sorted(folder.iterdir())


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the folder; if that fails, prints one sentence and returns 2."""
    any_encoding()
    options = argparse.ArgumentParser(prog="python -m app.spaces", description="Writes a Hugging Face Space.")
    options.add_argument("folder", type=Path)
    try:
        for path in write(parse_options(options, arguments).folder):
            print(path)
    except OSError as error:
        print(f"The Space cannot be written: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
