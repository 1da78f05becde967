"""The training loop: one function of the step, so that an interrupted run continues as if nothing had happened."""

import json
import math
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from eovseg.data.batches import TrainingBatch
from eovseg.errors import CheckpointError, EovsegError
from eovseg.model.network import EOVSeg, TextEmbeddings
from eovseg.training import checkpointing
from eovseg.training.config import TrainConfig
from eovseg.training.ema import WeightAverage
from eovseg.training.losses import SetCriterion
from eovseg.training.optimizer import build_optimizer
from eovseg.training.pilots import make_mask_pilots
from eovseg.training.schedule import learning_rate

# So many bad steps in a row are no accident; the run stops instead of burning hours.
MAX_BAD_STEPS = 50

Stream = Callable[[range], Iterable[TrainingBatch]]
Evaluate = Callable[[int, EOVSeg], dict[str, float]]


class Trainer:
    """Trains the unfrozen parts of `network` on `stream(range)`, the batches of those indices in order.

    A batch must depend on its index only and leave the global random generators alone (`data.batches.batch_stream`).
    `evaluate` is called every `config.evaluate_every` steps with the averaged weights in place; its numbers go to the
    log. `output` receives `log.jsonl` and the checkpoints.
    """

    def __init__(
        self,
        network: EOVSeg,
        stream: Stream,
        config: TrainConfig,
        output: Path,
        evaluate: Evaluate | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.network = network.to(self.device)
        if config.channels_last:
            self.network.to(memory_format=torch.channels_last)
        self.stream = stream
        self.config = config
        self.output = output
        self.evaluate = evaluate
        self.criterion = SetCriterion(config.loss)
        self.optimizer = build_optimizer(network, config)
        self.average = WeightAverage(network.trained_state_dict(), config.ema) if config.ema else None
        self.step = 0
        self.skipped = 0
        self._parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        # A bad step must not leave its NaN in the running statistics of the trained batch norms.
        self._buffers = [
            buffer
            for module in network.modules()
            if any(p.requires_grad for p in module.parameters(recurse=False))
            for buffer in module.buffers(recurse=False)
        ]
        self._bf16 = config.bf16 and gains_from_bf16(self.device)
        self._words: dict[str, Tensor] = {}
        self._stop = False

    def resume(self) -> bool:
        """Continue from the newest readable checkpoint in `output`; False where there is none."""
        found = checkpointing.load_newest(self.output)
        if found is None:
            return False
        path, state = found
        if state["model_config"] != json.dumps(self.network.config.to_dict()):
            raise CheckpointError(
                f"{path.name} was made for another network ({state['model_config']}); "
                "use its settings or another --output."
            )
        self.network.load_trained_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None and state["ema"] is not None:
            self.average.weights = {name: value.to(self.device) for name, value in state["ema"].items()}
            self.average.updates = state["ema_updates"]
        self.step, self.skipped = state["step"], state["skipped"]
        checkpointing.restore_random_state(state["rng"])
        _drop_log_after(self.output / "log.jsonl", self.step)
        return True

    def save(self) -> Path:
        """Write a checkpoint of the present state."""
        state = {
            "model": _on_cpu(self.network.trained_state_dict()),
            "ema": None if self.average is None else _on_cpu(self.average.weights),
            "ema_updates": 0 if self.average is None else self.average.updates,
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "skipped": self.skipped,
            "rng": checkpointing.random_state(),
            "train_config": self.config.to_json(),
            "model_config": json.dumps(self.network.config.to_dict()),
        }
        return checkpointing.save(self.output, self.step, state, self.config.keep)

    def run(self, minutes: float | None = None) -> int:
        """Train up to `config.steps` steps, or for `minutes`, or until SIGTERM / SIGINT; returns the steps done.

        Ends with a checkpoint in every case but an error of its own.
        """
        self.output.mkdir(parents=True, exist_ok=True)
        end = math.inf if minutes is None else time.monotonic() + 60 * minutes
        window: defaultdict[str, float] = defaultdict(float)
        self._stop, bad_in_a_row, saved = False, 0, -1
        self.network.train()
        bar = tqdm(total=self.config.steps, initial=self.step, unit="step", disable=None)
        first, last = (step * self.config.accumulate for step in (self.step, self.config.steps))
        # Worker processes start inside `_signals`, so a Ctrl-C at the terminal does not take them away mid-step.
        with self._signals(), bar, (self.output / "log.jsonl").open("a") as log:
            batches = iter(self.stream(range(first, last)))
            while self.step < self.config.steps and not self._stop and time.monotonic() < end:
                start = time.perf_counter()
                parts = self.train_step(batches)
                bad_in_a_row = bad_in_a_row + 1 if parts is None else 0
                if bad_in_a_row == MAX_BAD_STEPS:
                    raise EovsegError(
                        f"The loss was not finite for {MAX_BAD_STEPS} steps in a row (up to step {self.step}); "
                        "lower the learning rate and resume from the last checkpoint."
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
                if self.evaluate is not None and self.step % self.config.evaluate_every == 0:
                    log.write(json.dumps({"step": self.step, "evaluation": self._evaluate(self.evaluate)}) + "\n")
                    log.flush()
                if self.step % self.config.checkpoint_every == 0:
                    self.save()
                    saved = self.step
            if saved != self.step:
                self.save()
        return self.step

    def train_step(self, batches: Iterator[TrainingBatch]) -> dict[str, float] | None:
        """One optimiser step; the loss and its parts, or None where it was not finite and nothing was changed."""
        rate = learning_rate(self.step, self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        before = [buffer.clone() for buffer in self._buffers]
        parts: defaultdict[str, float] = defaultdict(float)
        for batch in [next(batches) for _ in range(self.config.accumulate)]:
            losses = self.losses(batch)
            loss = torch.stack(list(losses.values())).sum() / self.config.accumulate
            parts["loss"] += loss.item()
            if not math.isfinite(parts["loss"]):
                break
            loss.backward()
            for name, value in losses.items():
                parts[name] += value.item() / self.config.accumulate
        finite = math.isfinite(parts["loss"])
        if finite:
            parts["gradient_norm"] = self._clip()
            finite = math.isfinite(parts["gradient_norm"])
        if finite:
            self.optimizer.step()
            if self.average is not None:
                self.average.update(self.network.trained_state_dict())
        else:
            self.skipped += 1
            for buffer, value in zip(self._buffers, before, strict=True):
                buffer.copy_(value)
        self.optimizer.zero_grad(set_to_none=True)
        return dict(parts) if finite else None

    def _clip(self) -> float:
        """Clip the gradients, of the whole model or of each tensor; the norm of the whole before.

        A mask without a pixel sends the gradient through layer norms of a zero vector, which amplify it a thousandfold:
        clipped together, such a step silences every other tensor.
        """
        if self.config.clip_per == "model":
            return torch.nn.utils.clip_grad_norm_(self._parameters, self.config.clip).item()
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        total = torch.nn.utils.get_total_norm(gradients).item()
        if math.isfinite(total):
            for gradient in gradients:
                gradient.mul_((self.config.clip / (gradient.norm() + 1e-6)).clamp(max=1.0))
        return total

    def losses(self, batch: TrainingBatch) -> dict[str, Tensor]:
        """Forward pass and weighted losses of one batch, with gradients."""
        batch = batch.to(self.device)
        pixels, targets = batch.pixels, batch.targets
        if self.config.channels_last:
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        words = self._embed(batch.class_names)
        masks, assignment = None, None
        if self.config.loss.pilots:
            grid = tuple(-(-side // 32) * 8 for side in pixels.shape[-2:])  # stride 4 of the photo padded to ×32
            masks, assignment = make_mask_pilots(targets, self.config.loss.pilots, (grid[0], grid[1]))
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self._bf16):
            features = self.network.encode_image(pixels)
            logits = self.network.decode(
                features, words, word_similarity=self.config.loss.dense_weight > 0, extra_masks=masks
            )
        return self.criterion(logits, targets, words.class_index, assignment)

    def _embed(self, class_names: list[tuple[str, ...]]) -> TextEmbeddings:
        """Text embeddings of this step's words; each word is encoded once a run."""
        words = [word for names in class_names for word in names]
        if new := sorted({word for word in words if word not in self._words}):
            with torch.no_grad():
                rows = self.network.encode_words(new).to(self.device, torch.float32)
            self._words |= dict(zip(new, rows, strict=True))
        counts = torch.tensor([len(names) for names in class_names])
        class_index = torch.repeat_interleave(torch.arange(len(class_names)), counts).to(self.device)
        return TextEmbeddings(torch.stack([self._words[word] for word in words]), class_index)

    def _evaluate(self, evaluate: Evaluate) -> dict[str, float]:
        """Numbers of `evaluate` with the averaged weights in place; random generators come out untouched."""
        state = checkpointing.random_state()
        own = {name: value.clone() for name, value in self.network.trained_state_dict().items()}
        if self.average is not None:
            self.network.load_trained_state_dict(self.average.weights)
        self.network.eval()
        try:
            with torch.no_grad():
                return evaluate(self.step, self.network)
        finally:
            self.network.load_trained_state_dict(own)
            self.network.train()
            checkpointing.restore_random_state(state)

    def _log(self, log: Any, window: dict[str, float]) -> None:
        """One line: means over the good steps of the window."""
        good = max(1.0, window["good"])
        means = {k: round(v / good, 5) for k, v in window.items() if k not in ("good", "seconds", "steps")}
        line = {
            "step": self.step,
            "lr": self.optimizer.param_groups[0]["lr"],
            "seconds_per_step": round(window["seconds"] / window["steps"], 3),
            "skipped": self.skipped,
            **means,
        }
        log.write(json.dumps(line) + "\n")
        log.flush()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT end the run after the present step; a second one acts at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

        def stop(number: int, _frame: object) -> None:
            self._stop = True
            signal.signal(number, previous[signal.Signals(number)])

        for number in previous:
            signal.signal(number, stop)
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


def gains_from_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is computed in hardware there; emulated, it is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    able = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def _on_cpu(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu() for name, value in weights.items()}


def _drop_log_after(path: Path, step: int) -> None:
    """Remove the lines that a resumed run is going to write again."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError):  # the last line of a killed run may be torn
            continue
    path.write_text("".join(kept))
