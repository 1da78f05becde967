"""File names that every operating system allows."""

import re
import unicodedata

_MAX_STEM_BYTES = 120
_RESERVED_STEMS = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}


def clean_stem(stem: str) -> str:
    """A stem valid on Linux, macOS and Windows, keeping letters of all scripts; "photo" if nothing is left."""
    kept = "".join(
        char if unicodedata.category(char)[0] in "LMN" or char in "-_.() " else "_"
        for char in unicodedata.normalize("NFC", stem)
    )
    kept = kept.encode("utf-8")[:_MAX_STEM_BYTES].decode("utf-8", "ignore")
    kept = re.sub(r"^[.\s]+|[.\s]+$", "", kept)
    return f"_{kept}" if kept.split(".")[0].lower() in _RESERVED_STEMS else kept or "photo"
