"""Training and evaluation of XS's joint space (`eovseg.model.joint_space`).

The projection is trained with two losses: cross-entropy over words at labelled regions, and distillation of the
ImageNet classifier's probabilities at all regions, from cosine similarities with the 1,000 class names. The second
keeps the vocabulary open: without it, accuracy on classes without labels drops to almost nothing.
"""

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from eovseg.atomic_files import atomic_file, write_atomically
from eovseg.data.classes import TrainingClasses
from eovseg.data.panoptic_folder import PanopticFolder
from eovseg.data.sources import xs_sources
from eovseg.data.xs_parts import PARTS, identities
from eovseg.errors import DataError
from eovseg.model.backbones import EfficientNetLite2Extractor
from eovseg.model.config import variant_config
from eovseg.model.efficientnet import EfficientNetLite2
from eovseg.model.joint_space import JointSpace
from eovseg.model.text import MiniLMTextEncoder, encode_words
from eovseg.training import joint_report
from eovseg.training.joint_features import PhotoFeatures, Regions, labelled_regions, unlabelled_regions
from eovseg.training.joint_space import JointSpaceConfig
from eovseg.vocabulary import Vocabulary

SHORT_SIDES = (384,)  # short sides of the fixed views, pixels
RANDOM_VIEWS = 2
UNLABELLED_VIEWS, UNLABELLED_BOXES = 1, 12
SMALLEST_AREA = 0.0008  # fraction of a view; features of smaller regions are dominated by their surroundings
WARM_UP = 50
TEST_SOURCE = "lvis_val_subset"  # its classes and photos are never trained on
Log = Callable[[dict[str, float]], None]


@dataclass(frozen=True)
class TrainingData:
    """Training data: `features` (M, F) of regions, their classes `labels` (M,), and the word embeddings of each
    class, `class_words` (K tensors (n, D), unit rows, label first); `unlabelled` features (U, F) for distillation.
    """

    features: Tensor
    labels: Tensor
    unlabelled: Tensor
    class_words: Sequence[Tensor]

    def without(self, classes: Collection[int]) -> "TrainingData":
        """A copy without the regions and words of some classes."""
        kept = [k for k in range(len(self.class_words)) if k not in classes]
        new_index = torch.full((len(self.class_words),), -1)
        new_index[kept] = torch.arange(len(kept))
        keep = new_index[self.labels] >= 0
        words = [self.class_words[k] for k in kept]
        return TrainingData(self.features[keep], new_index[self.labels[keep]], self.unlabelled, words)


def new_space(cnn: EfficientNetLite2, class_embeddings: Tensor, features: Tensor, conse_weight: float) -> JointSpace:
    """An untrained joint space with the classifier of `cnn`, its class names (1000, D) and the feature statistics."""
    width = cnn.classifier.weight.shape[1]
    fine = (features.shape[1] - width) // 2
    space = JointSpace(width, class_embeddings.shape[1], len(class_embeddings), fine)
    with torch.no_grad():
        space.classifier_weight.copy_(cnn.classifier.weight)
        space.classifier_bias.copy_(cnn.classifier.bias)
        space.class_embeddings.copy_(class_embeddings)
        moments = space.moments(features.float())
        space.feature_mean.copy_(moments.mean(0))
        space.feature_std.copy_(moments.std(0) + 0.02)  # avoids amplifying rare features
        space.conse_weight.fill_(conse_weight)
    return space


