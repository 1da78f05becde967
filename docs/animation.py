"""The moving picture at the top of the README, made of the screenshots of the page's tabs.

python docs/animation.py [OUT] reads assets/screenshots (`make screenshots` takes them again) and writes
assets/page.webp: the tabs and what they show, without the form around them, one fading into the next.
"""

import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
TABS = ("result", "segment", "vas", "tdee", "clustering", "decoder", "speed")
PLACE = (366, 336, 1264, 988)  # left, top, right and bottom of the tabs in a screenshot, in pixels
SIZE = (800, 580)
HOLD, FADE, STEPS = 2200, 60, 5  # milliseconds of a tab and of a step between two, and how many steps
LARGEST = 1_500_000  # bytes


def frame(tab: str) -> Image.Image:
    """The part of a tab's screenshot that is shown."""
    with Image.open(ROOT / "assets" / "screenshots" / f"{tab}-light.jpg") as shot:
        return shot.convert("RGB").crop(PLACE).resize(SIZE, Image.Resampling.LANCZOS)


def main(out: Path) -> None:
    """Writes the moving picture; raises `ValueError` where it is too large for a README."""
    tabs = [frame(tab) for tab in TABS]
    frames, durations = [], []
    for now, following in zip(tabs, tabs[1:] + tabs[:1], strict=True):
        frames += [now, *(Image.blend(now, following, step / (STEPS + 1)) for step in range(1, STEPS + 1))]
        durations += [HOLD, *[FADE] * STEPS]
    frames[0].save(out, save_all=True, append_images=frames[1:], duration=durations, loop=0, quality=55, method=6)
    if out.stat().st_size > LARGEST:
        raise ValueError(f"{out.name} has {out.stat().st_size:,} bytes; at most {LARGEST:,} are wanted.")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "assets" / "page.webp")
