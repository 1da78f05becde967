"""`python -m app.screenshots`: every tab as a visitor meets it, light, dark and narrow, into assets/screenshots.

The page is served by this process with the model that ships, and photographed by a Chromium that is already installed
(EOVSEG_CHROMIUM names another one). `make screenshots` runs it.
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

from eovseg.errors import any_encoding

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FOLDER = Path("assets/screenshots")
QUALITY = 70  # of the JPEG files: text stays sharp, and all together stay below a few megabytes
PATIENCE = 180_000  # milliseconds; every tab runs the model, and two busy cores are slow
SETTLED = 700  # milliseconds in which fonts, canvases and transitions come to rest


@dataclass(frozen=True)
class Look:
    """How the page is looked at; `width` in CSS pixels."""

    name: str
    width: int
    dark: bool = False


@dataclass(frozen=True)
class Shot:
    """A tab, and what must be there before the picture is taken."""

    name: str
    title: str
    ready: str


LOOKS = (Look("light", 1280), Look("dark", 1280, dark=True), Look("narrow", 360))
SHOTS = (
    Shot("segment", "Segment", ".stage .why h3"),
    Shot("vas", "VAS", "#vas-weights figure"),
    Shot("tdee", "TDEE", "#tdee-routers .tracks"),
    Shot("clustering", "Clustering", "#clustering-grid .cells"),
    Shot("decoder", "Decoder", "#decoder-strip .film"),
    Shot("speed", "Speed", "#speed-times .whole"),
)


@contextmanager
def page_address() -> Iterator[str]:
    """Address of a server of the page over XS."""
    import eovseg
    from app.page import Page
    from app.server import served

    with served(Page(eovseg.load("xs", device="cpu")), server_name="127.0.0.1", quiet=True) as demo:
        yield str(demo.local_url)


def browser_path() -> str | None:
    """The Chromium that takes the pictures."""
    return os.environ.get("EOVSEG_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)


def enter(tab: Any, title: str) -> None:
    """Open a tab of the page, from the menu behind the dots where the window is narrow."""
    seen = [one for one in tab.locator(f"button[role=tab]:text-is('{title}')").all() if one.is_visible()]
    if seen:
        seen[0].click()
    else:
        tab.click(".overflow-menu > button")
        tab.click(f".overflow-dropdown button:has-text('{title}')")


def pin(tab: Any) -> None:
    """Click the smallest thing of the legend, so that the picture shows what a click does."""
    tab.locator(".stage .group", has_text="Things").locator(".chip").first.click()


def photograph(browser: Any, address: str, look: Look, shots: Sequence[Shot], folder: Path) -> list[Path]:
    """The files of one look; raises Playwright's `TimeoutError` where a tab does not come."""
    context = browser.new_context(
        viewport={"width": look.width, "height": 900}, color_scheme="dark" if look.dark else "light"
    )
    files = []
    try:
        tab = context.new_page()
        tab.set_default_timeout(PATIENCE)
        tab.goto(address)
        tab.wait_for_selector(".stage[data-ready]")
        for shot in shots:
            enter(tab, shot.title)
            if shot.name == "segment":
                pin(tab)
            tab.wait_for_selector(shot.ready)
            tab.mouse.move(0, 0)
            tab.evaluate("document.activeElement?.blur()")
            tab.wait_for_timeout(SETTLED)
            file = folder / f"{shot.name}-{look.name}.jpg"
            with Image.open(io.BytesIO(tab.screenshot(full_page=True))) as picture:
                picture.convert("RGB").save(file, quality=QUALITY, optimize=True, progressive=True)
            files.append(file)
    finally:
        context.close()
    return files


def parser() -> argparse.ArgumentParser:
    """The command line's options."""
    options = argparse.ArgumentParser(prog="python -m app.screenshots", description="Pictures of every tab.")
    options.add_argument("--out", type=Path, default=FOLDER, help=f"folder for the files (default: {FOLDER})")
    options.add_argument("--tabs", nargs="+", choices=[shot.name for shot in SHOTS], help="only these")
    options.add_argument("--looks", nargs="+", choices=[look.name for look in LOOKS], help="only these")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the pictures; 2 and one sentence where there is no browser."""
    any_encoding()
    options = parser().parse_args(arguments)
    path = browser_path()
    if path is None:
        names = ", ".join(BROWSERS)
        print(f"No browser found: install one of {names}, or name one in EOVSEG_CHROMIUM.", file=sys.stderr)
        return 2
    from playwright.sync_api import sync_playwright

    options.out.mkdir(parents=True, exist_ok=True)
    shots = [shot for shot in SHOTS if not options.tabs or shot.name in options.tabs]
    with page_address() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        for look in LOOKS:
            if options.looks and look.name not in options.looks:
                continue
            begin = time.perf_counter()
            for file in photograph(browser, address, look, shots, options.out):
                print(f"{file}: {file.stat().st_size / 1000:.0f} kB")
            print(f"{look.name}: {time.perf_counter() - begin:.0f} s")
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