def fit(space: JointSpace, data: TrainingData, config: JointSpaceConfig, log: Log = lambda record: None) -> None:
    """Trains the projection and the temperature in place; `log` receives the losses every 50 steps."""
    rng = np.random.default_rng(config.seed)
    generator = torch.Generator().manual_seed(config.seed)
    teacher_scale = torch.nn.Parameter(torch.tensor(30.0).log())
    optimizer = torch.optim.AdamW(
        [
            {"params": [space.projection.weight], "weight_decay": config.weight_decay},
            {"params": [space.projection.bias, space.logit_scale, teacher_scale], "weight_decay": 0.0},
        ],
        lr=config.learning_rate,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min(1.0, (s + 1) / WARM_UP) * (1 + np.cos(np.pi * s / config.steps)) / 2
    )
    # Precompute the classifier's output; 1,000 probabilities in half precision are small compared with the features.
    pool = torch.cat([data.unlabelled, data.features])
    probabilities = torch.cat([space.class_probabilities(part.float()).half() for part in pool.split(4096)])
    first_labelled = len(data.unlabelled)
    chances = _draw_chances(data.labels, config.balance)
    for step in range(config.steps):
        drawn = torch.from_numpy(rng.choice(len(chances), config.batch, p=chances))
        anywhere = torch.from_numpy(rng.integers(0, len(pool), config.batch))
        rows = torch.cat([drawn + first_labelled, anywhere])
        embeddings = _embed(space, pool[rows].float(), probabilities[rows].float(), config.dropout, generator)
        labelled, distilled = embeddings.split(config.batch)
        labels = data.labels[drawn]
        words, competing = _draw_words(data.class_words, labels, config, rng)
        logits = space.logit_scale.exp().clamp(max=100) * labelled @ words.T  # (batch, K)
        classification = F.cross_entropy(logits.masked_fill(~competing, -torch.inf), labels)
        guess = (teacher_scale.exp().clamp(max=100) * distilled @ space.class_embeddings.T).log_softmax(-1)
        distillation = F.kl_div(guess, probabilities[anywhere].float(), reduction="batchmean")
        optimizer.zero_grad()
        (classification + config.distillation * distillation).backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 0 or step == config.steps - 1:
            log(
                {
                    "step": step,
                    "classification": classification.item(),
                    "distillation": distillation.item(),
                    "scale": space.logit_scale.exp().item(),
                }
            )


def calibrate(space: JointSpace, features: Tensor, labels: Tensor, class_words: Sequence[Tensor]) -> None:
    """Sets the temperature by grid search for the lowest cross-entropy of `features` (M, F) over all words."""
    similarity = joint_report.similarities(space(features.float()), class_words)
    scales = torch.logspace(0, 2, 81)
    losses = torch.stack([F.cross_entropy(scale * similarity, labels) for scale in scales])
    with torch.no_grad():
        space.logit_scale.copy_(scales[losses.argmin()].log())


def _embed(
    space: JointSpace, features: Tensor, probabilities: Tensor, dropout: float, generator: torch.Generator
) -> Tensor:
    """Unit embeddings as in `JointSpace.forward`, with known class probabilities and dropout on the features."""
    keep = (torch.rand(features.shape, generator=generator) >= dropout) / (1 - dropout)
    standard = space.standardised(features) * keep
    learned = F.normalize(space.projection(standard), dim=-1)
    conse = F.normalize(probabilities @ space.class_embeddings, dim=-1)
    return F.normalize(learned + space.conse_weight * conse, dim=-1)


def _draw_chances(labels: Tensor, balance: float) -> np.ndarray:
    counts = torch.bincount(labels).double()
    chances = counts[labels] ** -balance
    return (chances / chances.sum()).numpy()


