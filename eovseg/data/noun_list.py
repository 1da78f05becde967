"""`python -m eovseg.data.noun_list DATA OUTPUT`: everyday nouns, from class lists whose licences allow it.

Each line is an entry, `name, synonym: thing`. The sources are, in this order: COCO panoptic, the project's own everyday
words, COCO-Stuff, ADE20K with 150 and 847 classes, the LVIS names of `DATA/vocabulary.json`, and ImageNet's classes. A
class is skipped if an earlier entry contains its label, and a name that several classes share is kept in the first one
only. COCO's classes come first, sorted by the number of XS's fully labelled training photos that show them, so the
order is a prior that does not depend on the photo. The result is assets/vocabularies/nouns.txt, beside its embeddings
by XS's text encoder; the README there lists the licences.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from eovseg.atomic_files import write_atomically
from eovseg.data.label_files import read_json
from eovseg.errors import run_command
from eovseg.presets import TRAINING_PRESET
from eovseg.vocabulary import Vocabulary, WordClass

PRESETS = (TRAINING_PRESET, "everyday", "coco-stuff-171", "ade20k-150", "ade20k-847")
LVIS_IDS = 10_000  # first category id of the LVIS names that are not COCO's
_NO_LETTERS = re.compile(r"[^a-z0-9' ]+")
ANIMALS = 398  # the first of ImageNet's classes, mostly species whose names few people use
EVERYDAY_ANIMALS = """
goldfish, cock, hen, ostrich, robin, jay, magpie, vulture, bullfrog, scorpion, tarantula, centipede, peacock, quail,
toucan, hummingbird, goose, koala, jellyfish, snail, slug, flamingo, pelican, albatross, hyena, cougar, lynx,
leopard, jaguar, lion, tiger, cheetah, ladybug, fly, bee, ant, grasshopper, cricket, cockroach, mantis, dragonfly,
starfish, hare, hamster, porcupine, beaver, hog, hippopotamus, ox, bison, ram, gazelle, llama, weasel, otter, skunk,
badger, armadillo, orangutan, gorilla, chimpanzee, baboon, eel, red fox, grey fox, timber wolf, polar bear,
brown bear, giant panda, sea lion, king penguin, wild boar, african elephant, great white shark, killer whale,
grey whale, fiddler crab, american lobster, hermit crab, box turtle, common iguana, african chameleon, green snake,
monarch, guinea pig, fox squirrel, arabian camel, water buffalo, spider monkey, bald eagle, great grey owl,
black swan, american alligator, tree frog, wood rabbit, golden retriever, german shepherd
"""
# Names that are unclear outside their own class list.
EXCLUDED = """
solid, structural, waterdrops, controls, system, structure, support, equipment, videos, cds, stands, stalls, text,
merchandise, skip, block, cover, pack, dummy, exhibitor, vault, case, gear, handle, meters, tanks, tables, shops,
tracks, shanties, first floor, washing machines, central reservation, chair desk, street box, hanging clothes,
clothes hanging, trade name, bullring, big top, inflatable bounce game, artificial golf green, alembic,
service elevator, building materials, cover curtain, desk organizer, rocky formation, base, award, slot, hip, ear,
upright, brass, wing, web site, file, pick, rule, drake
"""


def nouns(data: Path) -> Vocabulary:
    """The nouns; raises `DataError` if sources below `data` cannot be read."""
    owned, excluded = set[str](), _listed(EXCLUDED)
    classes = []
    for names, is_thing in _sources(data):
        tidy = list(dict.fromkeys(filter(None, map(_tidy, names))))
        if not tidy or tidy[0] in excluded or not owned.isdisjoint(_spellings(tidy[0])):
            continue
        own = tuple(name for name in tidy if name not in owned)
        owned.update(own)
        classes.append(WordClass(own, is_thing))
    counts = _photos_of_class(data)
    first = sorted(range(len(counts)), key=lambda index: -counts[index])
    return Vocabulary((*(classes[index] for index in first), *classes[len(counts) :]))


def _photos_of_class(data: Path) -> list[int]:
    """The number of XS's fully labelled training photos that show each of COCO's classes."""
    from eovseg.data.classes import TrainingClasses
    from eovseg.data.sources import open_sources, xs_sources

    classes = TrainingClasses.coco()
    counts = [0] * classes.base_size
    for source in open_sources([source for source in xs_sources(data) if source.labels == "panoptic"], classes):
        for index in range(len(source.photos)):
            for found in {number for number in source.classes_of(index) if number < classes.base_size}:
                counts[found] += 1
    return counts


def _sources(data: Path) -> Iterator[tuple[Sequence[str], bool]]:
    """Names of every class of every source, and whether it is a thing."""
    for preset in PRESETS:
        for entry in Vocabulary.preset(preset).classes:
            # COCO-Stuff writes "wall-brick" and "ceiling-other"; its synonyms are the usual names.
            yield (entry.names if "-" not in entry.label else entry.names[1:]), entry.is_thing
    for category in read_json(data / "vocabulary.json"):
        if category["id"] >= LVIS_IDS:
            yield [category["name"]], bool(category["isthing"])
    from timm.data.imagenet_info import ImageNetInfo

    information, animals = ImageNetInfo("imagenet1k"), _listed(EVERYDAY_ANIMALS)
    for index in range(1000):
        name = str(information.index_to_description(index)).split(", ")[0]
        if index >= ANIMALS or _tidy(name) in animals:
            yield [name], True


def _listed(text: str) -> frozenset[str]:
    return frozenset(text.replace("\n", " ").strip().split(", "))


def _tidy(name: str) -> str:
    """A name in lower case, without bracketed parts, hyphens or other punctuation."""
    return " ".join(_NO_LETTERS.sub(" ", re.sub(r"\(.*?\)", "", name.lower())).split())


def _spellings(name: str) -> set[str]:
    """The name, its possible singulars and plural, and the name without spaces."""
    return {name, name.removesuffix("s"), name.removesuffix("es"), name.replace(" ", ""), f"{name}s"}


def embed(found: Vocabulary, path: Path) -> None:
    """Writes the embeddings of all names by XS's text encoder, in half precision, for `eovseg.advice.nouns`."""
    from eovseg.advice.nouns import digest_of
    from eovseg.loading import load

    rows = load("xs", device="cpu").text_embeddings(found).embeddings.numpy()
    np.savez_compressed(path, rows=rows.astype(np.float16), names=np.array(digest_of(found)))


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m eovseg.data.noun_list", description=__doc__)
    parser.add_argument("data", type=Path, help="folder of the training sources, for the names of LVIS")
    parser.add_argument("output", type=Path, help="the text file")

    def run(options: argparse.Namespace) -> None:
        found = nouns(options.data)
        write_atomically(options.output, found.to_text().replace("; ", "\n") + "\n")
        print(f"{options.output}: {len(found)} entries, {len(found.words)} names")
        embed(found, options.output.with_name(f"{options.output.stem}-minilm.npz"))

    return run_command(parser, run, argv)


if __name__ == "__main__":
    sys.exit(main())
