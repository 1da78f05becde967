"""The guided tour, step by step."""

from collections.abc import Callable

import pytest

from tests.app.visit import Visit

pytestmark = pytest.mark.browser
STEPS = 8


@pytest.mark.parametrize("width", [1280, 360])
def test_the_tour_visits_every_part_and_changes_nothing(open_page: Callable[..., Visit], width: int) -> None:
    visit = open_page(width=width)
    names, token = visit.names, visit.token
    assert not visit.tab.locator(".tour").is_visible()
    visit.tab.click(".tour-start")
    seen = []
    for step in range(STEPS):
        card = visit.tab.locator(".tour")
        assert card.locator(".count").inner_text() == f"Step {step + 1} of {STEPS}"
        visit.tab.wait_for_selector(".toured")  # marked in the next animation frame
        assert visit.tab.locator(".toured").count() == 1
        seen.append(visit.tab.locator("#tabs [role=tab][aria-selected=true]").first.inner_text())
        box = card.bounding_box()
        assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= width
        visit.tab.keyboard.press("ArrowRight")
    assert seen == ["Segment"] * 4 + ["VAS", "TDEE", "Decoder", "Segment"]
    assert not visit.tab.locator(".tour").is_visible() and visit.tab.locator(".toured").count() == 0
    assert (visit.names, visit.token) == (names, token)


def test_back_and_escape(visit: Visit) -> None:
    visit.tab.click(".tour-start")
    visit.tab.click(".tour .next")
    visit.tab.keyboard.press("ArrowLeft")
    assert visit.tab.inner_text(".tour .count").startswith("Step 1")
    assert visit.tab.locator(".tour .back").is_disabled()
    visit.tab.keyboard.press("Escape")
    assert not visit.tab.locator(".tour").is_visible()
    assert visit.tab.evaluate("document.activeElement.className") == "tour-start"
