"""The paper's recipe as default, command-line overrides, detection of data, and 16-bit training."""

import argparse
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from analysis.shapes import SHAPE_WORDS, write_shapes
from eovseg.data.augment import PADDING_GREY, Augmentation, augment, random_view
from eovseg.data.batches import BatchSettings, TrainingBatches
from eovseg.data.sources import VOID, Sample, SegmentLabel, TrainingSource
from eovseg.errors import ConfigError, DataError
from eovseg.fast.decoder import FastDDA
from eovseg.fast.pooling import pool
from eovseg.model.classifier import pool_by_masks
from eovseg.training.__main__ import add_arguments
from eovseg.training.command import check_targets, settings
from eovseg.training.config import TrainConfig, xs_config
from eovseg.training.data_choice import choose_data
from eovseg.training.schedule import milestones
from tests.training.test_loop import CONFIG, lines, trainer


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(["--data", "photos", "--output", "run", *words])


def sample(height: int, width: int) -> Sample:
    """A photo with a thing (1) in the left half and an unknown right half."""
    image = np.zeros((height, width, 3), np.uint8)
    ids = np.full((height, width), VOID, np.uint16)
    image[:, : width // 2], ids[:, : width // 2] = 200, 1
    return Sample(image, ids, {1: SegmentLabel(0, True, False)}, np.ones(1, dtype=bool))


@pytest.mark.parametrize("variant", ["s", "m", "l"])
def test_the_released_configuration_is_the_default(variant: str) -> None:
    # parity/NOTES.md section 5 and config_S.json: IMS_PER_BATCH, MAX_ITER, STEPS, AdamW, clipping, criterion, mapper.
    chosen = settings(options("--variant", variant))
    assert (chosen.variant, chosen.batch, chosen.steps, chosen.crop) == (variant, 16, 200_000, 1_024)
    assert (chosen.learning_rate, chosen.weight_decay, chosen.schedule) == (1e-4, 0.05, "step")
    assert (milestones(chosen), chosen.warmup, chosen.warmup_factor) == ((163_889, 187_546), 10, 1.0)
    assert (chosen.clip, chosen.clip_per, chosen.ema, chosen.accumulate) == (0.01, "model", 0.0, 1)
    assert chosen.precision == "float32"  # AMP.ENABLED False
    assert (chosen.evaluate_every, chosen.checkpoint_every) == (5_000, 5_000)
    loss = chosen.loss
    assert (loss.class_weight, loss.mask_weight, loss.dice_weight, loss.no_object_weight) == (2.0, 5.0, 5.0, 0.1)
    assert (loss.points, loss.oversample, loss.importance) == (12_544, 3.0, 0.75)
    assert (loss.dense_weight, loss.pilots, loss.repeats) == (0.0, 0, (1, 1, 1))
    views = chosen.views
    assert (views.batch_size, views.crop_size, views.cache_side) == (16, 1_024, 0)
    changed = views.augmentation
    assert (changed.scale, changed.scale_law, changed.aspect, changed.flip) == ((0.1, 2.0), "uniform", 1.0, True)
    assert changed.brightness == changed.contrast == changed.saturation == changed.hue == 0  # COLOR_AUG_SSD False
    assert changed.grey_probability == changed.paste_probability == 0


def test_the_schedule_shrinks_with_the_steps() -> None:
    assert milestones(TrainConfig(steps=1_000)) == (819, 938)
    assert milestones(TrainConfig(steps=1_000, milestones=(5,))) == (5,)


def test_large_scale_jitter_pads_right_and_below_and_draws_evenly() -> None:
    widths, flipped, rng = [], 0, np.random.default_rng(0)
    for _ in range(300):
        view = random_view(sample(40, 80), 64, Augmentation.released(), rng)
        assert view.image.shape == (64, 64, 3)
        seen = (view.segment_map != VOID) | (view.image[..., 0] != PADDING_GREY)
        rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
        height, width = rows[-1] + 1, columns[-1] + 1
        assert seen[:height, :width].all()  # the photo is in the corner, the rest is padding
        assert (view.segment_map[seen == 0] == VOID).all()
        if width < 64:  # completely visible, so its scale is known
            widths.append(width / 64)
            assert abs(height - width / 2) <= 1
            flipped += int(view.segment_map[0, 0] == VOID)
    assert 0.08 < min(widths) < 0.15  # 0.1 of the crop is the smallest
    # Of uniform scales from 0.1 to 2, 47 % are below 1, and these are uniform as well; log-uniform gives 77 %.
    assert 0.39 < len(widths) / 300 < 0.56
    assert 0.48 < np.mean(widths) < 0.62
    assert 0.38 < flipped / len(widths) < 0.62


def test_a_large_scale_is_one_exact_crop() -> None:
    twice = replace(Augmentation.unchanged(), scale=(2.0, 2.0))
    lefts = set()
    for seed in range(40):
        view = random_view(sample(64, 64), 64, twice, np.random.default_rng(seed))
        labelled = (view.segment_map == 1).sum(axis=1)
        assert (labelled == labelled[0]).all()
        assert ((view.image[..., 0] > 100) == (view.segment_map == 1)).mean() > 0.98  # photo and labels stay aligned
        lefts.add(int(labelled[0]))
    assert min(lefts) < 8 and max(lefts) > 56


def test_unchanged_shows_the_whole_photo() -> None:
    donor, photo = sample(30, 30), sample(64, 64)
    view = augment(photo, donor, 64, Augmentation.unchanged(), np.random.default_rng(1))
    assert (view.image == photo.image).all() and (view.segment_map == photo.segment_map).all()


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (Augmentation, "scale", (0.0, 1.0)),
        (Augmentation, "scale", (2.0, 1.0)),
        (Augmentation, "scale_law", "even"),
        (Augmentation, "aspect", 0.5),
        (Augmentation, "paste_probability", 1.5),
        (BatchSettings, "batch_size", 0),
        (BatchSettings, "crop_size", 31),
        (BatchSettings, "keep_absent", (0.8, 0.3)),
        (BatchSettings, "keep_absent", (0.0, 1.5)),
    ],
)
def test_impossible_views_are_refused(kind: type[Augmentation | BatchSettings], name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        kind(**{name: value})


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shapes(tmp_path_factory.mktemp("data") / "scenes", 6, 64)


def test_released_batches_know_every_word_and_leave_no_pixel_out(scenes: Path) -> None:
    source = TrainingSource(scenes, "panoptic", 1.0, dataset="panoptic-folder", split="all")
    batches = TrainingBatches([source], replace(BatchSettings.released(), batch_size=2, crop_size=64))
    for step in range(4):
        batch = batches[step]
        assert batch.class_names == [entry.names for entry in SHAPE_WORDS.classes]
        assert all((target.valid & target.labelled).all() for target in batch.targets)  # padding too, as released
        assert all(mask.any() for target in batch.targets for mask in target.masks)


def test_a_cache_of_nothing_reads_photos_again_at_their_size(scenes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = TrainingSource(scenes, "panoptic", 1.0, dataset="panoptic-folder", split="all")
    for side, reads, size in ((0, 2, 64), (32, 1, 32)):
        opened = TrainingBatches([source], BatchSettings(2, 32, cache_side=side)).sources[0]
        count = 0
        load = opened.folder.load_image

        def counted(photo: Any, load: Any = load) -> np.ndarray:
            nonlocal count
            count += 1
            return load(photo)

        monkeypatch.setattr(opened.folder, "load_image", counted)
        assert opened.sample(0).image.shape == opened.sample(0).image.shape == (size, size, 3)
        assert count == reads


def test_options_replace_single_settings() -> None:
    text = (
        "--steps 50 --batch 4 --accumulate 3 --crop 128 --lr 0.01 --schedule cosine --ema 0.5 --precision float16 "
        "--augmentation lsj --copy-paste 0.25 --pilots 3 --dense 0 --fusion EAF --no-vas --evaluate-every 7 "
        "--pictures-every 9 --short-side 96 --vocabulary cat;sky"
    )
    chosen = settings(options(*text.split()))
    assert (chosen.steps, chosen.batch, chosen.accumulate, chosen.crop, chosen.learning_rate) == (50, 4, 3, 128, 0.01)
    assert (chosen.schedule, chosen.ema, chosen.precision) == ("cosine", 0.5, "float16")
    assert chosen.views.augmentation == replace(Augmentation.released(), paste_probability=0.25)
    assert (chosen.views.batch_size, chosen.views.crop_size) == (4, 128)
    assert (chosen.loss.pilots, chosen.loss.dense_weight, chosen.fusion, chosen.vas) == (3, 0.0, "EAF", False)
    assert (chosen.evaluate_every, chosen.pictures_every, chosen.short_side) == (7, 9, 96)
    assert (chosen.vocabulary, chosen.data) == ("cat;sky", ("photos",))
    assert settings(options()) == xs_config(data=("photos",))
    assert settings(options("--precision", "bf16")).precision == "bfloat16"
    assert settings(options("--augmentation", "full", "--variant", "s")).views.augmentation == Augmentation()


def test_a_recipe_file_is_the_start_and_options_win(tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    path.write_text(replace(xs_config(steps=77, ema=0.5), views=BatchSettings(keep_label=0.3)).to_json())
    chosen = settings(options("--config", str(path), "--steps", "9"))
    assert (chosen.steps, chosen.ema, chosen.views.keep_label, chosen.variant) == (9, 0.5, 0.3, "xs")
    path.write_text('{"variant": "s", "loss": {"points": 99}, "views": {"augmentation": {"flip": false}}}')
    chosen = settings(options("--config", str(path)))
    assert chosen.loss == replace(TrainConfig().loss, points=99)
    assert chosen.views.augmentation == replace(Augmentation.released(), flip=False)
    assert (chosen.variant, chosen.steps) == ("s", 200_000)
    with pytest.raises(ConfigError, match="for variant 's', not 'xs'"):
        settings(options("--config", str(path), "--variant", "xs"))
    path.write_text('{"views": {"keep_label": 0.3}}')
    assert settings(options("--config", str(path))).variant == "xs", "as without a recipe"
    assert settings(options("--config", str(path), "--variant", "s")).steps == 200_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read"),
        ("{", "not valid JSON"),
        ("[1]", "must be a JSON object"),
        ('{"stepz": 3}', "Unknown training setting stepz; choose from accumulate"),
        ('{"loss": 3}', "loss is 3"),
        ('{"ema": "a lot"}', "ema is 'a lot'; give a value like 0"),
        ('{"steps": 1.5}', "steps is 1.5"),
        ('{"precision": "int8"}', "precision is 'int8'; give a value like 'bfloat16'"),
        ('{"bf16": 1}', "Unknown training setting bf16"),
        ('{"loss": {"dense_reduction": "logsumexp"}}', "Unknown training setting dense_reduction"),
        ('{"views": {"augmentation": {"scale": [2, 1]}}}', "scale is"),
    ],
)
def test_invalid_recipes_are_refused(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "recipe.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        settings(options("--config", str(path)))
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value) and "recipe.json" in str(caught.value)


NEGATIVE = replace(xs_config().views, unlabelled_is_negative=True)


@pytest.mark.parametrize(
    ("older", "changes"),
    [
        ('"views": {"unknown_is_background": true}', {"views": NEGATIVE}),
        ('"loss": {"dense_balanced": true, "dense_reduction": "max"}', {}),
        ('"bf16": true, "fp16": false', {"precision": "bfloat16"}),
        ('"bf16": false, "fp16": true', {"precision": "float16"}),
        ('"bf16": false', {"precision": "float32"}),
        ('"fp16": false', {"precision": "bfloat16"}),
    ],
)
def test_older_names_of_settings_still_work(older: str, changes: dict[str, Any]) -> None:
    assert TrainConfig.from_json(f'{{"variant": "xs", {older}}}') == xs_config(**changes)


def test_a_custom_folder_is_recognised_and_split(scenes: Path, tmp_path: Path) -> None:
    plain = choose_data(scenes)
    (source,) = plain.sources
    assert (source.dataset, source.split, source.validation_fraction) == ("panoptic-folder", "all", 0.0)
    assert plain.validation is None and plain.classes is None

    held = choose_data(scenes, hold_out=True)
    assert held.validation is not None
    measured = {photo.file_name for photo in held.validation.photos}
    trained = {photo.file_name for photo in TrainingBatches(held.sources).sources[0].photos}
    assert measured and trained and not measured & trained and len(measured | trained) == 6
    assert held.validation.vocabulary.labels == SHAPE_WORDS.labels

    other = choose_data(scenes, words="circle: thing; floor: stuff", validate=scenes)
    assert other.validation is not None and len(other.validation.photos) == 6
    assert other.classes is not None and len(other.classes) == len(other.validation.vocabulary) == 2

    parted = tmp_path / "parted"
    for split in ("train", "val"):
        for name in ("images", "panoptic"):
            shutil.copytree(scenes / name, parted / name / split)
        shutil.copy(scenes / "panoptic.json", parted / f"panoptic_{split}.json")
    both = choose_data(parted, hold_out=True)
    assert (both.sources[0].split, both.sources[0].validation_fraction) == ("train", 0.0)
    assert both.validation is not None and len(both.validation.photos) == 6

    (tmp_path / "xs").mkdir()
    shutil.copytree(scenes, tmp_path / "xs" / "coco_panoptic")
    ours = choose_data(tmp_path / "xs", hold_out=True)
    assert [entry.root.name for entry in ours.sources][:2] == ["coco_panoptic", "coco_taming"]
    assert ours.validation is not None and {photo.file_name for photo in ours.validation.photos} == measured

    with pytest.raises(DataError, match="nothing does not exist"):
        TrainingBatches(choose_data(tmp_path / "nothing", "coco-panoptic").sources)


def test_index_masks_are_recognised(tmp_path: Path) -> None:
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.zeros((64, 64), np.uint8)).save(tmp_path / name / "a.png")
    (tmp_path / "classes.txt").write_text("grass: stuff\nsky: stuff\n")
    (source,) = choose_data(tmp_path).sources
    assert source.dataset == "mask-folder"
    batch = TrainingBatches([source], BatchSettings(1, 64, Augmentation.unchanged(), (1.0, 1.0)))[0]
    assert batch.class_names == [("grass",), ("sky",)]
    assert batch.targets[0].labels.tolist() == [0]
    (tmp_path / "classes.txt").write_text("cat: thing\ndog: thing\n")
    with pytest.raises(DataError, match=r"no masks to learn\. Mark classes with `: stuff`"):
        check_targets(TrainingBatches(choose_data(tmp_path).sources))
    for name in ("images", "masks"):
        for split in ("train", "val"):
            (tmp_path / name / split).mkdir()
            shutil.copy(tmp_path / name / "a.png", tmp_path / name / split / f"{split}.png")
    parted = choose_data(tmp_path, hold_out=True)
    assert parted.sources[0].split == "train"
    assert parted.validation is not None and [p.file_name for p in parted.validation.photos] == ["val.png"]


