"""The page: a photo and words in, named segments out. Every callback is thin; the work is in app/session.py."""

import html
import logging
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.processing_utils import save_file_to_cache
from gradio.utils import get_upload_folder

from app.payload import answer, stage_value
from app.session import MAX_SESSIONS, Session, SessionStore, StagedPredictor, photo_digest, run
from eovseg.assets import asset_path
from eovseg.errors import EovsegError
from eovseg.vocabulary import Vocabulary

_LOG = logging.getLogger(__name__)
MODEL: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}
SESSION_SECONDS = 3600
MAX_FILE_SIZE = "32mb"
MAX_QUEUE = 32
DOWNLOADS = 4  # files of `Result.save`

# Each example comes with words that suit it; they are a start, not the answer.
EXAMPLES = {
    "bus-street.jpg": "bus; car; person, people; tree; sky; road, street; building; grass; flowers",
    "savanna.jpg": "elephant; tree; bush; sky; grass; river, water; sand, dirt",
    "parked-car.jpg": "car; person, people; building; window; door; potted plant; pavement, sidewalk",
    "gull.jpg": "gull, bird; sky; sea; beach, sand; person, people; boat",
    "bear.jpg": "bear; grass",
    "rainy-buses.jpg": "bus; taxi; car; person, people; road, street; tree; grass; traffic light",
    "paris-street.jpg": "person, people; car; bicycle; building; sky; road, street; awning",
    "hot-dog.jpg": "hot dog; bowl, cup; person, people; table; tray",
    "kitchen.jpg": "cabinet; rug; door; wall; floor; ceiling; sink; window; mirror; towel",
    "loft.jpg": "ceiling; wall; floor; stool, chair; table, counter; plant; painting; refrigerator; railing",
}


def example_paths() -> list[Path]:
    return [asset_path(f"photos/{name}") for name in EXAMPLES]


def preset_title(name: str) -> str:
    """A preset's file name as people read it: "ade20k-150" is "ADE20K · 150 classes"."""
    title, _, count = name.rpartition("-")
    if not count.isdigit():
        return name.capitalize()
    upper = {"coco", "ade20k", "voc"}
    words = [word.upper() if word in upper else word.capitalize() for word in title.split("-")]
    return f"{' '.join(words)} · {count} classes"


def vocabulary_of(words: str, preset: str | None) -> Vocabulary:
    """The visitor's words, a preset, or the preset with the words after it; raises `VocabularyError`."""
    if not preset:
        return Vocabulary.parse(words)
    listed = Vocabulary.preset(preset)
    return listed + Vocabulary.parse(words) if words.strip() else listed


def notes_html(vocabulary: Vocabulary, shrunk_from: tuple[int, int] | None) -> str:
    """What was odd in the words, and whether the photo was scaled down, as escaped HTML."""
    notes = list(vocabulary.notes)
    if shrunk_from:
        notes.insert(0, f"The photo was scaled down from {shrunk_from[0]:,} x {shrunk_from[1]:,} pixels for this page.")
    shown = notes[:4] + ([f"And {len(notes) - 4:,} more notes like these."] if len(notes) > 4 else [])
    return "".join(f"<p>{html.escape(note)}</p>" for note in shown)


class Page:
    """The callbacks of one server: a predictor that all visitors share, and what each of them keeps."""

    def __init__(self, predictor: StagedPredictor, sessions: int = MAX_SESSIONS) -> None:
        self.predictor = predictor
        self.store = SessionStore(sessions)
        photo, words = next(iter(EXAMPLES.items()))
        # The result that a visitor finds was computed by this server at its start; every tab begins with a copy.
        self.start = run(Session(), predictor, str(asset_path(f"photos/{photo}")), Vocabulary.parse(words))

    def open(self) -> tuple[Any, ...]:
        session = self.store.open(None, self.start)
        return (session.key, *self._shown(session))

    def show(self, key: str | None, photo: dict[str, Any] | None, words: str, preset: str | None) -> tuple[Any, ...]:
        """Run what changed and show it; on bad input one sentence, and the result before stays."""
        session = self.store.open(key, self.start)
        # An emptied photo box means "the one before": what is shown stays a result of what was asked.
        path = (photo or {}).get("path") or session.photo or str(example_paths()[0])
        try:
            run(session, self.predictor, path, vocabulary_of(words or "", preset))
        except EovsegError as error:
            gr.Warning(html.escape(str(error)))
            return (session.key, gr.skip(), gr.skip())
        except Exception:
            _LOG.exception("A segmentation failed")
            gr.Warning("The model failed on this photo; the server's log says why.")
            return (session.key, gr.skip(), gr.skip())
        return (session.key, *self._shown(session))

    def show_photo(self, key: str | None, photo: dict[str, Any] | None, *words: Any) -> tuple[Any, ...]:
        """As `show`, when the photo box changes. Emptied, it still sends its old photo: then there is nothing to do."""
        path = (photo or {}).get("path")
        session = self.store.get(key)
        if path is None or (session is not None and photo_digest(path) == session.digest):
            return (key, gr.skip(), gr.skip())
        return self.show(key, photo, *words)

    def choose(self, event: gr.EventData) -> tuple[str, str, str]:
        """An example's photo and words into the inputs."""
        name = list(EXAMPLES)[int(event.index)]
        return str(asset_path(f"photos/{name}")), EXAMPLES[name], ""

    def files(self, key: str | None) -> list[Any]:
        """The four downloads of the tab's result: overlay, segment ids, segment list, masks."""
        session = self.store.get(key)
        if session is None:  # forgotten: another result's files would not be what the tab shows
            return [gr.skip()] * DOWNLOADS
        return [str(path) for path in session.save()]

    def restyle(self, key: str | None, event: gr.EventData) -> list[Any]:
        """The visitor moved the opacity slider: the overlay to download follows what the page shows already."""
        session = self.store.get(key)
        if session is not None:
            session.opacity = min(max(float(event.value), 0.0), 1.0)
        return self.files(key)

    def api_segment(
        self, photo: dict[str, Any] | None, words: str, preset: str | None = None
    ) -> tuple[dict[str, Any], list[str]]:
        """Split a photo into segments named with your words.

        `words`: `;` or a new line between classes, `,` between synonyms, optionally `: thing` or `: stuff`.
        `preset`: a class list to put before the words. Returns the segments and the files of the result.
        """
        path = (photo or {}).get("path")
        if not path:
            raise gr.Error("Give a photo to segment.", print_exception=False)
        session = Session()
        try:
            run(session, self.predictor, path, vocabulary_of(words or "", preset))
            # Gradio serves copies, which it deletes after hours; a caller leaves nothing else behind.
            files = [save_file_to_cache(file, get_upload_folder()) for file in session.save()]
        except EovsegError as error:
            raise gr.Error(str(error), print_exception=False) from error
        finally:
            session.close()
        return answer(session), files

    def _shown(self, session: Session) -> tuple[dict[str, Any], str]:
        assert session.vocabulary is not None
        return stage_value(session), notes_html(session.vocabulary, session.shrunk_from)
