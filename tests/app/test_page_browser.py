"""The page as a visitor meets it, in Chromium: over the fake predictor, so that every result is known."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from eovseg.assets import asset_path

pytestmark = pytest.mark.browser
SLOW = 60_000  # milliseconds; two busy cores are slow


class Visit:
    """One tab on the page, and what a visitor does in it."""

    def __init__(self, browser: Any, address: str, width: int = 1280, dark: bool = False) -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light", accept_downloads=True
        )
        self.tab = self.context.new_page()
        self.tab.set_default_timeout(SLOW)
        self.complaints: list[str] = []
        self.tab.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.on("dialog", lambda dialog: (self.complaints.append("a dialog opened"), dialog.dismiss()))
        self.tab.goto(address)
        self.tab.wait_for_selector(".stage[data-ready]")

    @property
    def token(self) -> str:
        return str(self.tab.get_attribute(".stage", "data-ready"))

    @property
    def names(self) -> list[str]:
        return sorted(self.tab.locator(".stage .chip span").all_inner_texts())

    def changes(self, action: Callable[[], Any]) -> None:
        """Do `action` and wait for a new result."""
        before = self.token
        action()
        self.tab.wait_for_function("before => document.querySelector('.stage').dataset.ready !== before", arg=before)

    def words(self, text: str) -> None:
        self.tab.fill("#words textarea", text)
        self.tab.press("#words textarea", "Enter")

    def upload(self, path: Path) -> None:
        self.tab.click("#photo button[aria-label='Remove Image']")
        self.tab.set_input_files("#photo input[type=file]", str(path))


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Visit]:
    visit = Visit(browser, address)
    yield visit
    visit.context.close()
    assert visit.complaints == []


def test_a_result_is_there_at_start(visit: Visit) -> None:
    assert {"bus 1", "bus 2", "sky", "road"} <= set(visit.names)
    assert visit.tab.locator(".stage tbody tr").count() == len(visit.names)
    assert "words" in visit.tab.inner_text(".stage .timing")
    assert visit.tab.get_attribute(".stage .photo", "alt").startswith("Photo with")


def test_photo_words_and_one_word_more(visit: Visit, tmp_path: Path) -> None:
    photo = tmp_path / "mine.png"
    Image.new("RGB", (320, 200), (40, 90, 160)).save(photo)
    visit.changes(lambda: visit.upload(photo))
    assert visit.tab.evaluate("document.querySelector('.stage .photo').naturalWidth") == 320
    visit.changes(lambda: visit.words("sky: stuff; sea: stuff"))
    assert visit.names == ["sea", "sky"]
    visit.changes(lambda: visit.words("sky: stuff; sea: stuff; boat"))
    assert visit.names == ["boat 1", "boat 2", "sea", "sky"]
    assert visit.tab.inner_text(".stage .timing").startswith("photo kept · 3 words")


def test_hover_and_click_on_the_picture(visit: Visit) -> None:
    visit.changes(lambda: visit.words("sky: stuff; boat"))
    box = visit.tab.locator(".picture").bounding_box()
    assert box is not None
    centre = (box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.35)
    visit.tab.mouse.move(*centre)
    assert visit.tab.inner_text(".stage .tip b") == "boat 1"
    assert visit.tab.locator(".stage tr.on th").inner_text() == "boat 1"
    visit.tab.mouse.click(*centre)
    visit.tab.mouse.move(5, 5)
    assert visit.tab.locator(".stage .chip[aria-pressed=true] span").all_inner_texts() == ["boat 1"]
    visit.tab.mouse.click(*centre)
    visit.tab.mouse.move(5, 5)
    assert visit.tab.locator(".stage .chip.on").count() == 0


def test_legend_by_keyboard(visit: Visit) -> None:
    chip = visit.tab.locator(".stage .chip").first
    chip.focus()
    visit.tab.keyboard.press("Enter")
    assert chip.get_attribute("aria-pressed") == "true"
    visit.tab.keyboard.press("Escape")
    assert chip.get_attribute("aria-pressed") == "false"


def test_bad_input_is_one_sentence_and_the_result_stays(visit: Visit, tmp_path: Path) -> None:
    token, names = visit.token, visit.names
    visit.words(" ; ")
    message = visit.tab.wait_for_selector(".toast-body")
    assert "The vocabulary is empty" in message.inner_text()
    visit.tab.click("[data-testid=toast-close]")
    visit.tab.wait_for_selector(".toast-body", state="detached")
    text = tmp_path / "text.jpg"
    text.write_text("just text")
    visit.tab.fill("#words textarea", "sky")
    visit.upload(text)
    message = visit.tab.wait_for_selector(".toast-body")
    assert "text.jpg" in message.inner_text()
    assert (visit.token, visit.names) == (token, names)


def test_html_in_words_is_text(visit: Visit) -> None:
    evil = "<img src=x onerror=alert(1)>"
    visit.changes(lambda: visit.words(f"{evil}: stuff; <b>bold</b>; <b>bold</b>"))
    assert evil in visit.names
    assert visit.tab.locator(".stage img[src=x], .stage b b, .notes b").count() == 0
    assert "<b>bold</b>" in visit.tab.inner_text(".ask .notes")
    visit.words("<b>x</b>" * 60)
    message = visit.tab.wait_for_selector(".toast-body")
    assert "<b>x</b>" in message.inner_text()
    assert visit.tab.locator(".toast-body b").count() == 0


def test_an_example_brings_photo_and_words(visit: Visit) -> None:
    visit.changes(lambda: visit.tab.click("#examples button[title='bear']"))
    assert visit.tab.input_value("#words textarea") == "bear; grass"
    assert "grass" in visit.names


def test_a_class_list_with_own_words(visit: Visit) -> None:
    visit.tab.fill("#words textarea", "unicorn")
    visit.tab.click("#preset input")
    visit.changes(lambda: visit.tab.click("text=Pascal VOC · 20 classes"))
    assert any(name.startswith("unicorn") for name in visit.names)
    assert any(name.startswith("aeroplane") for name in visit.names)


def test_downloads(visit: Visit) -> None:
    visit.changes(lambda: visit.words("sky: stuff"))
    with visit.tab.expect_download() as waiting:
        visit.tab.click(".downloads :text('Overlay')")
    with Image.open(waiting.value.path()) as overlay:
        assert overlay.size == Image.open(asset_path("photos/bus-street.jpg")).size


def test_opacity_and_names_act_at_once(visit: Visit) -> None:
    slider = visit.tab.locator(".stage input[type=range]")
    slider.focus()
    visit.tab.keyboard.press("Home")
    assert visit.tab.evaluate("getComputedStyle(document.querySelector('.stage .overlay')).opacity") == "0"
    visit.tab.click(".stage .switch input")
    opacity = "getComputedStyle(document.querySelector('.stage .names')).opacity"
    visit.tab.wait_for_function(f"{opacity} === '0'")


def test_two_tabs_do_not_mix(browser: Any, visit: Visit, address: str) -> None:
    other = Visit(browser, address)
    other.changes(lambda: other.words("sea: stuff"))
    visit.changes(lambda: visit.words("sky: stuff"))
    assert (visit.names, other.names) == (["sky"], ["sea"])
    other.context.close()


@pytest.mark.parametrize("dark", [False, True])
def test_nothing_sticks_out_at_360_pixels(browser: Any, address: str, dark: bool) -> None:
    narrow = Visit(browser, address, width=360, dark=dark)
    assert narrow.tab.evaluate("document.documentElement.scrollWidth") == 360
    box = narrow.tab.locator(".picture").bounding_box()
    assert box is not None and box["width"] > 320
    assert narrow.tab.locator("#go").bounding_box()["height"] >= 44
    narrow.context.close()
    assert narrow.complaints == []
