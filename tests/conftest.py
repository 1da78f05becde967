"""Common fixtures: separate caches, no access to hubs, and a browser if one is installed."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests import unavailable

if TYPE_CHECKING:
    from eovseg.predictor import Predictor

# Set before Gradio or a hub client is imported: tests must not write to the user's caches or contact a hub.
_SCRATCH = tempfile.mkdtemp(prefix="eovseg-tests-")
os.environ["EOVSEG_CACHE"] = _SCRATCH
os.environ["GRADIO_TEMP_DIR"] = f"{_SCRATCH}/gradio"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_OFFLINE"] = "1"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def pytest_unconfigure() -> None:
    shutil.rmtree(_SCRATCH, ignore_errors=True)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `-n 2`, each file runs in one process because its tests share fixtures; all browser tests share one, too."""
    from xdist.scheduler import LoadFileScheduling

    class FilesAndOneBrowser(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = str(super()._split_scope(nodeid))
            return "page" if file.endswith(("_browser.py", "test_visitors.py", "test_container.py")) else file

    return FilesAndOneBrowser(config, log)


# A shell's background jobs ignore Ctrl-C, and so would the commands that the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def xs() -> "Predictor":
    """The shipped XS in float32 on the CPU, shared by all tests that do not modify it."""
    import eovseg

    return eovseg.load("xs", device="cpu")


@pytest.fixture(scope="session")
def xs_float64() -> "Predictor":
    """The same in float64."""
    import eovseg

    return eovseg.load("xs", device="cpu", dtype="float64")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Headless Chromium. If it is not installed, the test is skipped, or fails in continuous integration."""
    path = os.environ.get("EOVSEG_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        unavailable.skip(f"no browser found: install one of {', '.join(BROWSERS)}, or set EOVSEG_CHROMIUM to its path")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield chromium
        chromium.close()
