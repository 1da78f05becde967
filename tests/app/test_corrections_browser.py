"""Corrections, words by example and the URL in the browser, with the fake predictor."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from eovseg.word import Word
from tests.app.visit import Visit

pytestmark = pytest.mark.browser


def pin(visit: Visit, name: str) -> None:
    """Pins a segment in the legend."""
    visit.tab.click(f".stage .chip >> text={name}")
    visit.tab.wait_for_selector(".stage .correct .name input:visible")


def test_a_visitor_corrects_a_segment(visit: Visit) -> None:
    visit.changes(lambda: visit.words("sky: stuff; sea: stuff; boat"))
    assert not visit.tab.locator(".correct").is_visible()
    pin(visit, "boat 1")
    assert visit.tab.input_value(".correct input") == "boat" and visit.tab.locator(".correct .split").is_disabled()
    visit.tab.fill(".correct input", "<i>ferry</i>")
    visit.changes(lambda: visit.tab.press(".correct input", "Enter"))
    assert visit.names == ["<i>ferry</i>", "boat", "sea", "sky"]
    visit.tab.wait_for_selector(".stage .why h3 >> text=Why boat?")  # it stays pinned
    assert visit.tab.inner_text(".why .by-hand").startswith(
        "The name “<i>ferry</i>” was given by hand. The model chose “boat”"
    )
    visit.tab.select_option(".correct select", label="boat")
    visit.changes(lambda: visit.tab.click(".correct .merge"))
    assert visit.names == ["<i>ferry</i>", "sea", "sky"]

    # The two parts do not touch, so a click on the lower one allows to split it off.
    visit.tab.keyboard.press("Escape")
    box = visit.tab.locator(".picture").bounding_box()
    assert box is not None
    visit.tab.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.7)
    visit.changes(lambda: visit.tab.click(".correct .split"))
    assert visit.names == ["<i>ferry</i> 1", "<i>ferry</i> 2", "sea", "sky"]
    visit.changes(lambda: visit.tab.click(".correct .delete"))
    assert visit.names == ["<i>ferry</i>", "sea", "sky"]

    assert "<i>ferry</i>" in visit.download("Table").read_text()
    visit.tab.click(".recipe summary")
    assert "result = result.delete(" in visit.tab.inner_text(".recipe code")
    assert "4 corrections" in visit.tab.inner_text(".correct .done")
    visit.tab.evaluate("for (let i = 0; i < 4; i++) document.querySelector('.correct .undo').click()")  # none is lost
    visit.tab.wait_for_selector(".correct", state="hidden")
    assert visit.names == ["boat 1", "boat 2", "sea", "sky"] and not visit.tab.locator(".correct").is_visible()


def test_a_visitor_corrects_with_the_keyboard_only(visit: Visit) -> None:
    visit.changes(lambda: visit.words("sky: stuff; sea: stuff; boat"))
    press = visit.tab.keyboard.press

    def focused(selector: str) -> None:
        visit.tab.wait_for_function("selector => document.activeElement.matches(selector)", arg=selector)

    visit.tab.focus(".stage .chip:has-text('boat 1')")
    press("Enter")
    visit.tab.wait_for_selector(".correct select:enabled")
    visit.tab.focus(".correct select")
    press("ArrowDown")  # a choice alone merges nothing
    assert visit.tab.input_value(".correct select") and visit.names == ["boat 1", "boat 2", "sea", "sky"]
    press("Tab")
    focused(".correct .merge")
    visit.changes(lambda: press("Enter"))
    assert len(visit.names) == 3
    focused(".correct select")
    visit.tab.focus(".correct .delete")
    visit.changes(lambda: press("Space"))
    focused(".correct .undo")
    visit.changes(lambda: press("Enter"))
    focused(".correct .undo")
    visit.changes(lambda: press("Enter"))
    focused(".stage .chip")
    press("Enter")
    visit.tab.wait_for_selector(".stage .why .close")
    for place in (".stage .why .close", ".correct input"):
        visit.tab.focus(place)
        press("Escape")
        focused(".stage .chip")
        press("Enter")
        visit.tab.wait_for_selector(".correct input:visible")


def test_the_keyboard_chooses_the_part_to_split_off(visit: Visit) -> None:
    visit.changes(lambda: visit.words("boat"))
    pin(visit, "boat 1")
    visit.tab.select_option(".correct select", label="boat 2")
    visit.changes(lambda: visit.tab.click(".correct .merge"))
    visit.tab.focus(".stage .picture")
    for _ in range(10):
        visit.tab.keyboard.press("ArrowDown")
    assert visit.tab.locator(".stage .cross").is_visible() and visit.tab.inner_text(".stage .tip b") == "boat"
    visit.tab.keyboard.press("Enter")  # the segment was pinned without a point, so it stays pinned
    visit.changes(lambda: visit.tab.click(".correct .split"))
    assert visit.names == ["boat 1", "boat 2"]
    assert not visit.tab.locator(".stage .cross").is_visible()


def test_a_deleted_segment_is_not_called_not_found(visit: Visit) -> None:
    visit.changes(lambda: visit.words("sky: stuff"))
    pin(visit, "sky")
    visit.changes(lambda: visit.tab.click(".correct .delete"))
    assert visit.names == [] and not visit.tab.locator(".stage .nothing").is_visible()


def test_a_visitor_remembers_a_thing(open_page: Callable[..., Visit], visit: Visit, tmp_path: Path) -> None:
    visit.changes(lambda: visit.words("sky: stuff; boat"))
    for number, name in enumerate(("boat 1", "boat 2"), 1):
        pin(visit, name)
        visit.tab.fill(".correct input", "our boat")
        visit.tab.click(".correct .remember")
        visit.tab.wait_for_selector(f"#remembered small >> text=× {number}")
    assert visit.tab.input_value("#words textarea") == "sky: stuff; boat; our boat.word"
    visit.changes(lambda: visit.tab.click("#examples button[title='bear']"))
    assert visit.tab.input_value("#words textarea") == "sky: stuff; boat; our boat.word", "typed words stay"
    visit.tab.fill("#words textarea", "our boat.word")
    visit.changes(lambda: visit.tab.click("#examples button[title='bear']"))
    assert visit.tab.input_value("#words textarea") == "bear; grass, lawn, meadow; sky; rock; water; our boat.word"
    assert {"grass", "our boat 1", "our boat 2"} <= set(visit.names)
    with visit.tab.expect_download() as waiting:
        visit.tab.click("#remembered [aria-label='Save our boat.word']")
    file = tmp_path / waiting.value.suggested_filename
    waiting.value.save_as(file)
    word = Word.load(file)
    assert (file.name, word.name, len(word.examples)) == ("our boat.word", "our boat", 2)

    other = open_page()
    assert other.tab.locator("#remembered li").count() == 0, "other visitors do not see the words"
    other.tab.set_input_files("#remembered input", str(file))
    other.tab.wait_for_selector("#remembered li >> text=our boat.word")
    other.changes(lambda: other.tab.click("#go"))
    assert "our boat 1" in other.names
    other.tab.click("[aria-label='Forget our boat.word']")
    other.tab.wait_for_selector("#remembered li", state="detached")
    assert "our boat" not in other.tab.input_value("#words textarea")
    file.write_bytes(b"<b>no word</b>")
    other.tab.set_input_files("#remembered input", str(file))
    assert "not a .word file" in other.tab.wait_for_selector(".toast-body").inner_text()


def test_the_url_restores_the_view(open_page: Callable[..., Visit], visit: Visit, tmp_path: Path) -> None:
    assert visit.tab.evaluate("location.search") == "", "the URL changes only when the visitor changes something"
    visit.changes(lambda: visit.tab.click("#examples button[title='bear']"))
    visit.changes(lambda: visit.words("bear; moss & <b>: stuff"))
    pin(visit, "bear 2")
    visit.tab.wait_for_function("location.search.includes('segment=')")
    pinned = open_page(visit.tab.evaluate("location.href"))
    pinned.tab.wait_for_selector(".stage .why h3 >> text=Why bear 2?")
    assert pinned.tab.input_value("#words textarea") == "bear; moss & <b>: stuff"
    pinned.tab.click("#tabs button[role=tab] >> text=Speed")
    pinned.tab.wait_for_function("location.search.includes('tab=speed')")
    there = open_page(pinned.tab.evaluate("location.href"))
    there.tab.wait_for_selector("#tabs button[role=tab][aria-selected=true] >> text=Speed")
    photo = tmp_path / "mine.png"
    Image.new("RGB", (320, 200), (40, 90, 160)).save(photo)
    visit.changes(lambda: visit.upload(photo))
    visit.tab.wait_for_function("location.search === ''")


@pytest.mark.parametrize("dark", [False, True])
def test_nothing_overflows_while_a_segment_is_pinned(open_page: Callable[..., Visit], dark: bool) -> None:
    narrow = open_page(width=360, dark=dark)
    pin(narrow, "bus 1")
    narrow.tab.fill(".correct input", "y" * 200)
    narrow.changes(lambda: narrow.tab.press(".correct input", "Enter"))
    chip = narrow.tab.locator(".stage .chip[aria-pressed=true]").bounding_box()
    assert chip is not None and chip["x"] + chip["width"] <= 360, "a long name is cut off in the legend"
    narrow.tab.fill(".correct input", "our bus")
    narrow.tab.click(".correct .remember")
    narrow.tab.wait_for_selector("#remembered li")
    assert narrow.tab.evaluate("document.documentElement.scrollWidth") == 360
