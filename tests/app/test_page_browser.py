"""The page in Chromium, with the fake predictor so that every result is known."""

import csv
import io
import json
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from app.page import Page
from eovseg.assets import asset_path
from tests.app.visit import Visit

pytestmark = pytest.mark.browser


def test_the_page_starts_with_a_result(visit: Visit) -> None:
    assert {"bus 1", "bus 2", "sky", "road"} <= set(visit.names)
    assert visit.tab.locator(".stage .details tbody tr").count() == len(visit.names)
    assert "classes" in visit.tab.inner_text(".stage .timing")
    assert visit.tab.get_attribute(".stage .photo", "alt").startswith("Photo with")


def test_photo_words_and_an_added_word(visit: Visit, tmp_path: Path) -> None:
    photo = tmp_path / "mine.png"
    Image.new("RGB", (320, 200), (40, 90, 160)).save(photo)
    visit.changes(lambda: visit.upload(photo))
    assert visit.tab.evaluate("document.querySelector('.stage .photo').naturalWidth") == 320
    visit.changes(lambda: visit.words("sky: stuff; sea: stuff"))
    assert visit.names == ["sea", "sky"]
    visit.changes(lambda: visit.words("sky: stuff; sea: stuff; boat"))
    assert visit.names == ["boat 1", "boat 2", "sea", "sky"]
    assert visit.tab.inner_text(".stage .timing").startswith("photo cached · 3 classes")


def test_hover_and_click_on_the_picture(visit: Visit) -> None:
    visit.changes(lambda: visit.words("sky: stuff; boat"))
    box = visit.tab.locator(".picture").bounding_box()
    assert box is not None
    centre = (box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.35)
    visit.tab.mouse.move(*centre)
    assert visit.tab.inner_text(".stage .tip b") == "boat 1"
    assert visit.tab.locator(".stage .details tr.on th").inner_text() == "boat 1"
    visit.tab.mouse.click(*centre)
    visit.tab.mouse.move(5, 5)
    assert visit.tab.locator(".stage .chip[aria-pressed=true] span").all_inner_texts() == ["boat 1"]
    visit.tab.mouse.click(*centre)
    visit.tab.mouse.move(5, 5)
    assert visit.tab.locator(".stage .chip.on").count() == 0
    visit.tab.mouse.click(*centre)
    visit.tab.mouse.move(5, 5)
    visit.tab.keyboard.press("Escape")
    assert visit.tab.locator(".stage .chip.on").count() == 0, "Escape unpins what the mouse has pinned"


def test_legend_by_keyboard(visit: Visit) -> None:
    chip = visit.tab.locator(".stage .chip").first
    chip.focus()
    visit.tab.keyboard.press("Enter")
    assert chip.get_attribute("aria-pressed") == "true"
    visit.tab.keyboard.press("Escape")
    assert chip.get_attribute("aria-pressed") == "false"


def test_bad_input_gets_one_sentence_and_keeps_the_result(visit: Visit, tmp_path: Path) -> None:
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


def test_a_removed_photo_is_not_segmented_again(visit: Visit) -> None:
    token = visit.token
    visit.tab.click("#photo button[aria-label='Remove Image']")
    visit.words("zebra")
    message = visit.tab.wait_for_selector(".toast-body")
    assert "Choose a photo first" in message.inner_text() and visit.token == token


def test_words_that_found_nothing_lead_to_the_check(visit: Visit) -> None:
    assert not visit.tab.locator(".stage .unfound").is_visible()
    visit.changes(lambda: visit.words("<b>boat</b>: thing; sky: stuff"))
    visit.changes(lambda: visit.set("score_threshold", 0.87))
    assert visit.tab.inner_text(".stage .unfound .absent").strip() == "There is little evidence of it in this photo."
    assert visit.tab.inner_text(".stage .unfound").startswith("Nothing found for <b>boat</b>. ")
    visit.tab.click(".stage .unfound button")
    visit.tab.wait_for_selector("#advice .found li")


def test_html_in_words_is_escaped(visit: Visit) -> None:
    evil = "<img src=x onerror=alert(1)>"
    visit.changes(lambda: visit.words(f"{evil}: stuff; <b>bold</b>; <b>bold</b>"))
    assert evil in visit.names
    assert visit.tab.locator(".stage img[src=x], .stage b b, .notes b").count() == 0
    assert "<b>bold</b>" in visit.tab.inner_text(".ask .notes")
    visit.words("<b>x</b>" * 60)
    message = visit.tab.wait_for_selector(".toast-body")
    assert "<b>x</b>" in message.inner_text()
    assert visit.tab.locator(".toast-body b").count() == 0


