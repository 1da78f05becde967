"""Accessibility of the page, and its divider, in Chromium with the fake predictor."""

from collections.abc import Callable

import pytest

from tests.app.readability import faint_texts, missed_by_keyboard, unnamed
from tests.app.visit import Visit

pytestmark = pytest.mark.browser


def everything_open(visit: Visit) -> None:
    """Opens all collapsible sections and pins a segment, so that the whole tab Segment is visible."""
    for fold in (".editor summary", ".panel .terms summary", ".recipe summary"):
        visit.tab.click(fold)
    visit.tab.wait_for_selector(".editor .name")
    visit.tab.locator(".stage .chip").first.click()


@pytest.mark.parametrize("dark", [False, True])
def test_text_is_readable(open_page: Callable[..., Visit], dark: bool) -> None:
    visit = open_page(dark=dark)
    everything_open(visit)
    visit.tab.wait_for_timeout(600)  # milliseconds for colour transitions to end
    assert faint_texts(visit.tab) == []


def test_faint_text_and_missing_names_are_noticed(visit: Visit) -> None:
    """The checks of this file find planted faults."""
    body = "<p style='color: #999; background: #fff'>faint</p><img src='data:,' width=9 height=9><button></button>"
    visit.tab.evaluate("body => { const node = document.createElement('div'); node.innerHTML = body; "
                       "document.body.append(node); }", body)  # fmt: skip
    assert "faint" in [text.split(":")[0] for text in faint_texts(visit.tab)]
    assert [text[:4] for text in unnamed(visit.tab)] == ["<img", "<but"]
    visit.complaints.clear()  # of the empty picture


def test_pictures_and_controls_have_names(visit: Visit) -> None:
    everything_open(visit)
    assert unnamed(visit.tab) == []


def test_the_tab_key_reaches_every_control(visit: Visit) -> None:
    everything_open(visit)
    assert missed_by_keyboard(visit.tab) == []


def test_the_divider_reveals_the_photo(visit: Visit) -> None:
    cut = "getComputedStyle(document.querySelector('.stage .overlay')).clipPath"
    assert not visit.tab.locator(".stage .grip").is_visible()
    whole = visit.tab.evaluate(cut)
    visit.tab.locator(".stage .divide input").focus()
    visit.tab.keyboard.press("End")
    assert visit.tab.evaluate(cut) != whole
    visit.tab.keyboard.press("Home")
    assert visit.tab.evaluate(cut) == whole and not visit.tab.locator(".stage .grip").is_visible()
    visit.tab.locator(".stage .divide input").fill("50")
    before = visit.tab.locator(".stage .picture").screenshot()  # also scrolls to it
    grip, picture = (visit.tab.locator(f".stage .{name}").bounding_box() for name in ("grip", "picture"))
    assert grip is not None and picture is not None
    visit.tab.mouse.move(grip["x"] + grip["width"] / 2, grip["y"] + 40)
    visit.tab.mouse.down()
    visit.tab.mouse.move(picture["x"] + picture["width"] * 0.8, grip["y"] + 40)
    visit.tab.mouse.up()
    assert float(visit.tab.locator(".stage .divide input").input_value()) == pytest.approx(80, abs=1)
    assert visit.tab.locator(".stage .picture").screenshot() != before
    assert visit.tab.locator(".stage .chip[aria-pressed=true]").count() == 0, "dragging the grip does not pin a segment"
