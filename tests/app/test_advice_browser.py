"""Advice about words in the browser, with the fake predictor."""

import pytest

from app.page import Page
from eovseg.errors import EovsegError
from tests.app.visit import Visit

pytestmark = pytest.mark.browser


def test_a_button_adds_suggestions_to_the_box(visit: Visit) -> None:
    visit.tab.fill("#words textarea", "heaven, sky: stuff")
    visit.changes(lambda: visit.tab.click("#advice .suggest"))
    assert visit.tab.input_value("#words textarea") == "heaven, sky: stuff; unicorn; meadow"
    assert {name.split()[0] for name in visit.names} == {"heaven", "unicorn", "meadow"}
    visit.tab.wait_for_selector("#advice .suggest:enabled")


def test_a_button_is_free_again_after_an_error(
    visit: Visit, server: tuple[str, Page], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise EovsegError("There are no suggestions today.")

    monkeypatch.setattr(server[1].start.predictor, "suggest", fail)
    visit.tab.focus("#advice .suggest")
    visit.tab.keyboard.press("Enter")
    visit.tab.wait_for_selector(".toast-body >> text=no suggestions today")
    visit.tab.wait_for_selector("#advice .suggest:enabled", timeout=20_000)
    assert visit.tab.inner_text("#advice .suggest") == "Suggest words from the photo"
    assert visit.tab.evaluate("document.activeElement.className") == "suggest", "it has the focus again"


def test_checking_the_words_offers_words_to_add(visit: Visit) -> None:
    evil = "<img src=x onerror=alert(1)>"
    visit.tab.fill("#words textarea", f"{evil}; sky")  # without pressing Segment
    visit.tab.click("#advice .check")
    said = visit.tab.wait_for_selector("#advice .found li")
    assert evil in said.inner_text() and "win nowhere" in said.inner_text()
    assert visit.tab.locator("#advice img").count() == 0
    visit.tab.click("#advice .word >> text=+ meadow")
    assert visit.tab.input_value("#words textarea") == f"{evil}; sky; meadow"
    visit.tab.click("#advice .close")
    assert not visit.tab.locator("#advice .found").is_visible()


def test_a_check_disappears_with_every_change(visit: Visit) -> None:
    changes = (
        lambda: visit.tab.type("#words textarea", "s"),
        lambda: visit.tab.click("#examples button[title='bear']"),
        lambda: visit.set("score_threshold", 0.1),
        lambda: visit.tab.click("#go"),
    )
    for change in changes:
        visit.tab.click("#advice .check")
        visit.tab.wait_for_selector("#advice .found")
        change()
        visit.tab.wait_for_selector("#advice .found", state="hidden")
    visit.tab.fill("#words textarea", " ; ")
    visit.tab.click("#advice .check")
    visit.tab.wait_for_selector("#advice .found >> text=The vocabulary is empty")
    visit.tab.wait_for_selector("#advice .check:enabled")


def test_a_pinned_segment_shows_likely_words_and_what_would_rename_it(visit: Visit) -> None:
    visit.changes(lambda: visit.words("boat; sky: stuff"))
    visit.tab.locator(".stage .chip", has_text="boat 1").click()
    visit.tab.wait_for_selector(".stage .why .change")
    told = visit.tab.inner_text(".stage .why")
    assert "in 9 of 10 cases: boat, decoy." in told
    visit.tab.add_style_tag(content=".stage .why { max-height: 120px !important }")
    visit.tab.click(".stage .why .change")
    item = visit.tab.wait_for_selector(".stage .why li")
    assert 'Without "boat"' in item.inner_text()
    inside = "([why, item]) => item.getBoundingClientRect().bottom <= why.getBoundingClientRect().bottom"
    assert visit.tab.evaluate(inside, [visit.tab.query_selector(".stage .why"), item]), "the answer is scrolled to"


def test_a_late_answer_about_another_segment_is_not_shown(visit: Visit) -> None:
    visit.changes(lambda: visit.words("boat; sky: stuff"))
    visit.tab.locator(".stage .chip", has_text="boat 1").click()
    visit.tab.wait_for_selector(".stage .why .change")
    late = "document.dispatchEvent(new CustomEvent('eovseg-why', {detail: {name: 'sky', segment: 1, words: []}}))"
    visit.tab.evaluate(late)
    assert not visit.tab.locator(".stage .why").is_visible()


def test_it_fits_a_narrow_window(visit: Visit) -> None:
    visit.tab.set_viewport_size({"width": 360, "height": 900})
    visit.tab.click("#advice .check")
    visit.tab.wait_for_selector("#advice .found li")
    assert visit.tab.evaluate("document.documentElement.scrollWidth") <= 360