def test_an_example_sets_photo_and_words(visit: Visit) -> None:
    visit.changes(lambda: visit.tab.click("#examples button[title='bear']"))
    assert visit.tab.input_value("#words textarea") == "bear; grass, lawn, meadow; sky; rock; water"
    assert "grass" in visit.names


def test_a_preset_with_words(visit: Visit) -> None:
    visit.tab.fill("#words textarea", "unicorn")
    visit.tab.click("#preset input")
    visit.changes(lambda: visit.tab.click("text=Pascal VOC · 20 classes"))
    assert any(name.startswith("unicorn") for name in visit.names)
    assert any(name.startswith("aeroplane") for name in visit.names)


def test_downloads(visit: Visit) -> None:
    visit.changes(lambda: visit.words("sky: stuff; boat: thing"))
    with Image.open(asset_path("photos/bus-street.jpg")) as photo:
        size = photo.size
    files = {title: visit.download(title) for title in ("Overlay", "Panoptic PNG", "Panoptic JSON", "Masks", "Table")}
    with Image.open(files["Overlay"]) as overlay, Image.open(files["Panoptic PNG"]) as ids:
        assert overlay.size == ids.size == size
        values = np.asarray(ids).astype(int) @ [1, 256, 65_536]
    panoptic = json.loads(files["Panoptic JSON"].read_text())
    listed = panoptic["annotations"][0]["segments_info"]
    assert {entry["id"]: entry["area"] for entry in listed} == dict(
        zip(*(column.tolist() for column in np.unique(values, return_counts=True)), strict=True)
    )
    masks = json.loads(files["Masks"].read_text())["annotations"]
    assert [int(coco_mask.area(entry["segmentation"])) for entry in masks] == [entry["area"] for entry in listed]
    table = list(csv.DictReader(io.StringIO(files["Table"].read_text())))
    assert [row["name"] for row in table] == ["sky", "boat 1", "boat 2"]
    assert visit.saved_as["Panoptic PNG"] == panoptic["annotations"][0]["file_name"] == "bus-street-panoptic.png"


def test_a_zip_for_a_tool(visit: Visit) -> None:
    visit.tab.click("#tool input")
    visit.tab.click("text=CVAT")
    with zipfile.ZipFile(visit.download("ZIP for this tool")) as packed:
        assert sorted(packed.namelist()) == ["bus-street-cvat.xml", "bus-street.jpg"]
        image = ElementTree.fromstring(packed.read("bus-street-cvat.xml")).find("image")
    assert image is not None and image.get("name") == "bus-street.jpg" and len(image) == len(visit.names)


def test_pictures_follow_the_pinned_segment(visit: Visit) -> None:
    visit.changes(lambda: visit.words("sky: stuff; boat: thing"))
    visit.tab.click(".subject summary")
    visit.tab.wait_for_function("document.querySelectorAll('.subject .card img').length === 5")
    assert "Subject: all things" in visit.tab.inner_text(".subject .hint")
    with visit.tab.expect_download() as waiting:
        visit.tab.click(".subject .card.cutouts")
    assert waiting.value.suggested_filename == "bus-street-cutouts.zip"
    with zipfile.ZipFile(waiting.value.path()) as packed:
        assert packed.namelist() == ["01 sky.png", "02 boat 1.png", "03 boat 2.png"]
    before = visit.tab.get_attribute(".subject .spotlight img", "src")
    visit.tab.click(".stage .chip >> text=boat 2")
    visit.tab.wait_for_selector(".subject .hint >> text=Subject: boat 2")
    assert visit.tab.get_attribute(".subject .spotlight img", "src") != before
    with visit.tab.expect_download() as waiting:
        visit.tab.click(".subject .card.cutouts")
    assert waiting.value.suggested_filename == "bus-street-boat 2-cutout.png"
    with Image.open(waiting.value.path()) as picture:
        assert picture.mode == "RGBA" and np.asarray(picture)[..., 3].max() == 255
    with visit.tab.expect_download() as waiting:
        visit.tab.click(".subject .card.blurred")
    assert waiting.value.suggested_filename == "bus-street-boat 2-blurred.png"
    visit.changes(lambda: visit.words("sea: stuff"))
    visit.tab.wait_for_selector(".subject .hint >> text=Subject: all segments")


