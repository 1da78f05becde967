"""Start-up time: `import eovseg` and the help of every command load neither torch nor its dependencies."""

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import eovseg
from eovseg import own_packages, video
from eovseg.cli import COMMANDS

ROOT = Path(__file__).parent.parent
PACKAGES = ("eovseg", "analysis", "app")
SLOW = {
    "torch", "torchvision", "timm", "open_clip", "transformers", "safetensors", "scipy", "matplotlib", "plotly",
    "gradio", "IPython",
}  # fmt: skip
OTHERS = {
    "timm", "torchvision", "open_clip", "transformers", "torch._dynamo", "sympy", "scipy.ndimage", "scipy.special",
}  # fmt: skip
# Runs --help of each program, given by its arguments of `python -m`, and reports which of SLOW are loaded.
HELP = """
import contextlib, io, runpy, sys
for line in sys.stdin.read().splitlines():
    sys.argv = line.split()
    shown = io.StringIO()
    try:
        with contextlib.redirect_stdout(shown):
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        print(line, "did not end")
    except SystemExit as end:
        if end.code or not shown.getvalue().startswith("usage: "):
            print(line, "failed with", end.code)
    for name in sorted(set({slow}) & set(sys.modules)):
        print(line, "loads", name)
"""


def programs() -> list[str]:
    """All programs for `python -m`."""
    found = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if path.name == "__main__.py" or '__name__ == "__main__"' in path.read_text(encoding="utf-8"):
                found.append(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__"))
    return found


def test_help_does_not_load_torch() -> None:
    lines = [f"{program} --help" for program in programs()]
    lines += [f"eovseg {command} --help" for command in (*COMMANDS, *own_packages.COMMANDS)]
    assert len(lines) > 28
    done = subprocess.run(
        [sys.executable, "-c", HELP.replace("{slow}", repr(SLOW))],
        input="\n".join(lines), cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout, done.returncode) == ("", 0), done.stderr


@pytest.mark.parametrize(
    ("code", "not_loaded"),
    [
        ("import eovseg; assert 'numpy' not in sys.modules; eovseg.Vocabulary.read('dog; sky: stuff')", SLOW),
        ("import analysis", {*SLOW, "sklearn"}),
        ("import eovseg.overlay; eovseg.overlay._drawable_name('天空', 1)", {"matplotlib"}),
    ],
)
def test_importing_loads_only_what_is_used(code: str, not_loaded: set[str]) -> None:
    code = f"import sys; {code}; print(*sorted({not_loaded} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("package", [eovseg, video], ids=lambda package: package.__name__)
def test_the_lazy_names_are_exported(package: ModuleType) -> None:
    assert set(package.__all__) <= set(dir(package))
    for name in package.__all__:
        assert getattr(package, name) is vars(package)[name], "it is cached"
    with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'nothing'"):
        package.nothing  # noqa: B018


def test_the_first_result_of_xs_needs_no_other_implementation() -> None:
    code = (
        "import sys, eovseg; from eovseg.assets import asset_path;"
        "eovseg.load('xs', device='cpu')(asset_path('photos/bear.jpg'), 'bear; grass: stuff');"
        f"print(*sorted({OTHERS} & set(sys.modules)))"
    )
    environment = {**os.environ, "EOVSEG_CACHE": os.devnull + "/none"}  # forces the words to be encoded
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(("given", "wanted"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_commands_let_waiting_threads_sleep(given: str | None, wanted: str) -> None:
    """Decided before torch is loaded, which reads it once."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment |= {} if given is None else {"OMP_WAIT_POLICY": given}
    code = (
        "import os, sys\n"
        "from {module} import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: print('torch' in sys.modules, os.environ['OMP_WAIT_POLICY'])"
    )
    for module in ("eovseg.cli", "app.__main__"):
        command = [sys.executable, "-c", code.replace("{module}", module)]
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.stdout.splitlines()[-1] == f"False {wanted}", done.stderr[-500:]
