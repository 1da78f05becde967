"""The loop on a tiny network: resuming, bad steps, signals, averaging."""

import json
import os
import signal
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from eovseg.data.batches import Target, TrainingBatch
from eovseg.errors import CheckpointError, EovsegError
from eovseg.model.config import ModelConfig
from eovseg.model.values import TextEmbeddings
from eovseg.training import checkpointing, loop
from eovseg.training.config import LossConfig, TrainConfig
from eovseg.training.ema import WeightAverage
from eovseg.training.loop import Trainer
from tests.training.conftest import TinyLogits, make_target

CLASSES = (("cat", "kitten"), ("sky",), ("grass",))


class TinyNetwork(nn.Module):
    """Masks from one convolution, with a batch norm (buffers), dropout (random state) and a frozen part."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.config = ModelConfig(hidden_dim=8 * width)
        self.vas = "built in"  # a network with VAS needs no similarity head in training
        self.tower = nn.Conv2d(3, width, 4, stride=4).requires_grad_(False)
        self.text_encoder = nn.Identity()
        self.norm = nn.BatchNorm2d(width)
        self.masks = nn.Conv2d(width, 3, 1)
        self.score = nn.Linear(width, 2)
        self.encoded: list[str] = []

    def encode_words(self, words: list[str]) -> Tensor:
        self.encoded += words
        return torch.stack([torch.tensor([len(word), 1.0]) for word in words])

    def encode_image(self, pixels: Tensor) -> Tensor:
        return nn.functional.dropout(self.norm(self.tower(pixels / 255)), 0.3, self.training)

    def decode(
        self, features: Tensor, words: TextEmbeddings, *, pixel_embeddings: bool, extra_masks: Tensor | None
    ) -> TinyLogits:
        masks = self.masks(features)
        scores = self.score(features.mean((2, 3)))[:, None].expand(-1, 3, -1) @ torch.randn(2, 4)
        rows = torch.cat([words.embeddings, words.embeddings[:1]])
        compared = (masks[:, :2], rows) if pixel_embeddings else (None, None)
        if extra_masks is None:
            return TinyLogits((masks,), (scores,), *compared)
        extra = extra_masks + masks.mean(1, keepdim=True), scores[:, :1].expand(-1, extra_masks.shape[1], -1)
        return TinyLogits((masks,), (scores,), *compared, (extra[0],), (extra[1],))

    def trained_state_dict(self) -> dict[str, Tensor]:
        return {k: v.detach() for k, v in self.state_dict(keep_vars=True).items() if not k.startswith("tower")}

    def load_trained_state_dict(self, state: dict[str, Tensor]) -> None:
        missing, unexpected = self.load_state_dict(state, strict=False)
        assert not unexpected and all(name.startswith("tower") for name in missing)


def batch_at(index: int) -> TrainingBatch:
    generator = torch.Generator().manual_seed(index)
    masks = torch.zeros(2, 32, 32, dtype=torch.bool)
    masks[0, :, : 8 + index % 8] = True
    masks[1, 24:] = True
    targets = [Target(**vars(make_target(masks, [0, 1], 3))) for _ in range(2)]
    pixels = torch.rand(2, 3, 32, 32, generator=generator) * 255
    pixels[:, :2] *= masks  # each mask is visible as a colour
    return TrainingBatch(pixels, targets, list(CLASSES), torch.tensor([True, False, False]))


def stream(indices: range) -> Iterable[TrainingBatch]:
    return map(batch_at, indices)


CONFIG = TrainConfig(
    steps=6, batch=2, crop=32, learning_rate=0.05, ema=0.9, clip=1.0, log_every=1, checkpoint_every=2, keep=2,
    warmup=0, schedule="cosine", loss=LossConfig(points=32, pilots=2, dense_weight=1.0, dense_pixels=16),
)  # fmt: skip


def trainer(folder: Path, config: TrainConfig = CONFIG, batches: loop.Stream = stream, **options: Any) -> Trainer:
    torch.manual_seed(7)
    return Trainer(TinyNetwork(), batches, config, folder, device="cpu", **options)  # type: ignore[arg-type]


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def comparable(folder: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k != "seconds_per_step"} for line in lines(folder)]


@pytest.mark.parametrize("config", [CONFIG, replace(CONFIG, accumulate=2), replace(CONFIG, ema=0.0)])
def test_an_interrupted_run_continues_exactly(tmp_path: Path, config: TrainConfig) -> None:
    whole = trainer(tmp_path / "whole", config)
    assert whole.run() == 6

    def cut(indices: range) -> Iterable[TrainingBatch]:
        for index in indices:
            if index == 3 * config.accumulate:
                raise OSError("power failure")  # after the checkpoint of step 2 and the log line of step 3
            yield batch_at(index)

    with pytest.raises(OSError, match="power failure"):
        trainer(tmp_path / "cut", config, cut).run()
    resumed = trainer(tmp_path / "cut", config)
    torch.manual_seed(99)  # must be overridden by the checkpoint's random state
    assert resumed.resume() and resumed.step == 2
    resumed.run()

    assert comparable(tmp_path / "cut") == comparable(tmp_path / "whole")
    for name, value in whole.network.trained_state_dict().items():
        assert torch.equal(value, resumed.network.trained_state_dict()[name]), name
    if whole.average is not None and resumed.average is not None:
        assert all(torch.equal(v, resumed.average.weights[k]) for k, v in whole.average.weights.items())


def test_checkpoints_contain_trained_parts_only_and_the_newest_are_kept(tmp_path: Path) -> None:
    run = trainer(tmp_path)
    run.run()
    assert [path.name for path in checkpointing.checkpoints(tmp_path)] == [
        "checkpoint_0000004.pt",
        "checkpoint_0000006.pt",
    ]
    state = checkpointing.load(tmp_path / "checkpoint_0000006.pt")
    assert "norm.running_mean" in state["model"] and not any(name.startswith("tower") for name in state["model"])
    assert TrainConfig.from_json(state["train_config"]) == CONFIG
    weights = checkpointing.averaged_weights(state)
    assert run.average is not None and torch.equal(weights["masks.weight"], run.average.weights["masks.weight"])
    assert not torch.equal(weights["masks.weight"], state["model"]["masks.weight"])


def test_training_lowers_the_loss_and_each_word_is_encoded_once(tmp_path: Path) -> None:
    run = trainer(tmp_path, replace(CONFIG, steps=60))
    run.run()
    log = lines(tmp_path)
    assert sum(line["layer0_mask"] for line in log[-5:]) < 0.85 * sum(line["layer0_mask"] for line in log[:5])
    assert sorted(run.network.encoded) == ["cat", "grass", "kitten", "sky"]  # type: ignore[arg-type]


def test_bad_steps_are_skipped_counted_and_leave_no_trace(tmp_path: Path) -> None:
    def poisoned(indices: range) -> Iterable[TrainingBatch]:
        for index in indices:
            batch = batch_at(index)
            if index in (1, 2):
                batch.pixels[:] = float("nan")
            yield batch

    run = trainer(tmp_path, batches=poisoned)
    run.run()
    assert [line["skipped"] for line in lines(tmp_path)] == [0, 1, 2, 2, 2, 2]
    assert all(value.isfinite().all() for value in run.network.trained_state_dict().values())
    assert run.average is not None and run.average.updates == 4


def test_a_run_with_only_bad_steps_stops(tmp_path: Path) -> None:
    def poisoned(indices: range) -> Iterable[TrainingBatch]:
        for index in indices:
            batch = batch_at(index)
            batch.pixels[:] = float("nan")
            yield batch

    with pytest.raises(EovsegError, match="not finite for 50 consecutive steps"):
        trainer(tmp_path, replace(CONFIG, steps=60), poisoned).run()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_with_a_loadable_checkpoint(tmp_path: Path, number: signal.Signals) -> None:
    before = signal.getsignal(number)

    def interrupted(indices: range) -> Iterable[TrainingBatch]:
        for index in indices:
            if index == 2:
                os.kill(os.getpid(), number)
            yield batch_at(index)

    assert trainer(tmp_path, batches=interrupted).run() == 3
    found = checkpointing.load_newest(tmp_path)
    assert found is not None and found[1]["step"] == 3
    assert signal.getsignal(number) is before


def test_a_run_without_a_step_saves_nothing_and_starts_a_new_log(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"step": 7}\n')
    assert trainer(tmp_path).run(minutes=0) == 0
    assert not checkpointing.checkpoints(tmp_path) and not lines(tmp_path)


@pytest.mark.parametrize(("every", "steps"), [(6, [6]), (4, [4, 6]), (1_000, [6])])
def test_evaluation_uses_averaged_weights_and_changes_nothing(
    tmp_path: Path, every: int, steps: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[tuple[int, bool, Tensor]] = []

    def evaluate(step: int, network: Any) -> dict[str, float]:
        torch.rand(1000)
        seen.append((step, network.training, network.masks.weight.clone()))
        return {"PQ": 12.5, "SQ": 70.0, "mIoU": 20.04}

    trainer(tmp_path / "plain").run()
    run = trainer(tmp_path / "judged", replace(CONFIG, evaluate_every=every), evaluate=evaluate)
    run.run()
    assert [(step, training) for step, training, _ in seen] == [(step, False) for step in steps]
    assert run.average is not None and torch.equal(seen[-1][2], run.average.weights["masks.weight"])
    judged = comparable(tmp_path / "judged")
    assert [line for line in judged if "evaluation" in line] == [
        {"step": step, "evaluation": {"PQ": 12.5, "SQ": 70.0, "mIoU": 20.04}} for step in steps
    ]
    assert f"Validation after step {steps[-1]}: PQ 12.5, mIoU 20.0\n" in capsys.readouterr().out
    assert [line for line in judged if "evaluation" not in line] == comparable(tmp_path / "plain")


def test_a_damaged_checkpoint_is_skipped(tmp_path: Path) -> None:
    trainer(tmp_path).run()
    newest = checkpointing.checkpoints(tmp_path)[-1]
    newest.write_bytes(newest.read_bytes()[:500])
    run = trainer(tmp_path)
    assert run.resume() and run.step == 4
    with pytest.raises(CheckpointError, match="damaged or not a training checkpoint"):
        checkpointing.load(newest)
    for path in checkpointing.checkpoints(tmp_path):
        path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="None of the 2 checkpoints"):
        trainer(tmp_path).resume()


def test_a_checkpoint_from_before_a_setting_resumes(tmp_path: Path) -> None:
    trainer(tmp_path).run()
    newest = checkpointing.checkpoints(tmp_path)[-1]
    state = checkpointing.load(newest)
    config = json.loads(state["model_config"])
    del config["edges"], config["mask_threshold"]
    torch.save({**state, "model_config": json.dumps(config)}, newest)
    assert trainer(tmp_path).resume()


def test_a_foreign_checkpoint_is_refused(tmp_path: Path) -> None:
    trainer(tmp_path).run()
    other = Trainer(TinyNetwork(width=5), stream, CONFIG, tmp_path, device="cpu")  # type: ignore[arg-type]
    with pytest.raises(
        CheckpointError, match=r"another network: hidden_dim 40 \(was 32\)\. Use its settings, with the same --start"
    ):
        other.resume()
    network: Any = TinyNetwork()
    network.score.requires_grad_(False)
    with pytest.raises(CheckpointError, match="belongs to a run that trains other parts"):
        Trainer(network, stream, CONFIG, tmp_path, device="cpu").resume()
    assert not trainer(tmp_path / "empty").resume()
    with pytest.raises(CheckpointError, match="does not exist"):
        checkpointing.load(tmp_path / "nothing.pt")
    torch.save({"model": {}}, tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match=r"not a training checkpoint.*a weight file needs no export"):
        checkpointing.load(tmp_path / "weights.pt")


def test_the_average_follows_its_formula() -> None:
    average = WeightAverage({"w": torch.tensor([1.0]), "count": torch.tensor(0)}, decay=0.15)
    average.update({"w": torch.tensor([2.0]), "count": torch.tensor(1)})  # decay 1/10
    assert average.weights["w"].item() == pytest.approx(0.1 * 1 + 0.9 * 2)
    average.update({"w": torch.tensor([3.0]), "count": torch.tensor(2)})  # min(0.15, 2/11) = 0.15
    assert average.weights["w"].item() == pytest.approx(0.15 * 1.9 + 0.85 * 3)
    assert average.weights["count"].item() == 2
