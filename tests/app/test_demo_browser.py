"""The page as `make demo` serves it, with the shipped XS: from the start to an added word."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from eovseg.assets import asset_path
from tests.app.conftest import free_port
from tests.app.visit import Visit

pytestmark = [pytest.mark.browser, pytest.mark.slow]
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """URL of `python -m app` in a separate process."""
    port = free_port()
    command = [sys.executable, "-m", "app", "--port", str(port)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        try:
            assert server.stdout is not None
            said = []
            for line in server.stdout:
                said.append(line)
                if "The page is at" in line:
                    break
            else:
                pytest.fail(f"The page did not start:\n{''.join(said)}")
            assert "share=True" not in "".join(said)
            yield f"http://127.0.0.1:{port}/"
        finally:
            server.terminate()


def labels(visit: Visit) -> set[str]:
    return set(visit.tab.locator(".stage .details tbody tr td:nth-child(3)").all_inner_texts())


def test_a_visitor_changes_words_and_sees_it(visit: Visit) -> None:
    assert labels(visit), "the page starts with a segmented photo"
    visit.changes(lambda: visit.upload(asset_path("photos/rainy-buses.jpg")))
    visit.changes(lambda: visit.words("road: stuff; tree: stuff; grass: stuff"))
    assert "bus" not in labels(visit) and "road" in labels(visit)
    visit.changes(lambda: visit.words("road: stuff; tree: stuff; grass: stuff; bus: thing"))
    assert "bus" in labels(visit), "the added word is used"
    assert visit.tab.inner_text(".stage .timing").startswith("photo cached · 4 classes")