def test_a_slider_composes_the_cached_result_again(visit: Visit) -> None:
    visit.changes(lambda: visit.words("sky: stuff; boat: thing"))
    before = visit.picture()
    visit.changes(lambda: visit.set("score_threshold", 0.87))
    assert visit.names == ["sky"] and visit.picture() != before
    assert visit.tab.inner_text(".stage .timing").startswith("photo cached · 2 classes cached")
    visit.tab.click(".recipe summary")
    assert "score_threshold=0.87" in visit.tab.inner_text(".recipe code")
    visit.changes(lambda: visit.tab.click(".panel .reset"))
    assert visit.names == ["boat 1", "boat 2", "sky"]
    visit.changes(lambda: visit.tab.click(".panel >> text=Semantic"))
    assert visit.tab.locator(".panel .slider.unused").count() == 2
    assert 'task="semantic"' in visit.tab.inner_text(".recipe code")


def test_the_table_sorts_by_any_column_and_marks_the_pinned_segment(visit: Visit) -> None:
    visit.changes(lambda: visit.words("sky: stuff; boat: thing; ant: thing"))

    visit.tab.click(".stage thead >> text=Segment")
    assert visit.column(2) == ["ant 1", "ant 2", "boat 1", "boat 2", "sky"]
    visit.tab.click(".stage thead >> text=Segment")
    assert visit.column(2) == ["sky", "boat 2", "boat 1", "ant 2", "ant 1"]
    assert visit.tab.get_attribute(".stage th[data-key=name]", "aria-sort") == "descending"
    visit.tab.click(".stage thead >> text=Score")
    shares = [float(text.rstrip(" %")) for text in visit.column(5)]
    assert shares == sorted(shares, reverse=True)
    visit.tab.click(".stage tbody tr >> text=boat 2 >> nth=0")
    visit.tab.wait_for_selector(".stage .why h3 >> text=Why boat 2?")
    assert visit.tab.locator(".stage .chip[aria-pressed=true]").inner_text() == "boat 2"
    visit.tab.click(".stage .why .close")
    visit.tab.wait_for_selector(".stage .why", state="hidden")


def test_words_as_a_table(visit: Visit) -> None:
    visit.changes(lambda: visit.words("sky: stuff; boat, ship: thing"))
    visit.tab.click(".editor summary")
    names = visit.tab.locator(".editor .name")
    visit.tab.wait_for_function("document.querySelectorAll('.editor .name').length === 2")
    assert visit.tab.locator(".editor .synonyms").nth(1).input_value() == "ship"
    assert visit.tab.locator(".editor .synonyms").nth(0).get_attribute("placeholder") == "clouds"
    visit.changes(lambda: (names.nth(0).fill("sea"), names.nth(0).press("Enter")))
    assert visit.tab.input_value("#words textarea") == "sea: stuff; boat, ship: thing"
    visit.changes(lambda: visit.tab.select_option(".editor tr:nth-child(2) select", "stuff"))
    assert visit.names == ["boat", "sea"]
    visit.tab.click(".editor .add")
    visit.changes(lambda: (names.nth(2).fill("ant"), names.nth(2).press("Enter")))
    assert visit.tab.input_value("#words textarea") == "sea: stuff; boat, ship: stuff; ant: thing"
    visit.changes(lambda: visit.tab.click("[aria-label='Remove boat']"))
    assert visit.names == ["ant 1", "ant 2", "sea"]
    visit.tab.locator("#words textarea").press_sequentially("; yak")
    visit.tab.wait_for_function("document.querySelectorAll('.editor .name').length === 3")
    assert names.nth(2).input_value() == "yak"


def test_a_preset_as_background(visit: Visit) -> None:
    visit.tab.fill("#words textarea", "unicorn: thing; sky: stuff")
    assert not visit.tab.locator("#competes").is_visible()
    visit.tab.click("#preset input")
    visit.changes(lambda: visit.tab.click("text=Cityscapes · 19 classes"))
    visit.changes(lambda: visit.tab.check("#competes input"))
    assert visit.names == ["other", "sky", "unicorn 1", "unicorn 2"]
    assert visit.tab.locator(".legend .group >> text=The rest").count() == 1
    visit.tab.click(".stage .chip >> text=other")
    visit.tab.wait_for_selector(".stage .why h3 >> text=The rest")
    assert "terrain" in visit.tab.inner_text(".stage .why .votes")


