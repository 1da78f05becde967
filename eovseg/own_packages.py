"""The page and the analysis of a checkout, found by their place beside `eovseg`: other projects have an `app` too."""

import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path

from eovseg.errors import EovsegError

HOME = Path(__file__).resolve().parent.parent
# The package, the extra that brings what it needs, and what it is for.
COMMANDS = {
    "page": ("app", "page", "open the page in the browser"),
    "analysis": ("analysis", "notebooks", "draw the paper's figures, and speed and memory as measured"),
}
_MARKS = {"app": ("page.py", "stage.js"), "analysis": ("sheets.py", "parts.py")}  # files that tell ours from others


def run(command: str, arguments: Sequence[str]) -> int:
    """Run `page` or `analysis` with its own options; returns the exit code.

    Raises `EovsegError` where the package is not there, or one that it needs.
    """
    package, extra, _ = COMMANDS[command]
    if not _is_ours(package):
        raise EovsegError(
            f"`eovseg {command}` comes with a checkout of the project, not with the package: clone it and run `make`, "
            f'or in it pip install -e ".[{extra}]".'
        )
    for name in _MARKS:
        if _is_ours(name):
            load(name)
    try:
        return int(importlib.import_module(f"{package}.__main__").main(list(arguments)))
    except ModuleNotFoundError as error:
        raise EovsegError(
            f'`eovseg {command}` needs the package {error.name}; in the checkout: pip install -e ".[{extra}]".'
        ) from error


def load(name: str) -> None:
    """Let `import name` mean the package beside `eovseg`, whatever else has this name.

    Its own `__init__` holds no code and is not run. Raises `EovsegError` where the package is not there.
    """
    if not _is_ours(name):
        raise EovsegError(f'The package {name} of EOV-Seg is not in "{HOME}" beside eovseg, as in a checkout.')
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
