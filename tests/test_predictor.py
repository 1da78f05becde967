"""The public API with the shipped XS weights: caching, settings without rerunning the network, and all tasks."""

import copy
import gc
import pickle
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import eovseg
from eovseg.assets import asset_path
from eovseg.background import with_background
from eovseg.vocabulary import Vocabulary

WORDS = "person, people: thing; car; bus; road; sky: stuff; tree; building; sidewalk, pavement: stuff"


@pytest.fixture
def predictor(xs: eovseg.Predictor) -> eovseg.Predictor:
    return xs


@pytest.fixture(scope="module")
def photo() -> Path:
    return asset_path("photos/paris-street.jpg")


def test_result_is_consistent(predictor: eovseg.Predictor, photo: Path) -> None:
    result = predictor(photo, WORDS)
    with Image.open(photo) as image:
        assert result.segment_map.shape == (image.height, image.width)
    assert result.segment_map.dtype == np.int32
    assert result.segments
    assert set(np.unique(result.segment_map)) - {0} == {s.id for s in result.segments}
    for segment in result.segments:
        mask = result.segment_map == segment.id
        rows, columns = np.nonzero(mask)
        assert segment.area == mask.sum()
        assert segment.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert segment.label == result.vocabulary.labels[segment.class_id]
        assert segment.is_thing == result.vocabulary.is_thing[segment.class_id]
        for value in (segment.score, segment.in_vocabulary, segment.out_of_vocabulary):
            assert 0 <= value <= 1
    stuff = [s.class_id for s in result.segments if not s.is_thing]
    assert len(stuff) == len(set(stuff))


def test_same_photo_and_words_give_the_same_result(predictor: eovseg.Predictor, photo: Path) -> None:
    first, second = predictor(photo, WORDS), predictor(np.asarray(Image.open(photo)), Vocabulary.coerce(WORDS))
    assert np.array_equal(first.segment_map, second.segment_map)
    assert first.segments == second.segments


def test_an_added_word_encodes_one_word_and_keeps_the_image_half(predictor: eovseg.Predictor, photo: Path) -> None:
    vocabulary = Vocabulary.preset("ade20k-150")
    predictor(photo, vocabulary)
    images, encoded = predictor.image_halves, predictor.words.encoded_words
    predictor(photo, vocabulary + "quokka")
    assert predictor.image_halves == images
    assert predictor.words.encoded_words == encoded + 1


def test_a_photo_that_is_not_cached_evicts_no_other(predictor: eovseg.Predictor, photo: Path) -> None:
    predictor(photo, "bear")
    kept = predictor._kept.keys()
    other = np.zeros((96, 96, 3), dtype=np.uint8)
    halves = predictor.image_halves
    predictor(other, "bear", keep=False)
    predictor(other, "bear", keep=False)
    assert predictor.image_halves == halves + 2 and predictor._kept.keys() == kept


def test_settings_do_not_run_the_network(predictor: eovseg.Predictor, photo: Path) -> None:
    decoded = predictor.decode(predictor.encode_image(photo), WORDS)
    before = predictor.image_halves, predictor.word_halves
    strict = predictor.compose(decoded, score_threshold=0.9, overlap_threshold=1.0)
    loose = predictor.compose(decoded, score_threshold=0.0, overlap_threshold=0.0, void_threshold=1.0)
    predictor.compose(decoded, alpha=1.0, beta=1.0, ensemble="arithmetic")
    assert (predictor.image_halves, predictor.word_halves) == before
    assert (strict.segment_map > 0).sum() < (loose.segment_map > 0).sum()


def test_no_segments_if_every_kernel_is_void(predictor: eovseg.Predictor, photo: Path) -> None:
    decoded = predictor.decode(predictor.encode_image(photo), WORDS)
    for task in ("panoptic", "semantic"):
        result = predictor.compose(decoded, task=task, void_threshold=0.0)
        assert result.segments == ()
        assert not result.segment_map.any()


def test_semantic_and_instance_tasks(predictor: eovseg.Predictor, photo: Path) -> None:
    semantic = predictor(photo, WORDS, task="semantic", void_threshold=1.0)
    assert semantic.segment_map.min() > 0
    assert len({s.class_id for s in semantic.segments}) == len(semantic.segments)
    instance = predictor(photo, WORDS, task="instance")
    assert instance.instance_masks is not None
    assert instance.instance_masks.shape[0] == len(instance.segments) > 0
    assert all(s.is_thing for s in instance.segments)
    assert [s.score for s in instance.segments] == sorted((s.score for s in instance.segments), reverse=True)


