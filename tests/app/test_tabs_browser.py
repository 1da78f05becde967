"""The tabs in Chromium, with the shipped XS."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

import eovseg
from app.examples import EXAMPLES
from app.page import Page
from app.screenshots import SHOTS, VIEWPORTS, photograph
from app.screenshots import enter as open_tab
from app.screenshots import main as screenshots
from app.tabs.tdee import ABLATIONS, WHAT_IS_SHOWN, ablation_file
from eovseg.assets import asset_path
from eovseg.presets import is_thing
from tests.app.conftest import serving
from tests.app.readability import faint_texts, unnamed
from tests.app.visit import Visit

pytestmark = [pytest.mark.browser, pytest.mark.slow]
SLOW = 180_000  # milliseconds; every tab runs the model, which is slow on two busy cores
TITLES = {"vas": "VAS", "tdee": "TDEE", "clustering": "Clustering", "decoder": "Decoder", "speed": "Speed"}
READY = {
    "vas": "#vas-stage .compare[data-ready]",
    "tdee": "#tdee-stage .compare[data-ready]",
    "clustering": "#clustering-grid .cells",
    "decoder": "#decoder-strip .film",
    "speed": "#speed-times .whole",
}
ABLATION_FILES = [ablation_file(name) for name in ABLATIONS]  # looked up before the server patches the function
WORDS = re.split("[;,] ", EXAMPLES["bus-street.jpg"])  # of the photo that the page opens with
EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """URL of a server of the page with the real XS."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.tabs.clustering.hub_weights", lambda _: None)
        patch.setattr("app.tabs.tdee.ablation_file", lambda _: None)
        with serving(Page(eovseg.load("xs", device="cpu"))) as demo:
            yield demo.local_url


@pytest.fixture
def visit(open_page: Callable[..., Visit]) -> Visit:
    return open_page(timeout=SLOW)


def enter(visit: Visit, name: str) -> None:
    """Opens a tab and waits for its content."""
    open_tab(visit.tab, TITLES[name])
    visit.tab.wait_for_selector(READY[name])


def changed(visit: Visit, selector: str, what: str, action: Callable[[], Any]) -> None:
    """Runs `action` and waits until `what`, a JavaScript expression of `node`, changes for an element."""
    read = f"(node => String({what}))(document.querySelector(selector))"
    before = visit.tab.evaluate(f"selector => {read}", selector)
    action()
    visit.tab.wait_for_function(f"([selector, before]) => {read} !== before", arg=[selector, before])


def choose(visit: Visit, box: str, text: str) -> None:
    """Types into a Gradio dropdown and takes the choice that it offers, or the text itself."""
    visit.tab.fill(f"{box} input", text)
    visit.tab.press(f"{box} input", "Enter")


def test_vas(visit: Visit) -> None:
    enter(visit, "vas")
    left, right = (f"#vas-stage img.{side}" for side in ("left", "right"))
    assert visit.tab.get_attribute(left, "src") != visit.tab.get_attribute(right, "src")
    changed(visit, left, "node.src", lambda: choose(visit, "#vas-word", "bus"))
    visit.tab.wait_for_selector("#vas-focus h3:has-text('“bus”')")
    assert visit.tab.locator("#vas-focus .bars li").count() == 3
    assert "before VAS" in visit.tab.inner_text("#vas-focus") and "%" in visit.tab.inner_text("#vas-focus")
    assert "“bus”" in visit.tab.get_attribute(left, "alt")
    visit.tab.wait_for_selector("#vas-pixel h3")
    pair = visit.tab.locator("#vas-stage .pair")
    changed(visit, "#vas-pixel h3", "node.textContent", lambda: pair.click(position={"x": 30, "y": 20}))
    assert visit.tab.locator("#vas-pixel .bars li").count() >= 5
    pair.focus()
    visit.tab.keyboard.press("ArrowDown")
    changed(visit, "#vas-pixel h3", "node.textContent", lambda: visit.tab.keyboard.press("Enter"))
    slider = visit.tab.locator("#vas-stage input[type=range]")
    slider.focus()
    changed(visit, left, "getComputedStyle(node).clipPath", lambda: visit.tab.keyboard.press("End"))
    changed(visit, left, "node.src", lambda: visit.tab.click("#vas-measure label:has-text('Cosine')"))
    assert "cosine" in visit.tab.inner_text("#vas-stage .scale")
    low, high = (float(visit.tab.inner_text(f"#vas-stage .{end}").replace("−", "-")) for end in ("low", "high"))
    assert -1 <= low < high <= 1
    choose(visit, "#vas-word", "zebra")
    visit.tab.wait_for_selector("#vas-focus :text('No segment has the word “zebra”')")


