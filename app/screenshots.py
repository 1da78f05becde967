"""`python -m app.screenshots`: writes screenshots of every tab, light, dark and narrow, to assets/screenshots.

This process serves the page with the XS model that ships with the project. The browser is the installed Chromium, or
the one that EOVSEG_CHROMIUM names. `make screenshots` runs this command.
"""

import argparse
import io
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from eovseg.errors import any_encoding, parse_options

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FOLDER = Path("assets/screenshots")
QUALITY = 70  # JPEG quality: text stays sharp, and all the files together take a few megabytes
TIMEOUT = 180_000  # milliseconds; every tab runs the model, which is slow on two busy cores
SETTLE_MILLISECONDS = 700  # milliseconds to wait for fonts, canvases and transitions


@dataclass(frozen=True)
class Viewport:
    """A width in CSS pixels and a colour scheme."""

    name: str
    width: int
    dark: bool = False


@dataclass(frozen=True)
class Shot:
    """A tab, and the selector that must match before the screenshot is taken."""

    name: str
    title: str
    ready: str


VIEWPORTS = (Viewport("light", 1280), Viewport("dark", 1280, dark=True), Viewport("narrow", 360))
SHOTS = (
    Shot("result", "Segment", ".stage .chip"),
    Shot("segment", "Segment", ".stage .why h3"),
    Shot("vas", "VAS", "#vas-weights figure"),
    Shot("tdee", "TDEE", "#tdee-routers .tracks"),
    Shot("clustering", "Clustering", "#clustering-grid .cells"),
    Shot("decoder", "Decoder", "#decoder-strip .film"),
    Shot("speed", "Speed", "#speed-times .whole"),
)


@contextmanager
def page_address() -> Iterator[str]:
    """Serves the page with XS within the block, and yields its URL."""
    import eovseg
    from app.page import Page
    from app.server import served

    with served(Page(eovseg.load("xs", device="cpu")), server_name="127.0.0.1", quiet=True) as demo:
        yield str(demo.local_url)


def browser_path() -> str | None:
    """The path of the Chromium browser to use; None if none is installed."""
    return os.environ.get("EOVSEG_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)


def enter(tab: Any, title: str) -> None:
    """Opens a tab of the page, from the overflow menu if the window is narrow."""
    seen = [one for one in tab.locator(f"button[role=tab]:text-is('{title}')").all() if one.is_visible()]
    if seen:
        seen[0].click()
    else:
        tab.click(".overflow-menu > button")
        tab.click(f".overflow-dropdown button:has-text('{title}')")


def pin(tab: Any) -> None:
    """Clicks the first thing of the legend, so that the screenshot shows what a click does."""
    tab.locator(".stage .group", has_text="Things").locator(".chip").first.click()


def photograph(browser: Any, address: str, viewport: Viewport, shots: Sequence[Shot], folder: Path) -> list[Path]:
    """Writes the screenshots of one window size and colour scheme.

    Raises Playwright's `TimeoutError` if a tab does not appear.
    """
    context = browser.new_context(
        viewport={"width": viewport.width, "height": 900}, color_scheme="dark" if viewport.dark else "light"
    )
    files = []
    try:
        tab = context.new_page()
        tab.set_default_timeout(TIMEOUT)
        tab.goto(address)
        tab.wait_for_selector(".stage[data-ready]")
        for shot in shots:
            enter(tab, shot.title)
            if shot.name == "segment":
                pin(tab)
            tab.wait_for_selector(shot.ready)
            tab.mouse.move(0, 0)
            tab.evaluate("document.activeElement?.blur()")
            tab.wait_for_timeout(SETTLE_MILLISECONDS)
            file = folder / f"{shot.name}-{viewport.name}.jpg"
            with Image.open(io.BytesIO(tab.screenshot(full_page=True))) as picture:
                picture.convert("RGB").save(file, quality=QUALITY, optimize=True, progressive=True)
            files.append(file)
    finally:
        context.close()
    return files


def parser() -> argparse.ArgumentParser:
    """The command-line options."""
    options = argparse.ArgumentParser(prog="python -m app.screenshots", description="Writes screenshots of every tab.")
    options.add_argument("--out", type=Path, default=FOLDER, help=f"folder for the files (default: {FOLDER})")
    options.add_argument("--tabs", nargs="+", choices=[shot.name for shot in SHOTS], help="only these tabs")
    options.add_argument(
        "--looks",
        nargs="+",
        choices=[viewport.name for viewport in VIEWPORTS],
        help="only these window sizes and colour schemes",
    )
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the screenshots; without a browser, prints one sentence and returns 2."""
    any_encoding()
    options = parse_options(parser(), arguments)
    path = browser_path()
    if path is None:
        names = ", ".join(BROWSERS)
        print(f"No browser found: install one of {names}, or set EOVSEG_CHROMIUM to the path of one.", file=sys.stderr)
        return 2
    from playwright.sync_api import sync_playwright

    options.out.mkdir(parents=True, exist_ok=True)
    shots = [shot for shot in SHOTS if not options.tabs or shot.name in options.tabs]
    with page_address() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        for viewport in VIEWPORTS:
            if options.looks and viewport.name not in options.looks:
                continue
            begin = time.perf_counter()
            for file in photograph(browser, address, viewport, shots, options.out):
                print(f"{file}: {file.stat().st_size / 1000:.0f} kB")
            print(f"{viewport.name}: {time.perf_counter() - begin:.0f} s")
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
