"""Segment colours: the same for a word in every photo, and distinguishable by colour-blind people.

`_PALETTE` holds 36 colours chosen greedily from an OKLCH grid (lightness 0.47-0.87, chroma 0.05-0.15): each is the one
farthest from all previous ones. The distance of two colours is the minimum of their OKLab distances under protanopia,
under deuteranopia (Viénot, Brettel and Mollon 1999) and, divided by 1.5, under normal vision, so colours differ mostly
in lightness. Common words are assigned by hand, so that frequent neighbours (sky, building, tree, road, car, person)
look very different; all other words are hashed.

Within one picture, a colour too close to one already used is shifted, first in lightness, then in hue. This
distinguishes the instances of a class as well as two words that share a palette entry.
"""

import zlib
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np

# Colour: the common words assigned to it.
_PALETTE = {
    "5cb4ef": "sky",
    "9d300f": "horse, fire hydrant, pizza, door, stop sign",
    "f7cc4b": "bus, banana, light, lamp",
    "1a57ad": "car, chair",
    "ef7688": "dog, cake, flower, curtain, pig",
    "3ff0c9": "bottle, skateboard, surfboard, ball, frisbee",
    "a28218": "train, cabinet, cupboard",
    "8c71d7": "motorcycle, couch, sofa, umbrella, zebra",
    "446d61": "mountain, hill, tie",
    "aab530": "grass, field, sports ball, refrigerator",
    "f0ab90": "building, house, bed",
    "c15d9f": "bicycle, backpack, bag, book, giraffe",
    "ac99b9": "road, street, rug, carpet",
    "02a05e": "tree, trees, potted plant, plant, broccoli",
    "8cdffb": "window, window-other, airplane, glass",
    "873482": "truck, handbag, oven, tv, elephant",
    "ac5c2e": "table, dining table, cow, bridge",
    "46cdb7": "bird, cup, toilet, kite",
    "9fe885": "traffic light, bowl, apple, pillow",
    "6895f4": "boat, sink, mirror, laptop",
    "b13d54": "cat, sandwich, hot dog, suitcase, sheep",
    "4086ab": "sea, water, river, lake",
    "855989": "rock, stone, van, counter",
    "aebedf": "snow, ceiling, cloud, clouds",
    "7aa392": "fence, bush, shelf",
    "97717c": "pole, stairs, railing, roof, railroad",
    "db6656": "person, people, man, boy",
    "b182ce": "woman, girl, food, blanket",
    "68593a": "dirt, earth, ground, keyboard",
    "cea26a": "floor, sand, bread, path",
    "5a64b0": "bench, clock, phone, child, bear",
    "cdc15f": "traffic sign, sign, parking meter, orange",
    "dad2ad": "wall, brick wall, paper, playingfield",
    "ff9cb2": "sidewalk, pavement, platform, towel",
    "d090d6": "rider, toy, box, vase",
    "8da523": "vegetation, leaves, fruit, vegetable",
}
_ENTRIES = tuple(_PALETTE)
_ENTRY_OF_WORD = {word: index for index, words in enumerate(_PALETTE.values()) for word in words.split(", ")}

# Minimum distances within one picture, between two classes and between two instances of one class.
CLASS_DISTANCE = 0.03
INSTANCE_DISTANCE = 0.05
_NORMAL_VISION_DIVISOR = 1.5