def test_tdee(visit: Visit) -> None:
    enter(visit, "tdee")
    rows = visit.tab.locator("#tdee-stage tbody tr")
    said = visit.tab.inner_text("#tdee-said h3")
    assert said.startswith(f"{rows.count()} of ")
    framed = visit.tab.locator("#tdee-stage .frame b").all_inner_texts()
    numbers = [row.get_attribute("data-number") for row in rows.all()]
    named = [row.locator("td").all_inner_texts() for row in rows.all()]
    things = [any(is_thing([cell]) for cell in cells if cell in WORDS) for cells in named]
    assert framed == [number for number, thing in zip(numbers, things, strict=True) if thing], "only things have frames"
    rows.nth(numbers.index(framed[0])).hover()
    assert visit.tab.locator("#tdee-stage .frame.on b").inner_text() == framed[0]
    visit.tab.click("#tdee-stage .frames input")
    assert not visit.tab.locator("#tdee-stage .frame").first.is_visible()
    assert visit.tab.locator("#tdee-mode input").nth(1).is_disabled()
    assert "eovseg-xs-vas.safetensors" in visit.tab.inner_text("#tdee-missing")
    assert "the same weights without TDEE" in visit.tab.inner_text("#tdee-said")
    segments = visit.tab.locator(".stage tbody tr").count()
    assert visit.tab.locator("#tdee-routers .tracks li").count() == segments