def test_a_link_opens_the_same_view(open_page: Callable[..., Visit], visit: Visit) -> None:
    visit.changes(lambda: visit.tab.click("#examples button[title='bear']"))
    visit.changes(lambda: visit.words("bear; moss: stuff"))
    visit.changes(lambda: visit.set("score_threshold", 0.85))
    visit.context.grant_permissions(["clipboard-read", "clipboard-write"])
    visit.tab.click(".recipe summary")
    visit.tab.click(".recipe .link")
    visit.tab.wait_for_selector(".recipe [role=status] >> text=Link copied")
    other = open_page(visit.tab.evaluate("navigator.clipboard.readText()"))
    other.tab.wait_for_function("document.querySelector('#words textarea').value === 'bear; moss: stuff'")
    other.tab.wait_for_function("document.querySelectorAll('.stage .chip').length === 2")
    assert other.names == visit.names
    assert other.tab.input_value("#set-score_threshold") == "0.85"


def test_missing_models_are_grey_with_a_sentence(visit: Visit) -> None:
    models = visit.tab.locator(".panel .models label")
    assert models.count() == 4 and models.locator("input:disabled").count() == 3
    assert "eovseg download l" in models.nth(3).inner_text()


def test_words_in_another_script_get_a_note(visit: Visit) -> None:
    visit.changes(lambda: visit.words("猫; sky"))
    assert "XS reads English words" in visit.tab.inner_text(".ask .notes")


def test_the_other_tabs_do_not_change_the_result(visit: Visit) -> None:
    visit.tab.click("#tabs button[role=tab] >> nth=1")
    visit.tab.wait_for_selector("#stage", state="hidden")
    visit.tab.fill("#words textarea", "sea: stuff; boat")
    visit.changes(lambda: visit.tab.press("#words textarea", "Enter"))
    visit.tab.click("#tabs button[role=tab] >> nth=0")
    visit.tab.wait_for_selector("#stage", state="visible")
    assert visit.names == ["boat 1", "boat 2", "sea"]
    visit.tab.wait_for_function("document.querySelectorAll('.stage .names span').length > 1")


def test_opacity_and_names_take_effect_immediately(visit: Visit) -> None:
    slider = visit.tab.locator(".stage .opacity input")
    slider.focus()
    visit.tab.keyboard.press("Home")
    assert visit.tab.evaluate("getComputedStyle(document.querySelector('.stage .overlay')).opacity") == "0"
    visit.tab.click(".stage .switch input")
    opacity = "getComputedStyle(document.querySelector('.stage .names')).opacity"
    visit.tab.wait_for_function(f"{opacity} === '0'")


def test_a_visitor_who_waits_is_told(
    open_page: Callable[..., Visit], server: tuple[str, Page], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = open_page(), open_page()
    predictor: Any = server[1].start.predictor
    decode, free = predictor.decode, threading.Event()
    monkeypatch.setattr(predictor, "decode", lambda *values, **named: free.wait(60) and decode(*values, **named))
    try:
        first.words("sea: stuff")
        first.tab.wait_for_selector("#stage [data-testid=status-tracker]:not(.hide)", state="attached")
        second.words("sky: stuff")
        notice = second.tab.wait_for_selector("#stage [data-waits]", state="attached")
        assert notice.get_attribute("data-waits") == "Waiting for a request before yours …"
    finally:
        free.set()
    second.tab.wait_for_function("document.querySelectorAll('.stage .chip').length === 1")
    assert second.names == ["sky"] and second.tab.locator("#stage [data-waits]").count() == 0


def test_two_browser_tabs_are_independent(open_page: Callable[..., Visit], visit: Visit) -> None:
    other = open_page()
    other.changes(lambda: other.words("sea: stuff"))
    visit.changes(lambda: visit.words("sky: stuff"))
    assert (visit.names, other.names) == (["sky"], ["sea"])


@pytest.mark.parametrize("dark", [False, True])
def test_nothing_overflows_at_360_pixels(open_page: Callable[..., Visit], dark: bool) -> None:
    narrow = open_page(width=360, dark=dark)
    assert narrow.tab.evaluate("document.documentElement.scrollWidth") == 360
    box = narrow.tab.locator(".picture").bounding_box()
    assert box is not None and box["width"] > 320
    assert narrow.tab.locator("#go").bounding_box()["height"] >= 44