def test_a_vocabulary_of_stuff_has_no_instances(predictor: eovseg.Predictor, photo: Path) -> None:
    result = predictor(photo, "road: stuff; sky: stuff", task="instance")
    assert result.segments == () and not result.segment_map.any()
    assert result.instance_masks is not None and result.instance_masks.shape == (0, *result.segment_map.shape)


def test_the_same_pixels_in_two_files_keep_their_names(
    predictor: eovseg.Predictor, photo: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.jpg"
    copy.write_bytes(photo.read_bytes())
    before = predictor.image_halves
    assert [r.name for r in predictor((photo, copy, photo), WORDS)] == [photo.name, "copy.jpg", photo.name]
    assert predictor.image_halves <= before + 1


def test_each_segment_names_its_kernel(predictor: eovseg.Predictor, photo: Path) -> None:
    decoded = predictor.decode(predictor.encode_image(photo), WORDS)
    probabilities = predictor.log_probabilities(decoded).softmax(-1)
    for task in ("panoptic", "semantic"):
        result = predictor.compose(decoded, task=task, calibration=False)
        assert len(result.queries) == len(result.segments) > 0
        for segment, query in zip(result.segments, result.queries, strict=True):
            assert segment.score == pytest.approx(float(probabilities[query, segment.class_id]))
    found = predictor.compose(decoded, task="instance")
    assert len(found.queries) == len(found.segments)
    assert all(0 <= query < predictor.config.queries for query in found.queries)


@pytest.mark.parametrize("task", ["panoptic", "semantic", "instance"])
def test_a_background_competes_without_being_named(predictor: eovseg.Predictor, photo: Path, task: str) -> None:
    alone = predictor(photo, "person", task=task, void_threshold=1.0)
    against = predictor(photo, "person", background=WORDS, task=task, void_threshold=1.0)
    assert set(against.vocabulary.labels) == {"person", "other"}
    assert {segment.label for segment in against.segments} <= {"person", "other"}
    listed = with_background(Vocabulary.coerce("person", apart_from=WORDS), WORDS)
    everything = predictor(photo, listed, task=task, void_threshold=1.0)
    person = [segment.area for segment in everything.segments if segment.label == "person"]
    assert [segment.area for segment in against.segments if segment.label == "person"] == person
    if task != "instance":
        assert sum(person) < sum(segment.area for segment in alone.segments)
        assert against.segments[-1].label == "other" and against.background


def test_a_list_gives_a_list(predictor: eovseg.Predictor, photo: Path) -> None:
    results = predictor([photo, asset_path("photos/bear.jpg")], "bear; grass; road")
    assert [r.name for r in results] == ["paris-street.jpg", "bear.jpg"]


def test_raw_output(predictor: eovseg.Predictor, photo: Path) -> None:
    image = np.asarray(Image.open(photo))[:130, :100]
    raw = predictor.raw(image, WORDS)
    classes, queries = 8, predictor.config.queries
    assert [tuple(m.shape) for m in raw.mask_logits] == [(queries, 40, 32)] * 3  # 160 x 128 padded, stride 4
    assert [tuple(c.shape) for c in raw.class_logits] == [(queries, classes + 1)] * 3
    assert raw.out_of_vocabulary_logits.shape == raw.class_log_probabilities.shape == (queries, classes + 1)
    total = raw.class_log_probabilities.exp().sum(-1)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (3, 90), (200, 40)])
def test_tiny_and_narrow_photos(predictor: eovseg.Predictor, size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 90, np.uint8)
    assert predictor(image, WORDS).segment_map.shape == size


def names(result: eovseg.Result) -> np.ndarray:
    """(H, W) label of every pixel, "" if unlabelled."""
    return np.array(["", *(segment.label for segment in result.segments)])[result.segment_map]