def test_tdee_trained_without(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    assert None not in ABLATION_FILES, "they ship in assets"
    monkeypatch.setattr("app.tabs.tdee.ablation_file", dict(zip(ABLATIONS, ABLATION_FILES, strict=True)).get)
    enter(visit, "tdee")
    assert visit.tab.locator("#tdee-missing p").count() == 0
    right = "#tdee-stage img.right"
    changed(visit, right, "node.src", lambda: visit.tab.click("#tdee-mode label:has-text('Trained without')"))
    assert WHAT_IS_SHOWN["trained"] in visit.tab.inner_text("#tdee-said")
    rows = visit.tab.locator("#tdee-stage tbody tr").count()
    assert 0 < visit.tab.locator("#tdee-stage .frame").count() <= rows


def test_clustering(visit: Visit) -> None:
    enter(visit, "clustering")
    assert visit.tab.locator("#clustering-grid .cells li").count() == 5
    assert visit.tab.locator("#clustering-grid .absent").count() == 3
    cell = visit.tab.inner_text("#clustering-grid .cells li:first-child")
    assert "AMI" in cell and re.search(r"\d m?s\b", cell)
    first = "#clustering-grid .cells img"
    number = visit.tab.locator("#clustering-k input[type=number]")
    changed(visit, first, "node.src", lambda: (number.fill("3"), number.press("Enter")))
    changed(visit, first, "node.src", lambda: visit.tab.click("#clustering-view label:nth-of-type(2)"))
    assert "Principal components" in visit.tab.get_attribute(first, "alt")


def test_decoder_follows_segment_and_words(visit: Visit) -> None:
    enter(visit, "decoder")
    strip = "#decoder-strip"
    assert visit.tab.locator(f"{strip} .film > li").count() == 4
    assert "100 % IoU" in visit.tab.inner_text(f"{strip} .film > li:last-child")
    assert visit.tab.locator(f"{strip} .film > li:last-child .bars").count() == 2
    assert visit.tab.locator(f"{strip} .kernels").count() == 3
    assert visit.tab.locator(f"{strip} .kernels >> nth=0 >> i").count() == 64
    assert visit.tab.locator(f"{strip} .kernels .own").count() == 3
    changed(visit, f"{strip} p", "node.textContent", lambda: choose(visit, "#decoder-segment", "bus"))
    assert "drew bus" in visit.tab.inner_text(f"{strip} p")
    changed(visit, f"{strip} p", "node.textContent", lambda: visit.words("sky: stuff; road: stuff; motor coach"))
    assert "drew bus" not in visit.tab.inner_text(strip)


def test_speed(visit: Visit) -> None:
    enter(visit, "speed")
    text = visit.tab.inner_text("#speed-times")
    for part in ("image encoder", "VAS", "decoder layer 3", "ensemble and segments", "One run on"):
        assert part in text
    assert visit.tab.locator("#speed-times .whole i").count() == visit.tab.locator("#speed-times .bars li").count()
    visit.tab.click("#speed-again")
    visit.tab.wait_for_selector("#speed-times :text('Median of 3 runs')")


def test_html_in_words_is_escaped_in_every_tab(visit: Visit) -> None:
    visit.changes(lambda: visit.words(f"{EVIL}: stuff; {EVIL} bus; sky: stuff"))
    for name in ("vas", "tdee", "decoder"):
        enter(visit, name)
    visit.tab.wait_for_selector("#vas-pixel h3", state="attached")
    assert EVIL in visit.tab.text_content("#tdee-routers") + visit.tab.text_content("#decoder-strip")
    assert visit.tab.locator("img[src=x]").count() == 0


@pytest.mark.parametrize("dark", [False, True])
def test_tabs_fit_360_pixels(open_page: Callable[..., Visit], dark: bool) -> None:
    narrow = open_page(width=360, dark=dark, timeout=SLOW)
    for name in TITLES:
        enter(narrow, name)
        assert narrow.tab.evaluate("document.documentElement.scrollWidth") == 360, name
        assert unnamed(narrow.tab) == [], name


@pytest.mark.parametrize("dark", [False, True])
def test_text_of_the_tabs_is_readable(open_page: Callable[..., Visit], dark: bool) -> None:
    visit = open_page(dark=dark, timeout=SLOW)
    for name in TITLES:
        enter(visit, name)
        visit.tab.wait_for_selector("[data-testid=status-tracker]:not(.hide)", state="hidden")
        visit.tab.wait_for_timeout(500)  # milliseconds for colour transitions to end
        assert faint_texts(visit.tab) == [], name


def test_screenshots(
    browser: Any, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    narrow = VIEWPORTS[-1]
    for file in photograph(browser, address, narrow, (SHOTS[0], SHOTS[5]), tmp_path):
        with Image.open(file) as picture:
            assert picture.width == narrow.width < picture.height
        file.unlink()
    monkeypatch.setattr("app.screenshots.browser_path", lambda: None)
    assert screenshots(["--out", str(tmp_path)]) == 2
    assert "No browser found" in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def client(address: str) -> Client:
    return Client(address, verbose=False, httpx_kwargs={"timeout": 120})


def test_the_calls_of_the_manual(client: Client) -> None:
    """Every endpoint, called with `gradio_client`: returns numbers, then files."""
    photo, words = handle_file(str(asset_path("photos/bear.jpg"))), "bear; grass: stuff"
    vas, files = client.predict(photo, words, word="bear", x=200, y=150, api_name="/vas")
    assert 0 < vas["share_on_segments"]["after"] <= 1 and vas["pixel"]["x"] == 200
    assert {score["word"] for score in vas["competition"]} >= {"bear", "grass"}
    assert sorted(Path(file).name for file in files) == ["after.png", "before.png", "maps.npz"]
    after = next(file for file in files if file.endswith("after.png"))
    with Image.open(after) as made, Image.open(asset_path("photos/bear.jpg")) as given:
        assert made.size == given.size
    tdee, files = client.predict(photo, words, api_name="/tdee")
    assert tdee["mode"] == "off" and tdee["routers"] and len(files) == 2
    clustering, files = client.predict(photo, words, k=4, api_name="/clustering")
    assert len(clustering["cells"]) == len(files) == 5 and len(clustering["missing"]) == 3
    decoder, files = client.predict(photo, words, api_name="/decoder")
    assert decoder["name"] in decoder["segments"] and len(files) == 4
    speed, files = client.predict(photo, words, api_name="/speed")
    assert speed["total_milliseconds"] == pytest.approx(sum(part["milliseconds"] for part in speed["parts"]))
    assert files == []


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("/vas", {"word": "bear; grass"}, "Give exactly one word"),
        ("/vas", {"x": 99999}, "outside 0 to"),
        ("/vas", {"measure": "<b>"}, "measure"),
        ("/vas", {"x": "1"}, "whole number"),
        ("/vas", {"model": "xxl"}, "no model"),
        ("/tdee", {"mode": "trained"}, "are missing"),
        ("/tdee", {"mode": ["off"]}, "mode"),
        ("/clustering", {"k": 1000}, "outside 2 to 12"),
        ("/clustering", {"view": "<b>"}, "view"),
        ("/decoder", {"segment": 999}, "no segment 999"),
    ],
)
def test_forged_calls_get_a_sentence(client: Client, name: str, given: dict[str, Any], message: str) -> None:
    photo = handle_file(str(asset_path("photos/bear.jpg")))
    with pytest.raises(AppError, match=message):
        client.predict(photo, "bear; grass: stuff", **given, api_name=name)
