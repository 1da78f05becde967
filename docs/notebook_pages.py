"""The notebooks as pages of the manual, with a link to Colab and with the outputs of a run.

python docs/notebook_pages.py run      runs those notebooks that changed, or whose code did, into docs/notebooks
python docs/notebook_pages.py stamp    writes the install cell, and the link to Colab, into notebooks/*.ipynb
python docs/notebook_pages.py check    fails where a notebook has outputs

Git keeps the notebooks without outputs.
"""

import hashlib
import os
import sys
import time
from pathlib import Path
from queue import Empty
from typing import Any

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "notebooks").glob("*.ipynb"))
PAGES = ROOT / "docs" / "notebooks"
CELL_SECONDS = 900
# Where the project is published, as OWNER/NAME on GitHub. It is not published yet: this is the one place to say so,
# and `python docs/notebook_pages.py stamp` writes it into the notebooks. Until then they have no link to Colab.
REPOSITORY = "OWNER/eov-seg-explorer"

PICTURE = "![Open in Colab](https://img.shields.io/badge/open%20in-Colab-f9ab00)"
INSTALL = f"""# Only on Colab: fetch the project and install what it needs (two minutes). Elsewhere this does nothing.
import sys
from pathlib import Path

if "google.colab" in sys.modules:
    if not Path("/content/eov-seg-explorer").exists():
        !git clone --quiet --depth 1 https://github.com/{REPOSITORY} /content/eov-seg-explorer
        %pip install --quiet /content/eov-seg-explorer ipywidgets matplotlib plotly scikit-learn
    sys.path.insert(0, "/content/eov-seg-explorer")"""
MARK = "install"


class PatientClient(NotebookClient):
    """An nbclient that polls for replies every second.

    If nbclient sends a widget's state on the socket it is waiting on, it misses the socket's only wake-up; without
    polling, a reply that has already arrived would be seen only when the cell times out (nbclient issue 312).
    """

    async def async_start_new_kernel_client(self) -> Any:
        kernel = await super().async_start_new_kernel_client()
        receive = kernel.shell_channel.get_msg

        async def get_message(timeout: float | None = None) -> dict[str, Any]:
            end = float("inf") if timeout is None else time.monotonic() + timeout
            while True:
                try:
                    return await receive(timeout=max(0.0, min(1.0, end - time.monotonic())))
                except Empty:
                    if time.monotonic() >= end:
                        raise

        kernel.shell_channel.get_msg = get_message
        return kernel


def prepare(pages: Path) -> None:
    """Writes a page for each notebook, with the outputs of its last run as long as its code cells are the same."""
    pages.mkdir(exist_ok=True)
    for source in SOURCES:
        page, book = pages / source.name, nbformat.read(source, as_version=4)
        if page.is_file():
            known = nbformat.read(page, as_version=4)
            if known.metadata.get("source") == _digest(source):
                continue
            if _code(known) == _code(book):
                outputs = iter([cell.outputs for cell in known.cells if cell.cell_type == "code"])
                for cell in _shown_code(book):
                    cell.outputs = next(outputs)
                book.metadata["tree"] = known.metadata.get("tree")
        _write(_as_page(book), source, page)


def run(pages: Path) -> None:
    """Runs the notebooks from top to bottom and keeps the outputs; skips those that would give the same."""
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    tree = hashlib.sha256()
    for layer in ("eovseg", "analysis", "assets/weights"):
        for path in sorted((ROOT / layer).rglob("*")):
            if path.suffix in (".py", ".safetensors"):
                tree.update(path.read_bytes())
    pages.mkdir(exist_ok=True)
    for source in SOURCES:
        page, book = pages / source.name, nbformat.read(source, as_version=4)
        if page.is_file():
            known = nbformat.read(page, as_version=4)
            if known.metadata.get("tree") == tree.hexdigest() and _code(known) == _code(book):
                continue
        started = time.monotonic()
        PatientClient(
            book, timeout=CELL_SECONDS, kernel_name="python3", resources={"metadata": {"path": str(ROOT / "notebooks")}}
        ).execute()
        book.metadata["tree"] = tree.hexdigest()
        _write(_as_page(book), source, page)
        print(f"{source.name}: run in {time.monotonic() - started:.0f} s", flush=True)


def _shown_code(book: Any) -> list[Any]:
    return [cell for cell in book.cells if cell.cell_type == "code" and MARK not in cell.metadata.get("tags", ())]


def _code(book: Any) -> list[str]:
    return [cell.source for cell in _shown_code(book)]


def _as_page(book: Any) -> Any:
    """The notebook as the manual shows it: no install cell, no widgets, no picture from elsewhere."""
    book.cells = [cell for cell in book.cells if MARK not in cell.metadata.get("tags", ())]
    for cell in book.cells:
        if cell.cell_type == "markdown":
            cell.source = cell.source.replace("](../assets/weights/README.md)", "](../generated/model-card.md)")
            cell.source = cell.source.replace("](../docs/", "](../").replace("](../assets/", "](../../assets/")
            cell.source = cell.source.replace(f"[{PICTURE}]", "[Open in Colab]")
        else:
            cell.outputs = [_without_widget(output) for output in cell.get("outputs", ())]
    book.metadata.pop("widgets", None)
    return book


def _without_widget(output: Any) -> Any:
    data = output.get("data", {})
    if "application/vnd.jupyter.widget-view+json" in data:
        note = "Here the notebook shows controls; run it to use them."
        return nbformat.v4.new_output("display_data", data={"text/plain": note})
    data.pop("application/vnd.plotly.v1+json", None)
    return output


def _write(book: Any, source: Path, page: Path) -> None:
    book.metadata["source"] = _digest(source)
    nbformat.write(book, page)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def stamped(book: Any, name: str) -> Any:
    """The notebook with the install cell after its first text, and with the badge once `REPOSITORY` is set."""
    title, _, rest = book.cells[0].source.partition("\n")
    lines = [line for line in rest.strip().split("\n") if not line.startswith("[![Open in Colab]")]
    colab = f"https://colab.research.google.com/github/{REPOSITORY}/blob/main/notebooks/{name}"
    badge = [] if REPOSITORY.startswith("OWNER/") else [f"[{PICTURE}]({colab})", ""]
    book.cells[0].source = "\n".join([title, "", *badge, "\n".join(lines).strip()])
    book.cells = [cell for cell in book.cells if MARK not in cell.metadata.get("tags", ())]
    cell = nbformat.v4.new_code_cell(INSTALL, id="install", metadata={"tags": [MARK]})
    book.cells.insert(1, cell)
    return book


def stamp() -> None:
    """Writes the install cell, and the badge, into every notebook of the checkout."""
    for source in SOURCES:
        nbformat.write(stamped(nbformat.read(source, as_version=4), source.name), source)


def check() -> None:
    """Exit with a sentence for each notebook that has outputs."""
    books = {source.name: nbformat.read(source, as_version=4) for source in SOURCES}
    kept = [name for name, book in books.items() if any(cell.get("outputs") for cell in book.cells)]
    if kept:
        sys.exit(f"These notebooks have outputs; clear them before you commit: {', '.join(kept)}")


if __name__ == "__main__":
    {"run": lambda: run(PAGES), "stamp": stamp, "check": check}[sys.argv[1]]()
