"""The training loop, deterministic in the step, so an interrupted run resumes exactly.

N processes with b photos each (`eovseg.distributed`) take the same steps as one process with N·b photos.
"""

import json
import math
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from tqdm import tqdm

from eovseg import distributed
from eovseg.atomic_files import write_atomically
from eovseg.data.batches import TrainingBatch
from eovseg.errors import CheckpointError, ConfigError, EovsegError
from eovseg.fast import optimise
from eovseg.fast.precision import has_bfloat16
from eovseg.fast.towers import FastLite2Extractor
from eovseg.fast.vas import word_rows
from eovseg.model.network import EOVSeg
from eovseg.model.values import TextEmbeddings
from eovseg.model.vas import VocabularyAwareSelection
from eovseg.stopping import StopSignals
from eovseg.training import checkpointing
from eovseg.training.batch_norm import share_batch_norms
from eovseg.training.config import TrainConfig, differences
from eovseg.training.ema import WeightAverage
from eovseg.training.frozen_tower import FrozenTower, available
from eovseg.training.instance_loss import instance_loss
from eovseg.training.losses import SetCriterion
from eovseg.training.monitor import Monitor
from eovseg.training.optimizer import build_optimizer
from eovseg.training.pilots import make_mask_pilots
from eovseg.training.points import generator_of, points_of_photos
from eovseg.training.schedule import learning_rate

# The run is aborted after this many consecutive steps with a non-finite loss.
MAX_BAD_STEPS = 50

Stream = Callable[[range], Iterable[TrainingBatch]]
Evaluate = Callable[[int, EOVSeg], dict[str, float]]
Value = TypeVar("Value")


