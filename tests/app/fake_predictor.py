"""A fast, deterministic predictor with the real interface: stuff is drawn as bands, things as ellipses."""

from dataclasses import dataclass, field, replace

import numpy as np

from eovseg.advice.counterfactuals import Counterfactual
from eovseg.advice.doctor import Diagnosis, Rivals
from eovseg.advice.suggest import Suggestion
from eovseg.background import merge_background, with_background
from eovseg.model.config import ModelConfig, variant_config
from eovseg.result import Result
from eovseg.segmented import Segment, Verdict
from eovseg.settings import Settings
from eovseg.vocabulary import Vocabulary, checked_name
from eovseg.word import Word

_OWN = Settings()
SUGGESTED = (("unicorn", True), ("meadow", False), ("sky", False))


@dataclass
class FakePredictor:
    """Counts how often each half ran; every thing class appears twice, every stuff class once."""

    images_encoded: int = 0
    vocabularies_decoded: int = 0
    composed: int = 0
    device: str = "cpu"
    failure: Exception | None = None
    settings: Settings = field(default_factory=Settings)  # settings of the last composition
    config: ModelConfig = field(default_factory=lambda: variant_config("xs"))

    def encode_image(self, image: np.ndarray) -> np.ndarray:
        self.images_encoded += 1
        return image

    def __call__(
        self,
        photo: np.ndarray,
        vocabulary: Vocabulary,
        *,
        background: Vocabulary | None = None,
        keep: bool = True,
        settings: Settings = _OWN,
    ) -> Result:
        wide = vocabulary if background is None else with_background(vocabulary, background)
        result = self.compose(self.decode(self.encode_image(photo), wide), settings=settings)
        return result if background is None else merge_background(result, vocabulary)

    def suggest(self, photo: np.ndarray, k: int = 20) -> list[Suggestion]:
        return [Suggestion((word,), thing, 0.0) for word, thing in SUGGESTED[:k]]

    def doctor(self, photo: np.ndarray, vocabulary: Vocabulary, settings: Settings = _OWN) -> Diagnosis:
        rivals = (Rivals((vocabulary.labels[0], vocabulary.labels[-1]), 2, False),)
        return Diagnosis(1, vocabulary.labels[:1], rivals, (), tuple(self.suggest(photo, 2)))

    def counterfactuals(
        self,
        photo: np.ndarray,
        vocabulary: Vocabulary,
        segment: int,
        *,
        background: Vocabulary | None = None,
        settings: Settings | None = None,
    ) -> list[Counterfactual]:
        text = f'Without "{vocabulary.labels[0]}" segment {segment} would have no name.'
        return [Counterfactual("remove", 1, vocabulary, settings or _OWN, None, text)]

    def decode(
        self, image_state: np.ndarray, vocabulary: Vocabulary, *, intermediates: bool = False
    ) -> tuple[np.ndarray, Vocabulary]:
        if self.failure is not None:
            raise self.failure
        self.vocabularies_decoded += 1
        return image_state, vocabulary

    def word_from(
        self, name: str, state: np.ndarray, mask: np.ndarray, is_thing: bool, before: Word | None = None
    ) -> Word:
        """A word by example whose vectors encode the share of the photo that each mask covers."""
        row = np.array([[mask.mean(), 1 - mask.mean()]], dtype=np.float32)
        rows = row if before is None else np.concatenate([before.examples, row])
        vector = rows.sum(0) / np.linalg.norm(rows.sum(0))
        return Word(checked_name(name), is_thing, vector, rows, np.ones(2, np.float32), "xs")

    def compose(self, decoded: tuple[np.ndarray, Vocabulary], *, settings: Settings = _OWN) -> Result:
        self.composed += 1
        self.settings = settings
        image, vocabulary = decoded
        segment_map, class_ids = draw(image.shape[:2], vocabulary)
        segments = tuple(
            segment_of(segment_map, number, class_id, vocabulary) for number, class_id in enumerate(class_ids, start=1)
        )
        given = settings.score_threshold
        least = -np.inf if given is None else given  # the scores of long lists fall below 0
        segment_map[np.isin(segment_map, [segment.id for segment in segments if segment.score < least])] = 0
        kept = tuple(segment for segment in segments if segment.area and segment.score >= least)
        told = tuple(Verdict(label, place > 0) for place, label in enumerate(vocabulary.labels))
        kept = tuple(replace(segment, words=(segment.label, "decoy")) for segment in kept)
        return Result(image, segment_map, kept, vocabulary, settings.task, {}, verdicts=told)


def draw(shape: tuple[int, ...], vocabulary: Vocabulary) -> tuple[np.ndarray, list[int]]:
    """A segment map (H, W) int32, and the class of each id from 1."""
    height, width = shape
    y, x = np.mgrid[:height, :width]
    segment_map = np.zeros(shape, dtype=np.int32)
    class_ids: list[int] = []
    stuff = np.flatnonzero(~vocabulary.is_thing)
    for place, class_id in enumerate(stuff):
        class_ids.append(int(class_id))
        segment_map[y >= height * place // len(stuff)] = len(class_ids)
    things = np.flatnonzero(vocabulary.is_thing)
    for place, class_id in enumerate(things):
        for row in (0.35, 0.7):
            class_ids.append(int(class_id))
            centre = width * (place + 0.5) / len(things)
            radius = 0.35 * width / len(things)
            inside = ((x - centre) / radius) ** 2 + ((y - row * height) / (0.14 * height)) ** 2 < 1
            segment_map[inside] = len(class_ids)
    return segment_map, class_ids


def segment_of(segment_map: np.ndarray, number: int, class_id: int, vocabulary: Vocabulary) -> Segment:
    rows, columns = np.nonzero(segment_map == number)
    box = (0, 0, 0, 0)
    if len(rows):
        box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
    return Segment(
        id=number,
        class_id=class_id,
        label=vocabulary.labels[class_id],
        is_thing=bool(vocabulary.is_thing[class_id]),
        score=0.9 - 0.02 * number,
        in_vocabulary=0.8 - 0.02 * number,
        out_of_vocabulary=0.7 - 0.02 * number,
        area=len(rows),
        box=box,
    )