# Björn Ottosson, "A perceptual color space for image processing" (2020): linear sRGB -> cone-like -> OKLab.
_TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
# Normal vision, protanopia and deuteranopia as maps of linear sRGB (Viénot, Brettel and Mollon 1999).
_VISIONS = np.array(
    [
        [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
        [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
    ]
)


class Labelled(Protocol):
    """The part of a segment that colours and names depend on."""

    @property
    def label(self) -> str: ...


def segment_labels(segments: Sequence[Labelled]) -> list[str]:
    """One unique name per segment: its label, numbered in the given order if several share it ("person 2")."""
    shared: dict[str, int] = defaultdict(int)
    for segment in segments:
        shared[segment.label] += 1
    taken = {label for label, count in shared.items() if count == 1}
    numbers: dict[str, int] = defaultdict(int)
    names = []
    for segment in segments:
        name = segment.label
        while shared[segment.label] > 1:
            numbers[segment.label] += 1
            name = f"{segment.label} {numbers[segment.label]}"
            if name not in taken:  # the vocabulary may contain the word "person 2" itself
                break
        taken.add(name)
        names.append(name)
    return names


def class_colour(label: str) -> np.ndarray:
    """(3,) uint8 RGB of a word, deterministic and case-insensitive."""
    word = label.strip().casefold()
    index = _ENTRY_OF_WORD.get(word, zlib.crc32(word.encode("utf-8", "surrogatepass")) % len(_ENTRIES))
    return np.frombuffer(bytes.fromhex(_ENTRIES[index]), dtype=np.uint8).copy()


def segment_colours(segments: Sequence[Labelled]) -> np.ndarray:
    """(n, 3) uint8 RGB: the first segment of a class has the class's colour, later ones are lighter or darker.

    Depends only on the labels and their order. If two classes are too similar, the alphabetically later one is shifted.
    """
    labels = [segment.label.strip().casefold() for segment in segments]
    first_of = {label: index for index, label in reversed(list(enumerate(labels)))}
    order = [first_of[label] for label in sorted(first_of)]
    order += [index for index in range(len(labels)) if first_of[labels[index]] != index]
    names = sorted(first_of)
    row_of = {label: row for row, label in enumerate(names)}
    if not names:
        return np.zeros((0, 3), dtype=np.uint8)
    options = np.stack([_variants(label)[0] for label in names])  # (K, V, 3) colours
    seen = np.stack([_variants(label)[1] for label in names])  # (K, V, 3 visions, 3)
    # Distance of each option from all colours in use, relative to the required distance: 1 is enough.
    margins = np.full(options.shape[:2], np.inf)
    colours = np.zeros((len(labels), 3), dtype=np.uint8)
    for index in order:
        row = row_of[labels[index]]
        enough = margins[row] >= 1
        choice = int(enough.argmax() if enough.any() else margins[row].argmax())
        colours[index] = options[row, choice]
        asked = np.full((len(names), 1), CLASS_DISTANCE)
        asked[row] = INSTANCE_DISTANCE
        margins = np.minimum(margins, colour_distance(seen, seen[row, choice]) / asked)
    return colours


def free_colour(label: str, taken: Sequence[tuple[str, np.ndarray]]) -> np.ndarray:
    """(3,) uint8 RGB for one additional segment; `taken` holds the words and colours already in use.

    The word's own colour if it is free, else the nearest variant that differs enough, else the most different one.
    """
    options, seen = _variants(label.strip().casefold())
    margins = np.full(len(options), np.inf)
    for other, colour in taken:
        alike = other.strip().casefold() == label.strip().casefold()
        asked = INSTANCE_DISTANCE if alike else CLASS_DISTANCE
        margins = np.minimum(margins, colour_distance(seen, as_seen(colour)) / asked)
    enough = margins >= 1
    return options[int(enough.argmax() if enough.any() else margins.argmax())].copy()


def colour_distance(seen: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Minimum distance over the three kinds of vision between `seen` (..., 3, 3) and `other`, both from `as_seen`.

    Colours at a distance of at least 0.02 can be told apart side by side.
    """
    distances = np.sqrt(((seen - other) ** 2).sum(-1))
    distances[..., 0] /= _NORMAL_VISION_DIVISOR
    return distances.min(-1)


def as_seen(colours: np.ndarray) -> np.ndarray:
    """OKLab of uint8 RGB `colours` (..., 3) under normal vision, protanopia and deuteranopia: (..., 3 visions, 3)."""
    linear = linear_rgb(colours)
    cones = np.clip(np.einsum("vij,...j->...vi", _VISIONS, linear), 0, 1) @ _TO_CONES.T
    return np.cbrt(cones) @ _TO_LAB.T


def linear_rgb(colours: np.ndarray) -> np.ndarray:
    """uint8 sRGB `colours` as linear light in 0..1 (IEC 61966-2-1)."""
    values = np.asarray(colours) / 255.0
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def text_colour(plate: np.ndarray) -> tuple[int, int, int]:
    """Black or white, whichever has the higher WCAG 2 contrast (always at least 4.5) on `plate` (3,) uint8."""
    luminance = float(linear_rgb(plate) @ np.array([0.2126, 0.7152, 0.0722]))
    white_contrast, black_contrast = 1.05 / (luminance + 0.05), (luminance + 0.05) / 0.05
    return (255, 255, 255) if white_contrast > black_contrast else (0, 0, 0)


def id_to_rgb(ids: np.ndarray) -> np.ndarray:
    """Segment ids (H, W), 0 to 2^24 - 1, in COCO panoptic encoding: (H, W, 3) uint8, id = R + 256 G + 65536 B."""
    return np.stack([ids & 255, ids >> 8 & 255, ids >> 16 & 255], axis=-1).astype(np.uint8)


def rgb_to_id(rgb: np.ndarray) -> np.ndarray:
    """Inverse of `id_to_rgb`: (H, W, 3) -> (H, W) int32."""
    return rgb.astype(np.int32) @ np.array([1, 256, 65536], dtype=np.int32)


@lru_cache(maxsize=4096)
def _variants(label: str) -> tuple[np.ndarray, np.ndarray]:
    """A word's colour and its variants, nearest first: (V, 3) uint8 and `as_seen` of them."""
    base = class_colour(label)
    lightness, a, b = as_seen(base)[0]
    hue, chroma = np.arctan2(b, a), np.hypot(a, b)
    lights = [0.0, 0.11, -0.11, 0.2, -0.2, 0.055, -0.055]
    turns = np.radians([0, 12, -12, 22, -22])
    light = (lightness + np.tile(lights, len(turns))).clip(0.42, 0.88)
    turn = hue + np.repeat(turns, len(lights))
    # Pale and dark colours allow less chroma: use the largest fraction that lies within the sRGB gamut.
    chroma = chroma * np.array([1.0, 0.85, 0.7, 0.55, 0.4, 0.25, 0.1, 0.0])[:, None]
    lab = np.stack(np.broadcast_arrays(light, chroma * np.cos(turn), chroma * np.sin(turn)), axis=-1)
    linear = (lab @ np.linalg.inv(_TO_LAB).T) ** 3 @ np.linalg.inv(_TO_CONES).T
    shown = ((linear > -1e-3) & (linear < 1.001)).all(-1).argmax(0)
    linear = np.clip(linear[shown, np.arange(len(light))], 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    colours = np.rint(encoded * 255).astype(np.uint8)
    colours[0] = base
    return colours, as_seen(colours)
