"""All limits of the page: what a visitor may send, how long a request may take, and what the server keeps."""

from eovseg.images import MAX_PIXELS
from eovseg.word_lists import MAX_WORD_CHARACTERS, MAX_WORDS

MAX_FILE_SIZE = "32mb"  # maximum size of an uploaded photo, in Gradio's notation
UPLOAD_BYTES = 33_000_000  # size of an upload request: the photo and its multipart envelope
BODY_BYTES = 8_000_000  # size of any other request; 20,000 words of usual length take well below 1 MB
MAX_TEXT = 400_000  # characters of all words together
MAX_QUEUE = 32  # queued requests of all visitors
REQUEST_SECONDS = 120.0  # time limit of a request, not counting its time in the queue
START_SECONDS = 1800.0  # time limit of the first result of a server, even on a very slow machine
BUSY_SECONDS = 30.0  # how long a request waits for another one of the same browser tab
SESSION_SECONDS = 3600  # idle time after which a session expires
MAX_SESSIONS = 24
LARGE_MODEL_SESSIONS = 6
MAX_CALLERS = 96  # clients for which Gradio keeps state
REMEMBERED_WORDS = 30  # words by example per session
UNDO_STEPS = 20  # corrections of a result that can be undone
CACHED_VALUES = 6  # cached values of the tabs, over all visitors; some take tens of megabytes
MAX_FILES = 24  # photos in one run of the tab Many
MAX_CLIP_SECONDS = 20  # only this much of a clip is segmented; the rest is ignored
MAX_CLIP_FRAMES = 60  # segmented frames of a clip, evenly spaced
CLIP_SIDE = 640  # longer side of a clip in pixels; larger clips are scaled down
MAX_RUNS = 4  # simultaneous runs of the tab Many, over all visitors; others wait
RUN_SECONDS = 1200.0  # time limit of a run of the tab Many; the results so far are kept
FILE_SECONDS = 7200  # age at which uploads and downloads are deleted
FILES_BYTES = 2_000_000_000  # uploads and downloads together; above this, the oldest are deleted

__all__ = [
    "BODY_BYTES", "BUSY_SECONDS", "CACHED_VALUES", "CLIP_SIDE", "FILES_BYTES", "FILE_SECONDS", "LARGE_MODEL_SESSIONS",
    "MAX_CALLERS", "MAX_CLIP_FRAMES", "MAX_CLIP_SECONDS", "MAX_FILES", "MAX_FILE_SIZE", "MAX_PIXELS", "MAX_QUEUE",
    "MAX_RUNS", "MAX_SESSIONS", "MAX_TEXT", "MAX_WORDS", "MAX_WORD_CHARACTERS", "REMEMBERED_WORDS", "REQUEST_SECONDS",
    "RUN_SECONDS", "SESSION_SECONDS", "START_SECONDS", "UNDO_STEPS", "UPLOAD_BYTES", "described",
]  # fmt: skip


def described() -> str:
    """The limits in one paragraph, for --help."""
    return (
        f"Limits: photos up to {MAX_FILE_SIZE.upper()} and {MAX_PIXELS // 1_000_000} million pixels, "
        f"{MAX_WORDS:,} words of {MAX_WORD_CHARACTERS} characters and {MAX_TEXT:,} characters in all, "
        f"{MAX_FILES} photos or a clip of {MAX_CLIP_SECONDS} seconds in one run of the tab Many ({RUN_SECONDS / 60:g} "
        f"minutes), {MAX_QUEUE} waiting requests, {REQUEST_SECONDS:g} seconds for a request (--time-limit), "
        f"{MAX_SESSIONS} sessions ({LARGE_MODEL_SESSIONS} with a model larger than XS) that expire after "
        f"{SESSION_SECONDS // 60} idle minutes; files are deleted after {FILE_SECONDS // 3600} hours, or earlier if "
        f"they take more than {FILES_BYTES / 1e9:g} GB."
    )
