"""Advice about words in the browser, with the fake predictor."""

import pytest

from tests.app.fake_predictor import SUGGESTED
from tests.app.visit import Visit

pytestmark = pytest.mark.browser


def test_a_button_fills_the_box_with_suggestions(visit: Visit) -> None:
    visit.changes(lambda: visit.tab.click("#advice .suggest"))
    assert visit.tab.input_value("#words textarea") == "unicorn; meadow: stuff; sky"
    assert {name.split()[0] for name in visit.names} == {word for word, _ in SUGGESTED}
    visit.tab.wait_for_selector("#advice .suggest:enabled")


def test_checking_the_words_offers_words_to_add(visit: Visit) -> None:
    evil = "<img src=x onerror=alert(1)>"
    visit.changes(lambda: visit.words(f"{evil}; sky"))
    visit.tab.click("#advice .check")
    said = visit.tab.wait_for_selector("#advice .found li")
    assert evil in said.inner_text() and "win nowhere" in said.inner_text()
    assert visit.tab.locator("#advice img").count() == 0
    visit.tab.click("#advice .word >> text=+ meadow: stuff")
    assert visit.tab.input_value("#words textarea") == f"{evil}; sky; meadow: stuff"
    visit.tab.click("#advice .close")
    assert not visit.tab.locator("#advice .found").is_visible()


def test_a_pinned_segment_shows_likely_words_and_what_would_rename_it(visit: Visit) -> None:
    visit.changes(lambda: visit.words("boat; sky: stuff"))
    visit.tab.locator(".stage .chip", has_text="boat 1").click()
    visit.tab.wait_for_selector(".stage .why .change")
    told = visit.tab.inner_text(".stage .why")
    assert "in 9 of 10 cases: boat, decoy." in told and "“boat” is probably not in this photo" in told
    visit.tab.click(".stage .why .change")
    item = visit.tab.wait_for_selector(".stage .why li")
    assert 'Without "boat"' in item.inner_text()
    visit.tab.locator(".stage .chip", has_text="sky").click()
    visit.tab.wait_for_selector(".stage .why .change")
    assert "not in this photo" not in visit.tab.inner_text(".stage .why")


def test_it_fits_a_narrow_window(visit: Visit) -> None:
    visit.tab.set_viewport_size({"width": 360, "height": 900})
    visit.tab.click("#advice .check")
    visit.tab.wait_for_selector("#advice .found li")
    assert visit.tab.evaluate("document.documentElement.scrollWidth") <= 360
