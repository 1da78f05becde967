"""Every limit of the page in one place: what a visitor may send, how long it may take, and what the server keeps."""

from eovseg.images import MAX_PIXELS
from eovseg.vocabulary import MAX_WORD_CHARACTERS, MAX_WORDS

MAX_FILE_SIZE = "32mb"  # of an uploaded photo, as Gradio reads it
UPLOAD_BYTES = 33_000_000  # of a whole upload: the photo and what a browser puts around it
BODY_BYTES = 8_000_000  # of any other request; 20,000 words of a usual length are well below a megabyte
MAX_TEXT = 400_000  # characters of words
MAX_QUEUE = 32  # requests that wait, over all visitors
REQUEST_SECONDS = 120.0  # from the moment that a request is served; waiting does not count
START_SECONDS = 1800.0  # for the first result of a server, on however slow a machine
BUSY_SECONDS = 30.0  # that a request waits for another one of the same tab
SESSION_SECONDS = 3600  # a tab that was left alone so long is forgotten
MAX_SESSIONS = 24
LARGE_MODEL_SESSIONS = 6
MAX_CALLERS = 96  # browsers and scripts of which Gradio remembers anything
REMEMBERED_WORDS = 30  # words by example that a tab keeps
UNDO_STEPS = 20  # corrections of a result that can be taken back
KEPT_VALUES = 6  # what tabs computed for a photo and its words, over all visitors: some are tens of megabytes
MAX_FILES = 24  # photos of one go of the tab Many
MAX_CLIP_SECONDS = 20  # of a clip; what comes later is left out
MAX_CLIP_FRAMES = 60  # of a clip that are segmented, evenly spread
CLIP_SIDE = 640  # pixels of a clip's longer side; larger ones are scaled down
MAX_GOES = 4  # of the tab Many at once, over all visitors; others wait
GO_SECONDS = 1200.0  # for one of them; what is there by then is kept
FILE_SECONDS = 7200  # after which uploads and downloads are deleted
FILES_BYTES = 2_000_000_000  # of uploads and downloads together; beyond it the oldest go earlier

__all__ = [
    "BODY_BYTES", "BUSY_SECONDS", "CLIP_SIDE", "FILES_BYTES", "FILE_SECONDS", "GO_SECONDS", "KEPT_VALUES",
    "LARGE_MODEL_SESSIONS", "MAX_CALLERS", "MAX_CLIP_FRAMES", "MAX_CLIP_SECONDS", "MAX_FILES", "MAX_FILE_SIZE",
    "MAX_GOES", "MAX_PIXELS", "MAX_QUEUE", "MAX_SESSIONS", "MAX_TEXT", "MAX_WORDS", "MAX_WORD_CHARACTERS",
    "REMEMBERED_WORDS", "REQUEST_SECONDS", "SESSION_SECONDS", "START_SECONDS", "UNDO_STEPS", "UPLOAD_BYTES",
    "described",
]  # fmt: skip


def described() -> str:
    """The limits in one paragraph, for --help."""
    return (
        f"Limits: photos up to {MAX_FILE_SIZE.upper()} and {MAX_PIXELS // 1_000_000} million pixels, "
        f"{MAX_WORDS:,} words of {MAX_WORD_CHARACTERS} characters and {MAX_TEXT:,} characters in all, "
        f"{MAX_FILES} photos or a clip of {MAX_CLIP_SECONDS} seconds in one go ({GO_SECONDS / 60:g} minutes), "
        f"{MAX_QUEUE} waiting requests, {REQUEST_SECONDS:g} seconds for one (--time-limit), {MAX_SESSIONS} tabs with "
        f"their results ({LARGE_MODEL_SESSIONS} with a larger model), forgotten after {SESSION_SECONDS // 60} minutes, "
        f"files deleted after {FILE_SECONDS // 3600} hours or beyond {FILES_BYTES / 1e9:g} GB."
    )