def test_float16_needs_cuda(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="float16 needs a CUDA device, not cpu; use bfloat16 or float32"):
        trainer(tmp_path, replace(CONFIG, precision="float16"))


def test_the_gradient_scaler_undoes_its_scale_and_shrinks_after_an_overflow(tmp_path: Path) -> None:
    plain = trainer(tmp_path / "plain")
    plain.run()
    scaled = trainer(tmp_path / "scaled")
    scaled._scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)  # a power of two does not affect rounding
    scaled.run()
    for one, other in zip(lines(tmp_path / "plain"), lines(tmp_path / "scaled"), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
        assert one["gradient_norm"] == pytest.approx(other["gradient_norm"], rel=1e-4)

    huge = trainer(tmp_path / "huge", replace(CONFIG, steps=4))
    huge._scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127, backoff_factor=2.0**-100)
    before = huge.network.masks.weight.clone()  # type: ignore[union-attr]
    huge.train_step(iter(huge.stream(range(4))))
    assert torch.equal(huge.network.masks.weight, before) and huge.skipped == 1  # type: ignore[arg-type]
    assert huge._scaler.get_scale() == 2.0**27
    huge.step = 1
    assert huge.train_step(iter(huge.stream(range(1, 4)))) is not None
    huge.save()
    again = trainer(tmp_path / "huge", replace(CONFIG, steps=4))
    again._scaler = torch.amp.GradScaler("cpu")
    assert again.resume() and again._scaler.get_scale() == 2.0**27


def test_sums_over_pixels_stay_in_range_in_float16() -> None:
    torch.manual_seed(0)
    masks = torch.full((1, 3, 80, 80), -1.0)
    masks[0, 0], masks[0, 1, :2] = 1.0, 1.0  # the whole photo, two rows, nothing
    features, kernels = torch.randint(90, 110, (1, 8, 80, 80)).float(), torch.randn(1, 3, 8)
    assert features.sum((2, 3)).min() > torch.finfo(torch.float16).max
    interaction = FastDDA(8)
    wanted_mean, wanted = pool_by_masks(features, masks), interaction(kernels, features, masks)
    with torch.autocast("cpu", dtype=torch.float16):
        for given in (features, features.half()):
            assert torch.equal(pool(given, masks).mean, wanted_mean)
            assert torch.equal(interaction(kernels, given, masks), wanted)
    assert wanted_mean[0, 2].abs().max() == 0