def test_ten_thousand_words(predictor: eovseg.Predictor, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Words for things not in the photo win no pixels, no matter how many precede the right ones."""
    alone = predictor(photo, WORDS)
    known = predictor.text_embeddings(WORDS).embeddings
    opposite = -torch.nn.functional.normalize(known.mean(0), dim=0).numpy()
    encoded: list[str] = []

    def quick(words: list[str]) -> np.ndarray:  # the text encoder would take minutes
        encoded.extend(words)
        return np.tile(opposite, (len(words), 1))

    monkeypatch.setattr(predictor.words, "_encode", quick)
    made_up = [f"made-up word {i}" for i in range(10_000)]
    result = predictor(photo, Vocabulary.parse("; ".join([*made_up, WORDS])))
    assert encoded == made_up
    assert all(segment.class_id >= 10_000 for segment in result.segments)
    assert (names(result) == names(alone)).mean() > 0.85  # VAS's weights depend on the list


@pytest.mark.parametrize(
    "settings",
    [{"alpha": -0.1}, {"beta": 2}, {"task": "depth"}, {"ensemble": "sum"}, {"void_threshold": 1.1}, {"alpha": "0.5"}],
    ids=str,
)
def test_wrong_settings_are_refused_with_a_sentence(predictor: eovseg.Predictor, photo: Path, settings: dict) -> None:
    with pytest.raises(eovseg.ConfigError) as caught:
        predictor(photo, WORDS, **settings)
    assert str(caught.value).endswith(".")


def test_wrong_variant_device_and_type() -> None:
    with pytest.raises(eovseg.ConfigError):
        eovseg.load("xxl")
    with pytest.raises(eovseg.ConfigError, match=r"for a weight file, call load\(checkpoint='mine.safetensors'\)\.$"):
        eovseg.load("mine.safetensors")
    with pytest.raises(eovseg.ConfigError):
        eovseg.load("xs", dtype="float16")  # type: ignore[arg-type]
    allowed = r"; choose auto, cpu, cuda, cuda:1 \(the second GPU\) or mps\.$"
    for device in ("gpu", "mps:7", "cuda:99"):
        with pytest.raises(eovseg.ConfigError, match=f"^The device '{device}' is not available .*{allowed}"):
            eovseg.load("xs", device=device)


@pytest.mark.parametrize(("device", "pinned"), [("cpu", False), ("mps", False), ("cuda", True)])
def test_pinned_memory_is_used_for_cuda_only(
    device: str, pinned: bool, predictor: eovseg.Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[object] = []

    def pin(tensor: torch.Tensor) -> torch.Tensor:
        steps.append("pinned")
        return tensor

    def move(tensor: torch.Tensor, target: torch.device, non_blocking: bool) -> torch.Tensor:
        steps.append((tensor.dtype, target.type, non_blocking))
        return tensor

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    monkeypatch.setattr(torch.Tensor, "to", move)
    monkeypatch.setattr(predictor, "device", torch.device(device))
    predictor._on_device(torch.zeros(1, 3, 2, 2, dtype=torch.uint8))
    assert steps == ["pinned"] * pinned + [(torch.uint8, device, pinned)]


def test_pixels_can_be_moved_to_any_device(predictor: eovseg.Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictor, "device", torch.device("meta"))  # stands in for an unavailable device
    assert predictor._on_device(torch.zeros(1, 3, 2, 2, dtype=torch.uint8)).device.type == "meta"


def test_a_result_is_composed_again_from_cached_masks(predictor: eovseg.Predictor, photo: Path) -> None:
    decoded = predictor.decode(predictor.encode_image(photo), "bear; grass: stuff")
    first = predictor.compose(decoded)
    tiled = weakref.ref(decoded.masks)
    again = predictor.compose(decoded, alpha=0.1)
    assert decoded.masks is tiled()
    assert np.array_equal(predictor.compose(decoded).segment_map, first.segment_map)
    assert again.segment_map.shape == first.segment_map.shape
    other = predictor.decode(predictor.encode_image(photo), "grass: stuff")
    predictor.compose(other)
    assert other.masks is not decoded.masks
    del decoded
    gc.collect()
    assert tiled() is None, "masks are released with their logits"


def test_steps_can_be_copied_and_pickled_after_a_result(predictor: eovseg.Predictor, photo: Path) -> None:
    decoded = predictor.decode(predictor.encode_image(photo), "bear; grass: stuff")
    first = predictor.compose(decoded)
    for other in (copy.deepcopy(decoded), pickle.loads(pickle.dumps(decoded))):
        assert np.array_equal(predictor.compose(other).segment_map, first.segment_map)


def test_each_step_is_shown_in_one_line(predictor: eovseg.Predictor, photo: Path) -> None:
    state = predictor.encode_image(photo)
    decoded = predictor.decode(state, "bear; grass: stuff")
    assert repr(predictor) == "Predictor(EOV-Seg XS, cpu, float32)"
    height, width = state.image.shape[:2]
    assert repr(decoded) == f"Decoded(ImageState({photo.name}, {width} x {height}), 2 classes)"
    assert repr(predictor.raw(photo, "bear; grass: stuff")).startswith("RawOutput(64 queries, 2 classes, ")


def test_the_variant_is_read_from_the_checkpoint(predictor: eovseg.Predictor) -> None:
    weights = asset_path("weights/eovseg-xs.safetensors")
    assert eovseg.load(checkpoint=weights).config == eovseg.load("xs", checkpoint=weights).config == predictor.config
    with pytest.raises(eovseg.CheckpointError, match=r"contains EOV-Seg XS, not S\. Use --variant xs"):
        eovseg.load("s", checkpoint=weights)