def _draw_words(
    class_words: Sequence[Tensor], labels: Tensor, config: JointSpaceConfig, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """One word of every class (K, D), the label or a synonym, and which classes compete (K,) bool."""
    synonym = rng.random(len(class_words)) < config.synonym_chance
    rows = [words[rng.integers(len(words)) if s else 0] for words, s in zip(class_words, synonym, strict=True)]
    competing = torch.from_numpy(rng.random(len(class_words)) < rng.uniform(config.fewest_words, 1))
    competing[labels] = True
    return torch.stack(rows), competing


def gather(
    data: Path, cache: Path | None, image_encoder: PhotoFeatures, seed: int, also: Path | None = None
) -> dict[str, Regions]:
    """Regions of every source below `data`, of `also` and of `unlabelled`, cached in `cache`."""
    regions = {}
    folders = [source.root for source in xs_sources(data)] + [data / TEST_SOURCE, data / "unlabelled"]
    for folder in (*folders, also):
        if folder is None:
            continue
        name = folder.name
        path = None if cache is None else cache / f"{name}.npz"
        if path is not None and path.is_file():
            regions[name] = Regions.load(path)
            continue
        if name == "unlabelled":
            regions[name] = unlabelled_regions(image_encoder, folder, UNLABELLED_VIEWS, UNLABELLED_BOXES, seed)
        else:
            views = 0 if name == TEST_SOURCE else RANDOM_VIEWS
            regions[name] = labelled_regions(image_encoder, PanopticFolder(folder), SHORT_SIDES, views, seed)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            regions[name].save(path)
    return regions


def split_regions(
    data: Path, regions: dict[str, Regions], also: Path | None = None
) -> tuple[tuple[Regions, Tensor], tuple[Regions, Tensor]]:
    """Training and validation regions with their COCO classes, split as in `xs_parts`; test photos are excluded.

    Only the things of `also`, a folder of pseudo-labels, are used: its stuff has the names that XS itself gave.
    """
    folders = [PanopticFolder(source.root) for source in xs_sources(data)]
    if also is not None:
        folders.append(PanopticFolder(also))
    held, test = (identities(name) for name in PARTS)
    classes = TrainingClasses.coco()
    test_photos = np.union1d(regions[TEST_SOURCE].photos, sorted(test))
    parts: dict[bool, list[tuple[Regions, np.ndarray]]] = {False: [], True: []}
    for folder in folders:
        index = {c.id: classes.index(c) for c in folder.categories.values()}
        found = regions[folder.name]
        labels = np.array([index[i] for i in found.category_ids.tolist()])
        usable = (labels < classes.base_size) & ~np.isin(found.photos, test_photos)
        if folder.root == also:
            usable &= np.isin(found.category_ids, [c.id for c in folder.categories.values() if c.is_thing])
        unseen = np.isin(found.photos, sorted(held))
        for validation, keep in (
            (False, usable & ~unseen & (found.areas > SMALLEST_AREA)),
            (True, usable & unseen & (found.short_sides > 0)),
        ):
            parts[validation].append((found.select(keep), labels[keep]))
    if not sum(len(labels) for _, labels in parts[True]):
        raise DataError(f"The sources below {data} have no validation photos to evaluate the joint space on.")
    return _joined(parts[False]), _joined(parts[True])


def _joined(parts: Sequence[tuple[Regions, np.ndarray]]) -> tuple[Regions, Tensor]:
    return Regions.join([part for part, _ in parts]), torch.from_numpy(np.concatenate([labels for _, labels in parts]))


def run(
    data: Path,
    output: Path,
    cache: Path | None,
    config: JointSpaceConfig,
    held_out: int,
    log: Log,
    also: Path | None = None,
) -> JointSpace:
    """Extracts features, trains, calibrates, evaluates; writes `output` (safetensors, half precision) and a report."""
    encoder = MiniLMTextEncoder()
    prompts = variant_config("xs").prompts

    def encode(words: Sequence[str]) -> Tensor:
        return encode_words(encoder, words, prompts)

    extractor = EfficientNetLite2Extractor(config.maps == "fine").eval()
    extractor.to(memory_format=torch.channels_last)
    image_encoder = extractor.tower
    regions = gather(data, cache and cache / config.maps, extractor, config.seed, also)
    (training, labels), (validation, validation_labels) = split_regions(data, regions, also)
    coco = Vocabulary.preset("coco-panoptic-133")
    class_words = encode(coco.words).split([len(entry.names) for entry in coco.classes])
    training_data = TrainingData(training.features, labels, regions["unlabelled"].features, class_words)
    class_embeddings = encode(imagenet_names())

    def learn(kept: TrainingData) -> JointSpace:
        space = new_space(image_encoder, class_embeddings, kept.features, config.conse_weight)
        fit(space, kept, config, log)
        return space.eval().requires_grad_(False)

    space = learn(training_data)
    middle = torch.from_numpy(validation.short_sides == SHORT_SIDES[0])
    calibrate(space, validation.features[middle], validation_labels[middle], class_words)
    test = joint_report.unseen_test(regions[TEST_SOURCE], PanopticFolder(data / TEST_SOURCE), coco, encode)
    report = {
        "seed": config.seed,
        "config": asdict(config),
        "prompts": list(prompts),
        "scale": space.logit_scale.exp().item(),
        "training_regions": len(labels),
        "unlabelled_regions": len(training_data.unlabelled),
        "validation_photos": len(np.unique(validation.photos)),
        "validation": joint_report.seen_report(space, validation, validation_labels, class_words, SHORT_SIDES),
        "unseen": joint_report.unseen_report(space, test, class_words, SHORT_SIDES),
    }
    if held_out:
        hidden = joint_report.choose_held_out(validation_labels[middle], held_out, config.seed)
        report["held_out_control"] = joint_report.held_out_report(
            learn(training_data.without(hidden)),
            validation.features[middle],
            validation_labels[middle],
            class_words,
            {k: coco.classes[k].label for k in hidden},
        )
    # Half precision, except for the temperature, where rounding would be noticeable.
    state = {name: t if t.ndim == 0 else t.half() for name, t in space.state_dict().items()}
    with atomic_file(output) as part:
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, part)
    write_atomically(output.with_suffix(".json"), json.dumps(report, indent=2) + "\n")
    return space


def imagenet_names() -> list[str]:
    """The first WordNet name of the 1,000 ImageNet classes, in the classifier's order."""
    from timm.data.imagenet_info import ImageNetInfo

    information = ImageNetInfo("imagenet1k")
    return [str(information.index_to_description(index)).split(", ")[0] for index in range(1000)]
