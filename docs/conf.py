"""Sphinx's settings for the manual, which `make docs` builds. Neither building nor reading it needs a network."""

import os
import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import command_line  # noqa: E402
import fine_tuning_table  # noqa: E402
import notebook_pages  # noqa: E402

project = "EOV-Seg Explorer"
copyright = "the EOV-Seg Explorer contributors, Apache-2.0"  # Sphinx's name
version = release = re.search(  # type: ignore[union-attr]
    r'__version__ = "([^"]+)"', (HERE.parent / "eovseg" / "__init__.py").read_text(encoding="utf-8")
)[1]
extensions = ["myst_nb", "sphinx.ext.autodoc"]
exclude_patterns = ["_build", "generated/options.md", "generated/fine-tuning.md"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}

myst_enable_extensions = ["deflist", "attrs_inline"]
myst_heading_anchors = 4
# `make docs` runs the notebooks before Sphinx does (notebook_pages.py); Sphinx shows what they left.
nb_execution_mode = "off"
nb_ipywidgets_js: dict[str, Any] = {}  # else a page with widgets would load scripts from the network
nb_merge_streams = True
# Widgets, which a page without a kernel cannot show; a class that is shown as eovseg's and as its module's.
suppress_warnings = ["mystnb.unknown_mime_type", "ref.python"]

default_role = "code"
autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False  # those of torch are in another markup
python_use_unqualified_type_names = True
add_module_names = False
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"EOV-Seg Explorer {version}"
html_static_path = ["static"]
html_css_files = ["manual.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = True

# Files elsewhere in the checkout that are pages of the manual too, by the page's name.
CHECKOUT_PAGES = {
    "model-card": "assets/weights/README.md",
    "ablations": "assets/weights/ablations/README.md",
    "twenty-photos": "assets/evaluation/xs-twenty-photos.md",
    "contributing": "CONTRIBUTING.md",
    "security": "SECURITY.md",
    "code-of-conduct": "CODE_OF_CONDUCT.md",
    "changelog": "CHANGELOG.md",
}
_MODULE = re.compile(r"\[([^\]]+)\]\(\.\./((?:eovseg|analysis)/[\w/]+)\.py\)")
_LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")


def relinked(text: str, folder: Path, page: Path) -> str:
    """Markdown whose links count from `folder`, with links that count from `page` and lead to pages where there are."""
    pages = {(HERE.parent / file).resolve(): f"generated/{name}.md" for name, file in CHECKOUT_PAGES.items()}
    pages |= {source.resolve(): f"notebooks/{source.name}" for source in notebook_pages.SOURCES}

    def link(found: re.Match[str]) -> str:
        target = (folder / found[1]).resolve()
        target = HERE / pages[target] if target in pages else target
        return f"]({os.path.relpath(target, page.parent)}{found[2] or ''})"

    return _LINK.sub(link, text)


def write_checkout_pages() -> None:
    """Copies the files of `CHECKOUT_PAGES` into the manual, with links as seen from there."""
    for name, file in CHECKOUT_PAGES.items():
        source, page = HERE.parent / file, HERE / "generated" / f"{name}.md"
        text = relinked(source.read_text(encoding="utf-8"), source.parent, page)
        if not page.is_file() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")


def lead_to_pages(app: Any, name: str, source: list[str]) -> None:
    """Makes a page's link to a file of the checkout lead to the page that is made of it, and to a module to its API."""
    page = HERE / f"{name}.md"
    if page.is_file():
        text = _MODULE.sub(lambda found: f"{{py:mod}}`{found[1]} <{found[2].replace('/', '.')}>`", source[0])
        source[0] = relinked(text, page.parent, page)


_LITERAL = re.compile(r"(`[^`]+`)")
_ESCAPED = re.compile(r"([*|_\\])")


def markup(text: str) -> str:
    """One line of a docstring, which is plain text with code in backticks, as reStructuredText."""
    pieces = _LITERAL.split(text)
    made = ""
    for code, following in zip(pieces[1::2], pieces[2::2], strict=True):
        made += f"`{code}`" + ("\\ " if following[:1].isalnum() else "") + _ESCAPED.sub(r"\\\1", following)
    return _ESCAPED.sub(r"\\\1", pieces[0]) + made


def plain_docstring(app: Any, what: str, name: str, obj: object, options: Any, lines: list[str]) -> None:
    """Makes Sphinx read our docstrings: indented blocks are shown as they are, everything else is running text."""
    made: list[str] = []
    block = False
    for line in lines:
        indented = line.startswith("    ")
        if indented and not block:
            made += ["", "::", ""]
        begins = line.startswith("- ") and made and made[-1] and not made[-1].startswith(("- ", "  "))
        if begins or (block and line and not indented):
            made.append("")
        block = indented or (block and not line)
        made.append(line if block else markup(line))
    lines[:] = made


LONG_WORD = 36  # characters; a shorter one fits the narrowest screen
_UNIT = re.compile(r"(?<=\d) (?=%|(?:s|MB|GB|M)\b)")


def keep_together(app: Any, document: Any) -> None:
    """Keeps on one line: numbers with their units, and words of code, such as "--option".

    Long words, and those in titles, may be broken.
    """
    for text in list(document.findall(nodes.Text)):
        if not isinstance(text.parent, nodes.literal | nodes.literal_block):
            text.parent.replace(text, nodes.Text(_UNIT.sub("\N{NO-BREAK SPACE}", text)))
    for code in document.findall(nodes.literal):
        if max(map(len, code.astext().split()), default=0) < LONG_WORD and not isinstance(code.parent, nodes.title):
            code["classes"].append("unbroken")


def setup(app: Any) -> None:
    """Writes the pages that come from the code before Sphinx looks for pages."""
    command_line.write(HERE / "generated" / "options.md")
    fine_tuning_table.write(HERE / "generated" / "fine-tuning.md")
    write_checkout_pages()
    notebook_pages.prepare(HERE / "notebooks")
    app.connect("source-read", lead_to_pages)
    app.connect("doctree-read", keep_together)
    app.connect("autodoc-process-docstring", plain_docstring)
