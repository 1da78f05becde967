"""Imports the `app` and `analysis` packages next to `eovseg` in a checkout, never another project's `app`."""

import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path

from eovseg.errors import EovsegError

HOME = Path(__file__).resolve().parent.parent
# Command: (package, extra with its dependencies, help text).
COMMANDS = {
    "page": ("app", "page", "start the web page"),
    "analysis": ("analysis", "notebooks", "draw the paper's figures, and measured speed and memory"),
}
_MARKS = {"app": ("page.py", "stage.js"), "analysis": ("sheets.py", "parts.py")}  # files that identify our packages


def run(command: str, arguments: Sequence[str]) -> int:
    """Runs `page` or `analysis` with its own options; returns the exit code.

    Raises `EovsegError` if the package or one of its dependencies is missing.
    """
    package, extra, _ = COMMANDS[command]
    if not _is_ours(package):
        raise EovsegError(
            f"`eovseg {command}` is only available in a checkout of the project. Clone it and run `make`, or run "
            f'pip install -e ".[{extra}]" in it.'
        )
    for name in _MARKS:
        if _is_ours(name):
            load(name)
    try:
        return int(importlib.import_module(f"{package}.__main__").main(list(arguments)))
    except ModuleNotFoundError as error:
        raise EovsegError(
            f'`eovseg {command}` needs the package {error.name}. In the checkout, run pip install -e ".[{extra}]".'
        ) from error


def load(name: str) -> None:
    """Makes `import name` resolve to the package next to `eovseg`, even if another package has this name.

    Its `__init__` is empty and is not executed. Raises `EovsegError` if the package is missing.
    """
    if not _is_ours(name):
        raise EovsegError(f'The package {name} of EOV-Seg is not in "{HOME}". Use a checkout of the project.')
    folder = str(HOME / name)
    present = sys.modules.get(name)
    if present is not None and list(getattr(present, "__path__", ())) == [folder]:
        return
    for module in [module for module in sys.modules if module.split(".")[0] == name]:
        del sys.modules[module]
    spec = ModuleSpec(name, None, is_package=True)
    spec.submodule_search_locations = [folder]
    sys.modules[name] = module_from_spec(spec)


def _is_ours(name: str) -> bool:
    return all((HOME / name / mark).is_file() for mark in _MARKS[name])
