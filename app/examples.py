"""The ten example photos with suitable words, and the titles of presets."""

from pathlib import Path

from eovseg.assets import asset_path

EXAMPLES = {
    "bus-street.jpg": "bus; car; person, people; tree; sky; road, street; building; grass; flowers",
    "savanna.jpg": "elephant; tree; bush; sky; grass; river, water; sand, dirt",
    "parked-car.jpg": "car; person, people; building; window; door; potted plant; pavement, sidewalk",
    "gull.jpg": "gull, bird; sky; sea; beach, sand; person, people; boat",
    "bear.jpg": "bear; grass, lawn, meadow; sky; rock; water",
    "rainy-buses.jpg": "bus; taxi; car; person, people; road, street; tree; grass; traffic light",
    "paris-street.jpg": "person, people; car; bicycle; building; sky; road, street; awning",
    "hot-dog.jpg": "hot dog; bowl, cup; person, people; table; tray",
    "kitchen.jpg": "cabinet; rug; door; wall; floor; ceiling; sink; window; mirror; towel",
    "loft.jpg": "ceiling; wall; floor; stool, chair; table, counter; plant; painting; refrigerator; railing",
}


def example_paths() -> list[Path]:
    return [asset_path(f"photos/{name}") for name in EXAMPLES]


def preset_title(name: str) -> str:
    """The title of a preset: "ade20k-150" becomes "ADE20K · 150 classes"."""
    title, _, count = name.rpartition("-")
    if not count.isdigit():
        return name.capitalize()
    upper = {"coco", "ade20k", "voc"}
    words = [word.upper() if word in upper else word.capitalize() for word in title.split("-")]
    return f"{' '.join(words)} · {count} classes"