class Trainer:
    """Trains the unfrozen parts of `network` on `stream(range)`, the batches with these indices in order.

    A batch must depend only on its index and not use the global random generators (`data.batches.batch_stream`). Each
    process gets its share of it: the i-th photo of process p is number i·N + p of the batch. `evaluate` is called every
    `config.evaluate_every` steps and at the end with the averaged weights, on all processes, and its results are
    logged. `output` receives `log.jsonl` and the checkpoints. `monitor` receives every line of the log and, every
    `config.pictures_every` steps, the averaged weights to draw pictures.
    """

    def __init__(
        self,
        network: EOVSeg,
        stream: Stream,
        config: TrainConfig,
        output: Path,
        evaluate: Evaluate | None = None,
        device: torch.device | str | None = None,
        monitor: Monitor | None = None,
    ) -> None:
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        half = config.precision == "float16"
        if half and self.device.type != "cuda":
            raise ConfigError(f"float16 needs a CUDA device, not {self.device.type}; use bfloat16 or float32.")
        self.network = network = optimise(network).to(self.device)
        self.network.text_encoder.to("cpu")  # only needed for new words; it is the largest part of L
        if config.channels_last:
            self.network.to(memory_format=torch.channels_last)
        self.stream = stream
        self.config = config
        self.output = output
        self.evaluate = evaluate
        self.monitor = monitor if distributed.is_main() else None
        self.criterion = SetCriterion(config.loss)
        self.auxiliary = similarity_head(network) if config.loss.dense_weight else None
        trained = nn.ModuleList([network] if self.auxiliary is None else [network, self.auxiliary])
        if distributed.count() > 1:
            share_batch_norms(trained)
            distributed.copy_from_main(_trained_tensors(network, self.auxiliary))
            torch.manual_seed(config.seed + distributed.rank())  # other randomness differs between processes
        self.optimizer = build_optimizer(trained, config)
        self.average = WeightAverage(network.trained_state_dict(), config.ema) if config.ema else None
        self.step = 0
        self.stopped = False
        self.skipped = 0
        self._parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        # Restored after a bad step, to keep NaN out of the running statistics of the trained batch norms.
        self._buffers = [
            buffer
            for module in trained.modules()
            if any(p.requires_grad for p in module.parameters(recurse=False))
            for buffer in module.buffers(recurse=False)
        ]
        self._half = torch.float16 if half else torch.bfloat16
        self._autocast = half or (config.precision == "bfloat16" and has_bfloat16(self.device))
        self._use_openvino()
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=half)
        self._words: dict[str, Tensor] = {}

    def _use_openvino(self) -> None:
        """Runs XS's frozen image encoder, which needs no gradients, with OpenVINO on CPUs; equal up to rounding."""
        extractor = getattr(self.network, "feature_extractor", None)
        wanted = self.config.openvino and self.device.type == "cpu" and available()
        if not wanted or not isinstance(extractor, FastLite2Extractor):
            return
        if next(extractor.tower.parameters()).dtype == torch.float32:
            side = -(-self.config.crop // 32) * 32
            extractor.program = FrozenTower(extractor.tower, (self.config.batch // distributed.count(), 3, side, side))

    def resume(self) -> bool:
        """Resumes from the latest readable checkpoint in `output`; returns False if there is none.

        Exact with the same number of processes; another number is possible if the total batch size is the same.
        """
        found = distributed.run_on_main(lambda: checkpointing.load_newest(self.output))
        if found is None:
            return False
        path, state = found
        own = checkpointing.model_config(path, state).to_dict()
        if changes := differences(own, self.network.config.to_dict()):
            raise CheckpointError(
                f"{path.name} belongs to another network: {changes}. Use its settings, with the same --start if it "
                "had one, or another --output."
            )
        self.network.load_trained_state_dict(state["model"])
        try:
            if self.auxiliary is not None:
                self.auxiliary.load_state_dict(state["auxiliary"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (TypeError, ValueError) as error:
            raise CheckpointError(
                f"{path.name} belongs to a run that trains other parts. Use its --hold and --dense or another --output."
            ) from error
        if self.average is not None and state["ema"] is not None:
            self.average.weights = {name: value.to(self.device) for name, value in state["ema"].items()}
            self.average.updates = state["ema_updates"]
        self._scaler.load_state_dict(state.get("scaler") or self._scaler.state_dict())
        self.step, self.skipped = state["step"], state["skipped"]
        states = [state["rng"], *state.get("rng_of_others", [])]
        if distributed.rank() < len(states):
            checkpointing.restore_random_state(states[distributed.rank()])
        if distributed.is_main():
            _drop_log_after(self.output / "log.jsonl", self.step)
        return True

    def save(self) -> None:
        """Writes one checkpoint of the current state of all processes."""
        states = distributed.gather(checkpointing.random_state())
        if states is None:
            return
        state = {
            "model": _on_cpu(self.network.trained_state_dict()),
            "ema": None if self.average is None else _on_cpu(self.average.weights),
            "ema_updates": 0 if self.average is None else self.average.updates,
            "auxiliary": None if self.auxiliary is None else _on_cpu(self.auxiliary.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "step": self.step,
            "skipped": self.skipped,
            "rng": states[0],
            "rng_of_others": states[1:],
            "train_config": self.config.to_json(),
            "model_config": json.dumps(self.network.config.to_dict()),
        }
        checkpointing.save(self.output, self.step, state, self.config.keep)

    def run(self, minutes: float | None = None) -> int:
        """Trains for up to `config.steps` steps, `minutes`, or until SIGTERM / SIGINT; returns the number of steps.

        A signal to any process stops all of them after the current step and sets `stopped`; otherwise, the last weights
        are evaluated. Ends with a checkpoint, except after an exception or without any step.
        """
        self.output.mkdir(parents=True, exist_ok=True)
        end = math.inf if minutes is None else time.monotonic() + 60 * minutes
        window: defaultdict[str, float] = defaultdict(float)
        bad_in_a_row, saved, evaluated = 0, self.step, self.step
        self.network.train()
        silent = None if distributed.is_main() else True
        bar = tqdm(total=self.config.steps, initial=self.step, unit="step", disable=silent)
        log_file = self.output / "log.jsonl" if distributed.is_main() else Path(os.devnull)
        first, last = (step * self.config.accumulate for step in (self.step, self.config.steps))
        # Worker processes start inside `StopSignals`, so that Ctrl-C does not kill them in the middle of a step.
        watched = nullcontext() if self.monitor is None else closing(self.monitor)
        with StopSignals() as stop, bar, watched, log_file.open("a" if self.step else "w") as log:
            batches = iter(self.stream(range(first, last)))
            while self.step < self.config.steps:
                if distributed.on_any_process(stop.received or time.monotonic() >= end):
                    break
                start = time.perf_counter()
                parts = self.train_step(batches)
                bad_in_a_row = bad_in_a_row + 1 if parts is None else 0
                if bad_in_a_row == MAX_BAD_STEPS:
                    raise EovsegError(
                        f"The loss was not finite for {MAX_BAD_STEPS} consecutive steps (up to step {self.step}). "
                        "Lower the learning rate and resume from the last checkpoint."
                    )
                for name, value in (parts or {}).items():
                    window[name] += value
                window["good"] += parts is not None
                window["seconds"] += time.perf_counter() - start
                window["steps"] += 1
                self.step += 1
                bar.update()
                if self.step % self.config.log_every == 0 or self.step == self.config.steps:
                    self._log(log, window)
                    bar.set_postfix(loss=f"{window['loss'] / max(1.0, window['good']):.3f}", skipped=self.skipped)
                    window.clear()
                if self.step % self.config.evaluate_every == 0:
                    self._evaluate(log)
                    evaluated = self.step
                if self.monitor is not None and self.step % self.config.pictures_every == 0:
                    self._with_average(self.monitor.pictures)
                if self.step % self.config.checkpoint_every == 0:
                    self.save()
                    saved = self.step
            if saved != self.step:
                self.save()
            self.stopped = self.step < self.config.steps and distributed.on_any_process(stop.received)
            if evaluated != self.step and not self.stopped:
                self._evaluate(log)
        return self.step

    def train_step(self, batches: Iterator[TrainingBatch]) -> dict[str, float] | None:
        """One optimiser step; returns the loss and its parts, or None if it was not finite and the step was skipped."""
        rate = learning_rate(self.step, self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        before = [buffer.clone() for buffer in self._buffers]
        parts: defaultdict[str, float] = defaultdict(float)
        first = self.step * self.config.accumulate
        for index, batch in enumerate([next(batches) for _ in range(self.config.accumulate)], first):
            losses = self.losses(batch, index)
            loss = torch.stack(list(losses.values())).sum() / self.config.accumulate
            # Over all processes, so that a non-finite loss on one skips the step on all.
            whole, *values = distributed.mean(torch.stack([loss, *losses.values()]).detach().float()).tolist()
            parts["loss"] += whole
            if not math.isfinite(parts["loss"]):
                break
            self._scaler.scale(loss).backward()
            for name, value in zip(losses, values, strict=True):
                parts[name] += value / self.config.accumulate
        finite = math.isfinite(parts["loss"])
        if finite:
            distributed.average_gradients(self._parameters)
            self._scaler.unscale_(self.optimizer)
            parts["gradient_norm"] = self._clip()
            finite = math.isfinite(parts["gradient_norm"])
            if finite:
                self._scaler.step(self.optimizer)
            self._scaler.update()  # float16: reduces the scale after overflow
        if finite:
            if self.average is not None:
                self.average.update(self.network.trained_state_dict())
        else:
            self.skipped += 1
            for buffer, value in zip(self._buffers, before, strict=True):
                buffer.copy_(value)
        self.optimizer.zero_grad(set_to_none=True)
        return dict(parts) if finite else None

    def _clip(self) -> float:
        """Clips the gradient of the model or of each tensor; returns the total norm before clipping.

        With an empty mask, the gradient passes through layer norms of a zero vector, which amplify it a thousandfold.
        Clipped jointly, such a gradient would suppress those of all other tensors.
        """
        if self.config.clip_per == "model":
            return torch.nn.utils.clip_grad_norm_(self._parameters, self.config.clip).item()
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        total = torch.nn.utils.get_total_norm(gradients).item()
        if math.isfinite(total):
            for gradient in gradients:
                gradient.mul_((self.config.clip / (gradient.norm() + 1e-6)).clamp(max=1.0))
        return total

    def losses(self, batch: TrainingBatch, index: int) -> dict[str, Tensor]:
        """Forward pass and weighted losses of batch `index`; the loss is their mean over processes."""
        batch = batch.to(self.device)
        pixels, targets = batch.pixels, batch.targets
        if self.config.channels_last:
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        words = self._embed(batch.class_names)
        masks, assignment = None, None
        if self.config.loss.pilots:
            grid = tuple(-(-side // 32) * 8 for side in pixels.shape[-2:])  # at stride 4, padded to multiples of 32
            pairs = zip(targets, self._generators("cpu", index, len(targets), 0), strict=True)
            made = [make_mask_pilots([one], self.config.loss.pilots, (grid[0], grid[1]), own) for one, own in pairs]
            masks, assignment = (torch.cat(parts) for parts in zip(*made, strict=True))
        with torch.autocast(self.device.type, dtype=self._half, enabled=self._autocast):
            features = self.network.encode_image(pixels)
            logits = self.network.decode(
                features, words, pixel_embeddings=self.config.loss.dense_weight > 0, extra_masks=masks
            )
            if self.auxiliary is not None:
                logits.pixel_embeddings = self.auxiliary.embed(features.aggregated)
                logits.word_rows = word_rows(self.auxiliary, self.network.text_rows(words)[0])
        self.criterion.draw = points_of_photos(self._generators(self.device, index, len(targets), 1))
        losses = self.criterion(logits, targets, words.class_index, assignment)
        if self.config.loss.instance_weight:
            own = self._generators(self.device, index, len(targets), 2)
            loss = instance_loss(features.aggregated, targets, self.config.loss, own)
            losses["instance"] = self.config.loss.instance_weight * loss
        return losses

    def _generators(self, device: torch.device | str, index: int, photos: int, purpose: int) -> list[torch.Generator]:
        """One generator per photo of batch `index`, independent of the process that has the photo."""
        slots = range(distributed.rank(), photos * distributed.count(), distributed.count())
        return [generator_of(device, self.config.seed, index, slot, purpose) for slot in slots]

    def _embed(self, class_names: list[tuple[str, ...]]) -> TextEmbeddings:
        """Text embeddings of this step's words; each word is encoded once per run."""
        words = [word for names in class_names for word in names]
        if new := sorted({word for word in words if word not in self._words}):
            self.network.text_encoder.to(self.device)
            with torch.no_grad():
                rows = self.network.encode_words(new).to(self.device, torch.float32)
            self.network.text_encoder.to("cpu")
            self._words |= dict(zip(new, rows, strict=True))
        counts = torch.tensor([len(names) for names in class_names])
        class_index = torch.repeat_interleave(torch.arange(len(class_names)), counts).to(self.device)
        return TextEmbeddings(torch.stack([self._words[word] for word in words]), class_index)

    def _with_average(self, call: Callable[[int, EOVSeg], Value]) -> Value:
        """Calls `call` with the averaged weights, then restores the weights and the random state."""
        state = checkpointing.random_state()
        own = {name: value.clone() for name, value in self.network.trained_state_dict().items()}
        if self.average is not None:
            self.network.load_trained_state_dict(self.average.weights)
        self.network.eval()
        try:
            with torch.no_grad():
                return call(self.step, self.network)
        finally:
            self.network.load_trained_state_dict(own)
            self.network.train()
            checkpointing.restore_random_state(state)

    def _evaluate(self, log: Any) -> None:
        """Logs the evaluation of the averaged weights and prints its main figures, if there are validation photos."""
        if self.evaluate is None:
            return
        figures = self._with_average(self.evaluate)
        self._write(log, {"step": self.step, "evaluation": figures})
        if distributed.is_main():
            main = ", ".join(f"{name} {figures[name]:.1f}" for name in ("PQ", "mIoU", "AP") if name in figures)
            tqdm.write(f"Validation after step {self.step}: {main or 'no figure is defined'}")

    def _log(self, log: Any, window: dict[str, float]) -> None:
        """Logs the means over the good steps of the window."""
        good = max(1.0, window["good"])
        means = {k: round(v / good, 5) for k, v in window.items() if k not in ("good", "seconds", "steps")}
        line = {
            "step": self.step,
            "lr": self.optimizer.param_groups[0]["lr"],
            "seconds_per_step": round(window["seconds"] / window["steps"], 3),
            "skipped": self.skipped,
            **means,
        }
        self._write(log, line)

    def _write(self, log: Any, line: dict[str, Any]) -> None:
        log.write(json.dumps(line) + "\n")
        log.flush()
        if self.monitor is not None:
            self.monitor.scalars(self.step, line)


def similarity_head(network: EOVSeg) -> VocabularyAwareSelection | None:
    """The projections of VAS for the dense loss of a network without VAS; None if it has VAS.

    With this head, an ablation without VAS is trained with the same losses and lacks only the selection. The head is
    not part of the network and is stored only in training checkpoints.
    """
    if network.vas is not None:
        return None
    config = network.config
    head = VocabularyAwareSelection(config.hidden_dim, config.embed_dim, config.vas_heads)
    if config.initialisation == "short":
        nn.init.normal_(head.guide.weight, std=2.5)
    return head.to(network.void_embedding.weight)  # same device and precision


def _trained_tensors(network: EOVSeg, auxiliary: nn.Module | None) -> list[Tensor]:
    return [*network.trained_state_dict().values(), *(auxiliary.state_dict().values() if auxiliary else ())]


def _on_cpu(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu() for name, value in weights.items()}


def _drop_log_after(path: Path, step: int) -> None:
    """Removes the lines that a resumed run will write again."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError):  # the last line of a killed run may be truncated
            continue
    write_atomically(path, "".join(kept))
