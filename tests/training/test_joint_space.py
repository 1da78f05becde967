"""Training the joint space on tiny synthetic regions, and extracting its features on tiny masks."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from eovseg.data.panoptic_folder import PanopticFolder
from eovseg.errors import ConfigError, DataError
from eovseg.model.joint_space import JointSpace
from eovseg.model.values import TowerFeatures
from eovseg.training import joint_features, joint_learning, joint_report
from eovseg.training.joint_learning import TrainingData, calibrate, fit, imagenet_names
from eovseg.training.joint_space import JointSpaceConfig, main
from eovseg.vocabulary import Vocabulary

CLASSES, FEATURES, DIMENSION = 4, 8, 4


def training_data() -> TrainingData:
    """Every class has its own feature direction, a label on its own axis and a synonym near it."""
    generator = torch.Generator().manual_seed(3)
    centres = torch.eye(FEATURES)[:CLASSES] * 3
    labels = torch.arange(CLASSES).repeat(30)
    features = centres[labels] + 0.5 * torch.randn(len(labels), FEATURES, generator=generator)
    words = [torch.stack([axis, torch.nn.functional.normalize(axis + 0.2, dim=0)]) for axis in torch.eye(DIMENSION)]
    return TrainingData(features, labels, features[:20].clone(), words)


def blank_space() -> JointSpace:
    torch.manual_seed(0)
    space = JointSpace(FEATURES, DIMENSION, classes=5)
    space.class_embeddings.copy_(torch.nn.functional.normalize(torch.randn(5, DIMENSION), dim=-1))
    space.conse_weight.fill_(0.5)
    return space


def accuracy(space: JointSpace, data: TrainingData) -> float:
    best = joint_report.similarities(space(data.features), data.class_words).argmax(-1)
    return float((best == data.labels).float().mean())


CONFIG = JointSpaceConfig(steps=150, batch=32, learning_rate=0.02, distillation=0.1)


def test_learning_lowers_the_loss_and_names_the_regions() -> None:
    records: list[dict[str, float]] = []
    space = blank_space()
    before = accuracy(space, training_data())
    fit(space, training_data(), CONFIG, records.append)
    assert records[-1]["classification"] < 0.5 * records[0]["classification"]
    assert accuracy(space.eval(), training_data()) > max(0.95, before)


def test_the_same_seed_gives_the_same_weights() -> None:
    first, second, other = blank_space(), blank_space(), blank_space()
    for space, seed in ((first, 1), (second, 1), (other, 2)):
        fit(space, training_data(), JointSpaceConfig(steps=5, batch=8, seed=seed))
    assert torch.equal(first.projection.weight, second.projection.weight)
    assert not torch.equal(first.projection.weight, other.projection.weight)


def test_distillation_pulls_towards_the_classifier() -> None:
    """With more distillation, the learned part's 5-way prediction is closer to the classifier's."""

    def distance(weight: float) -> float:
        space, data = blank_space(), training_data()
        generator = torch.Generator().manual_seed(1)
        space.classifier_weight.copy_(torch.randn(5, FEATURES, generator=generator))
        space.conse_weight.zero_()
        records: list[dict[str, float]] = []
        fit(space, data, JointSpaceConfig(steps=150, batch=32, learning_rate=0.02, distillation=weight), records.append)
        return records[-1]["distillation"]

    assert distance(5.0) < 0.7 * distance(0.0)


def test_held_out_classes_are_removed_from_regions_and_words() -> None:
    rest = training_data().without([1])
    assert len(rest.class_words) == 3 and len(rest.labels) == 90
    assert rest.labels.unique().tolist() == [0, 1, 2]
    torch.testing.assert_close(rest.class_words[1], training_data().class_words[2])
    # The preceding region, of class 1, was removed.
    torch.testing.assert_close(rest.features[1], training_data().features[2])


def test_calibration_finds_the_best_temperature() -> None:
    space, data = blank_space(), training_data()
    fit(space, data, CONFIG)
    similarity = joint_report.similarities(space(data.features), data.class_words).detach()

    def loss(scale: Tensor) -> float:
        return float(torch.nn.functional.cross_entropy(scale * similarity, data.labels))

    calibrate(space, data.features, data.labels, data.class_words)
    best = space.logit_scale.detach().exp()
    assert all(loss(best) <= loss(torch.tensor(scale)) + 1e-6 for scale in (1.0, 5.0, 20.0, 60.0, 100.0))


@pytest.mark.parametrize("change", [{"steps": 0}, {"batch": -1}, {"learning_rate": 0.0}, {"fewest_words": 0.0}])
def test_invalid_settings_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(change))}=.* is not allowed"):
        JointSpaceConfig(**change)  # type: ignore[arg-type]


def test_coverage_counts_a_segments_share_of_every_cell() -> None:
    segment_map = np.zeros((32, 80), np.int32)  # padded to 32 × 96: three cells
    segment_map[:, :48] = 7  # all of the first cell, half of the second
    segment_map[:, 64:] = 9  # half of the third cell, the other half is padding
    weights = joint_features.coverage(segment_map, [7, 9], (1, 3))
    assert weights.tolist() == [[[1.0, 0.5, 0.0]], [[0.0, 0.0, 0.5]]]
    dense = torch.tensor([[[3.0, 6.0, 9.0]]])
    assert joint_features.pool(dense, weights).tolist() == [[4.0], [9.0]]  # (3 + 6 / 2) / 1.5


def test_views_keep_image_and_segments_aligned() -> None:
    segment_map = np.zeros((300, 400), np.int32)
    segment_map[100:250, 50:200] = 1
    image = np.repeat((segment_map * 200).astype(np.uint8)[..., None], 3, axis=2)
    for seed in range(5):
        view, segments = joint_features.random_view(image, segment_map, np.random.default_rng(seed))
        assert view.shape[:2] == segments.shape and max(segments.shape) <= 384
        if (segments == 1).any():
            assert view[segments == 1].mean() > view[segments == 0].mean() + 50


def _image_encoder(pixels: Tensor) -> TowerFeatures:
    none = torch.zeros(0)
    return TowerFeatures(
        (none,) * 4, torch.nn.functional.avg_pool2d(pixels, 32).mean(1, keepdim=True).expand(-1, 1280, -1, -1)
    )


def test_regions_without_labels_come_back_from_their_file(tmp_path: Path) -> None:
    Image.fromarray(np.full((64, 96, 3), 255, np.uint8)).save(tmp_path / "white.jpg")
    regions = joint_features.unlabelled_regions(_image_encoder, tmp_path, views=2, boxes=3, seed=0)
    assert regions.features.shape == (6, 1280) and set(regions.category_ids) == {0}
    assert (regions.areas > 0).all() and (regions.areas <= 1).all()
    regions.save(tmp_path / "regions.npz")
    again = joint_features.Regions.load(tmp_path / "regions.npz")
    assert torch.equal(again.features, regions.features) and list(again.photos) == list(regions.photos)


def test_a_folder_without_photos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no photos"):
        joint_features.unlabelled_regions(_image_encoder, tmp_path, views=1, boxes=1, seed=0)


def test_the_command_reports_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "space.jsonl").write_text("the log of an earlier run")
    assert main(["--data", str(tmp_path / "nowhere"), "--output", str(tmp_path / "space.safetensors")]) == 1
    assert "nowhere" in capsys.readouterr().err
    assert (tmp_path / "space.jsonl").read_text() == "the log of an earlier run"


def test_imagenet_names_are_in_the_classifiers_order() -> None:
    names = imagenet_names()
    assert len(names) == 1000 and (names[0], names[294], names[999]) == ("tench", "brown bear", "toilet tissue")


def write_folder(folder: Path, categories: list[dict]) -> None:
    """One photo of one pixel, which belongs to the last category."""
    photo = {"id": 1, "file_name": "a.png", "width": 1, "height": 1}
    segment = {"id": 1, "category_id": categories[-1]["id"], "iscrowd": 0, "area": 1}
    annotation = {"image_id": 1, "file_name": "a.png", "segments_info": [segment]}
    for name in ("images", "panoptic"):
        (folder / name).mkdir(parents=True)
        Image.new("RGB", (1, 1), (1, 0, 0)).save(folder / name / "a.png")
    document = {"images": [photo], "annotations": [annotation], "categories": categories}
    (folder / "panoptic.json").write_text(json.dumps(document))


def test_only_the_things_of_pseudo_labels_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    person, sky = {"id": 1, "name": "person", "isthing": 1}, {"id": 187, "name": "sky", "isthing": 0}
    for name in ("own", "pseudo"):
        write_folder(tmp_path / name, [person, sky])
    ids, photos = np.array([1, 187, 1, 187]), np.array(["train", "train", "validation", "test"])
    shared = (ids, photos, np.full(4, 384), np.full(4, 0.5, np.float32))
    regions = {
        "own": joint_features.Regions(torch.arange(4.0)[:, None], *shared),
        "pseudo": joint_features.Regions(torch.arange(4.0, 8.0)[:, None], *shared),
        joint_learning.TEST_SOURCE: joint_features.Regions(torch.zeros(1, 1), *(part[:0] for part in shared)),
    }
    monkeypatch.setattr(joint_learning, "xs_sources", lambda _: [SimpleNamespace(root=tmp_path / "own")])
    monkeypatch.setattr(joint_learning, "identities", lambda part: {part})
    for also, expected in ((None, [0, 1]), (tmp_path / "pseudo", [0, 1, 4])):
        (training, labels), (validation, _) = joint_learning.split_regions(tmp_path, regions, also)
        assert training.features.flatten().tolist() == expected and len(labels) == len(expected)
        assert set(validation.photos) == {"validation"}


def test_unseen_classes_share_no_word_with_the_trained_ones(tmp_path: Path) -> None:
    """Ids up to 200 are COCO's; LVIS adds remarks in parentheses to its names, which words do not have."""
    names = {
        87: "scissor blades", 300: "bicycle", 301: "Bicycle (toy)", 302: "necklace", 303: "cup (drinking)",
        304: "wet suit", 305: "short pants (clothing)", 306: "Necktie", 307: "TIE", 308: "lamp",
    }  # fmt: skip
    categories = [{"id": number, "name": name, "isthing": 1} for number, name in names.items()]
    write_folder(tmp_path, categories)
    asked: list[str] = []

    def encode(words: Sequence[str]) -> Tensor:
        asked.extend(words)
        return torch.zeros(len(words), DIMENSION)

    ids = np.array([300, 302, 304, 304, 87])
    regions = joint_features.Regions(torch.arange(5.0)[:, None], ids, ids.astype(str), ids, np.ones(5, np.float32))
    coco = Vocabulary.preset("coco-panoptic-133")
    test = joint_report.unseen_test(regions, PanopticFolder(tmp_path), coco, encode)
    assert asked == ["necklace", "wet suit", "short pants", "Necktie"]
    assert test.labels.tolist() == [0, 1, 1] and test.regions.features.flatten().tolist() == [1, 2, 3]
    assert test.words.shape == (4, DIMENSION)
