"""Architecture rules: the direction of imports, no machine-specific names in files, no broken links."""

import ast
import itertools
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = ("eovseg", "analysis", "app")  # each may import itself and the layers before it
# The extras of pyproject.toml with the dependencies of a layer and those before it; `dev` is only for tests.
EXTRAS = {
    "eovseg": {"download", "training", "video", "onnx", "openvino", "supervision"},
    "analysis": {"notebooks"},
    "app": {"page", "mcp"},
}
TEXT = {".py", ".md", ".toml", ".txt", ".json", ".yaml", ".yml", ".cff", ".css", ".js", ".html", ".svg", ".ipynb", ""}


def tracked_files() -> list[Path]:
    """Files that git tracks or would add; without git (an unpacked archive), every file of the folder."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    if listing.returncode:
        hidden = [path for path in ROOT.rglob("*") if path.is_file()]
        return [path for path in hidden if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)]
    names = listing.stdout.decode().split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def imported_packages(source: str) -> Iterator[str]:
    """Top-level package of every absolute import in `source`, including imports inside functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


def test_imported_packages_finds_every_form() -> None:
    source = "import app.page as p\nfrom analysis import x\nfrom . import y\ndef f():\n    import gradio\n"
    assert list(imported_packages(source)) == ["app", "analysis", "gradio"]


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_point_one_way(layer: str) -> None:
    forbidden = set(LAYERS[LAYERS.index(layer) + 1 :]) | {"tests"}
    if layer == "eovseg":
        forbidden |= {"gradio", "matplotlib", "plotly"}
    for path in (ROOT / layer).rglob("*.py"):
        wrong = forbidden & set(imported_packages(path.read_text(encoding="utf-8")))
        assert not wrong, f"{path.relative_to(ROOT)} imports {', '.join(sorted(wrong))}"


def module_imports(path: Path, modules: set[str]) -> set[str]:
    """The `modules` that the file imports by name at import time, not inside functions or for type checkers."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {
                name if (name := f"{node.module}.{alias.name}") in modules else node.module for alias in node.names
            }
    return found & modules


def test_no_modules_import_each_other_in_a_circle() -> None:
    paths = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in (ROOT / "eovseg").rglob("*.py")}
    named = {name.removesuffix(".__init__"): path for name, path in paths.items()}
    waiting = {name: module_imports(path, set(named)) - {name} for name, path in named.items()}
    while ready := [name for name, wanted in waiting.items() if not wanted]:
        for name in ready:
            del waiting[name]
        waiting = {name: wanted - set(ready) for name, wanted in waiting.items()}
    assert not waiting, "circular imports of or below these modules"


@pytest.mark.parametrize("layer", LAYERS)
def test_every_import_is_declared(layer: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    assert set(extras) == set().union(*EXTRAS.values()) | {"dev"}
    chosen = sorted(EXTRAS["eovseg"] | EXTRAS[layer])
    requirements = [*project["dependencies"], *itertools.chain(*(extras[name] for name in chosen))]
    declared = {re.split(r"[^\w.-]", line)[0].lower().replace("_", "-") for line in requirements}
    distributions = metadata.packages_distributions()
    missing = {}
    for path in imported_files(layer):
        for name in set(imported_packages(path.read_text(encoding="utf-8"))) - sys.stdlib_module_names - set(LAYERS):
            known = {one.lower().replace("_", "-") for one in distributions.get(name, [name])}
            if not known & declared:
                missing[name] = str(path.relative_to(ROOT))
    missing.pop("playwright", None)  # only for `make screenshots`, which is run in a checkout
    assert not missing, "imported, but not in the dependencies of pyproject.toml"


def imported_files(layer: str) -> set[Path]:
    """The files of a layer; for the page also those of the analysis that it uses, which its extra must cover."""
    files, new = set[Path](), set((ROOT / layer).rglob("*.py"))
    while new:
        files |= new
        names = set(re.findall(r"analysis\.(\w+)", "".join(path.read_text(encoding="utf-8") for path in new)))
        new = {path for name in names if (path := ROOT / "analysis" / f"{name}.py").is_file()} - files
    return files


def test_every_package_is_in_the_wheel() -> None:
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"])
    found = {path.parent.relative_to(ROOT).as_posix().replace("/", ".") for path in (ROOT / "eovseg").rglob("*.py")}
    assert listed == found | {"eovseg.shipped"}


def test_every_file_beside_the_code_is_in_the_wheel() -> None:
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    for path in tracked_files():
        folder = path.relative_to(ROOT).parent
        if folder.parts and folder.parts[0] == "eovseg" and path.suffix != ".py":
            patterns = setuptools["package-data"].get(".".join(folder.parts), [])
            assert any(path.match(pattern) for pattern in patterns), path.relative_to(ROOT)


def test_no_file_names_a_machine() -> None:
    # Split, so that this file does not match.
    absolute = re.compile(r"(?<![\w.$/])/" + r"(?:home|root|Users|mnt|work)/[\w.-]+")
    for path in tracked_files():
        if path.suffix in TEXT and path.stat().st_size < 2_000_000:
            found = absolute.search(path.read_text(encoding="utf-8", errors="ignore"))
            assert not found, f"{path.relative_to(ROOT)} names {found.group()}"


LINKED = ["README.md", "assets/photos/README.md", "assets/weights/README.md", "CHANGELOG.md", "CONTRIBUTING.md"]


@pytest.mark.parametrize("name", [*LINKED, *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))])
def test_links_resolve(name: str) -> None:
    document = ROOT / name
    text = document.read_text(encoding="utf-8")
    headings = {
        re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in headings, f"{name}: no heading for {target}"
        elif "://" not in target:
            assert (document.parent / target.partition("#")[0]).exists(), f"{name}: {target} is missing"


def test_every_shipped_photo_has_its_licence() -> None:
    table = (ROOT / "assets" / "photos" / "README.md").read_text(encoding="utf-8")
    photos = [path.name for path in (ROOT / "assets" / "photos").glob("*.jpg")]
    assert len(photos) == 10
    for name in photos:
        assert re.search(rf"^\| {re.escape(name)} \|.*\| CC BY(-SA)? 2\.0 \|", table, re.MULTILINE), name
