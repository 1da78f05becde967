"""The manual is built without warnings, contains every public name, and loads nothing from other servers."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

import eovseg

ROOT = Path(__file__).parents[2]
API = ("api.md", "api-model.md", "api-more.md")


class Page(HTMLParser):
    """The anchors and links of a page, and the resources that a browser would load for it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif "src" in given:
            self.loaded.append(given["src"])
        elif tag == "link" and given.get("rel") in ("stylesheet", "icon", "preload"):
            self.loaded.append(given["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("manual")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-d", str(folder / "trees")]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [*command, str(ROOT / "docs"), str(folder / "html")],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return folder / "html"


@pytest.mark.slow
def test_every_link_inside_the_manual_leads_somewhere(site: Path) -> None:
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    assert len(pages) > 30
    for path, page in pages.items():
        for link in page.links:
            target, _, anchor = link.partition("#")
            if "://" in link or link.startswith(("mailto:", "data:")):
                continue
            file = (path.parent / unquote(target)).resolve() if target else path
            assert file.is_file(), f"{path.relative_to(site)}: {link}"
            if anchor and file in pages:
                assert unquote(anchor) in pages[file].anchors, f"{path.relative_to(site)}: {link}"


@pytest.mark.slow
def test_numbers_and_options_are_not_broken(site: Path) -> None:
    text = (site / "evaluation.html").read_text(encoding="utf-8")
    assert "95\N{NO-BREAK SPACE}% bootstrap" in text
    assert re.search(r'<code class="[^"]*\bunbroken\b[^"]*"><span class="pre">--cost</span>', text)


@pytest.mark.slow
def test_pages_load_nothing_from_other_servers(site: Path) -> None:
    for path in site.rglob("*.html"):
        page = Page(path.read_text(encoding="utf-8"))
        assert [one for one in page.loaded if "//" in one.removeprefix("data:") and not one.startswith("data:")] == []
    for path in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", path.read_text(encoding="utf-8")), path.name


@pytest.mark.slow
def test_every_public_name_is_in_the_reference(site: Path) -> None:
    pages = [(site / name).with_suffix(".html").read_text(encoding="utf-8") for name in API]
    anchors = set[str]().union(*(Page(text).anchors for text in pages))
    assert {f"eovseg.{name}" for name in eovseg.__all__} <= anchors
    for module in documented_modules():
        for name, _ in public(module):
            assert f"{module}.{name}" in anchors, f"{module}.{name}"


def documented_modules() -> Iterator[str]:
    for name in API:
        yield from re.findall(r"automodule:: ([\w.]+)", (ROOT / "docs" / name).read_text(encoding="utf-8"))


def public(module: str) -> Iterator[tuple[str, ast.FunctionDef | ast.ClassDef]]:
    """Public functions and classes defined in a module."""
    path = ROOT / f"{module.replace('.', '/')}.py"
    path = path if path.is_file() else path.with_suffix("") / "__init__.py"
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node.name, node


def test_every_library_module_is_in_the_reference() -> None:
    """Except for modules that only commands use and those on the first page."""
    listed = set(documented_modules())
    shown = {"eovseg.predictor", "eovseg.result", "eovseg.settings", "eovseg.vocabulary"}  # on the first page
    for folder in ("model", "fast", "composition", "evaluation", "formats", "training", "video", "data"):
        for path in (ROOT / "eovseg" / folder).glob("[a-z]*.py"):
            name = f"eovseg.{folder}.{path.stem}"
            if path.stem not in ("command", "commands", "package", "xs_parts"):
                assert name in listed | shown, f"{name} is on none of {', '.join(API)}"


@pytest.mark.parametrize("module", sorted(documented_modules()))
def test_public_names_have_a_docstring(module: str) -> None:
    for name, node in public(module):
        assert ast.get_docstring(node), f"{module}.{name}"


def test_names_of_the_package_are_on_the_first_page() -> None:
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert {name for name in eovseg.__all__ if f":: eovseg.{name}\n" not in text} == set()
