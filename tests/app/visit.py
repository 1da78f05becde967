"""A visitor of the page in Chromium."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

SLOW = 60_000  # timeout in milliseconds, long enough for two busy cores


class Visit:
    """A browser tab with the page, and the actions of its visitor."""

    def __init__(self, browser: Any, address: str, width: int = 1280, dark: bool = False, timeout: int = SLOW) -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light", accept_downloads=True
        )
        self.tab = self.context.new_page()
        self.tab.set_default_timeout(timeout)
        self.complaints: list[str] = []
        self.saved_as: dict[str, str] = {}
        self.tab.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.on("dialog", lambda dialog: (self.complaints.append("a dialog opened"), dialog.dismiss()))
        self.tab.goto(address)
        self.tab.wait_for_selector(".stage[data-ready]", state="attached")  # a link may open another tab

    @property
    def token(self) -> str:
        return str(self.tab.get_attribute(".stage", "data-ready"))

    @property
    def names(self) -> list[str]:
        return sorted(self.tab.locator(".stage .chip span").all_inner_texts())

    def changes(self, action: Callable[[], Any]) -> None:
        """Runs `action` and waits for a new result."""
        before = self.token
        action()
        self.tab.wait_for_function("before => document.querySelector('.stage').dataset.ready !== before", arg=before)

    def column(self, place: int) -> list[str]:
        return list(self.tab.locator(f".stage .details tbody tr > :nth-child({place})").all_inner_texts())

    def picture(self) -> str:
        """The pixels of the canvas over the photo."""
        return str(self.tab.evaluate("document.querySelector('.stage .overlay').toDataURL()"))

    def set(self, name: str, value: float) -> None:
        """Moves a slider of the settings."""
        script = "(input, value) => { input.value = value; input.dispatchEvent(new Event('input')); }"
        self.tab.locator(f"#set-{name}").evaluate(script, value)

    def download(self, title: str) -> Path:
        """Presses a button of the section "Download"."""
        with self.tab.expect_download() as waiting:
            self.tab.click(f".downloads button >> text={title}")
        self.saved_as[title] = waiting.value.suggested_filename
        return Path(waiting.value.path())

    def words(self, text: str) -> None:
        self.tab.fill("#words textarea", text)
        self.tab.press("#words textarea", "Enter")

    def upload(self, path: Path) -> None:
        self.tab.click("#photo button[aria-label='Remove Image']")
        self.tab.set_input_files("#photo input[type=file]", str(path))
