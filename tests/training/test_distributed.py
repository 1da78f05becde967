"""Training in two processes against training in one: steps, bad steps, and an interrupted and resumed run."""

import contextlib
import io
import json
import os
import signal
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from eovseg import distributed
from eovseg.data.batches import Target, TrainingBatch
from eovseg.errors import ConfigError, DataError, exit_code
from eovseg.model.config import variant_config
from eovseg.model.network import EOVSeg
from eovseg.training import checkpointing
from eovseg.training.config import LossConfig, TrainConfig
from eovseg.training.loop import Trainer
from tests.distributed_group import in_two_processes
from tests.training.test_loop import CONFIG, TinyNetwork, batch_at, comparable

SIDE = 64
WORDS = [("person", "man"), ("sky",), ("grass",), ("tree", "bush")]
# Number of targets per photo in two batches. In the first, process 0 has photos 0 and 2, process 1 has no targets.
TARGETS = ((3, 0, 1, 0), (1, 4, 2, 0))
REAL = TrainConfig(
    variant="xs", steps=3, batch=2, accumulate=2, crop=SIDE, learning_rate=1e-3, warmup=0, clip=1.0, ema=0.9,
    log_every=1, checkpoint_every=9, evaluate_every=9,
    loss=LossConfig(points=64, pilots=3, dense_weight=2.0, dense_pixels=50, repeats=(2, 1, 1), instance_weight=1.0),
)  # fmt: skip


def drawn_target(count: int, generator: torch.Generator) -> Target:
    """`count` rectangles; photos with an odd number are partly labelled and do not know the last class."""
    ids = torch.zeros(SIDE, SIDE, dtype=torch.long)
    for number in range(1, count + 1):
        top, left = torch.randint(0, SIDE - 24, (2,), generator=generator).tolist()
        ids[top : top + 24, left : left + 20] = number
    partly = count % 2 == 1
    labels = torch.randint(0, len(WORDS) - partly, (count,), generator=generator)
    seen = torch.ones(SIDE, SIDE, dtype=torch.bool)
    seen[:, SIDE // 2 :] = not partly
    semantic = torch.cat([torch.tensor([1]), labels])[ids].where(seen, torch.tensor(-1))
    masks = ids[None] == torch.arange(1, count + 1)[:, None, None]
    known = torch.ones(len(WORDS), dtype=torch.bool)
    known[-1] = not partly
    return Target(labels, masks, seen, semantic >= 0, known, semantic)


def drawn_batch(index: int) -> TrainingBatch:
    """This process's photos of the batch."""
    generator = torch.Generator().manual_seed(index)
    targets = [drawn_target(count, generator) for count in TARGETS[index % 2]]
    pixels = torch.rand(len(targets), 3, SIDE, SIDE, generator=generator) * 255
    own = slice(distributed.rank(), None, distributed.count())
    return TrainingBatch(pixels[own], targets[own], WORDS, torch.tensor([True, False, False, True]))


def real_network(vas: bool) -> EOVSeg:
    torch.manual_seed(5)
    # In double precision, because float32 noise could change matches and hard masks.
    network = EOVSeg(variant_config("xs").with_changes(queries=8, vas=vas)).double()

    def encode_words(words: list[str]) -> Tensor:
        rows = [torch.randn(384, generator=torch.Generator().manual_seed(sum(word.encode()))) for word in words]
        return torch.nn.functional.normalize(torch.stack(rows), dim=1)

    network.encode_words = encode_words  # type: ignore[assignment, method-assign]
    return network


def three_steps(folder: Path, vas: bool) -> dict[str, Any]:
    trainer = Trainer(real_network(vas), lambda span: map(drawn_batch, span), REAL, folder, device="cpu")
    names = {id(p): name for name, p in trainer.network.named_parameters()}
    gradients: list[dict[str, Tensor]] = []

    def remember(*_: object) -> None:
        parameters = [p for group in trainer.optimizer.param_groups for p in group["params"]]
        named = {names.get(id(p), f"auxiliary {n}"): p.grad for n, p in enumerate(parameters)}
        gradients.append({name: g.clone() for name, g in named.items() if g is not None})

    trainer.optimizer.register_step_pre_hook(remember)
    trainer.run()
    assert trainer.average is not None
    weights = trainer.network.trained_state_dict() | {
        f"auxiliary {name}": value
        for name, value in (trainer.auxiliary.state_dict() if trainer.auxiliary else {}).items()
    }
    return {
        "gradients": gradients[0],
        "weights": {name: value.clone() for name, value in weights.items()},
        "average": trainer.average.weights,
    }


def assert_near(found: dict[str, Tensor], expected: dict[str, Tensor], relative: float, absolute: float) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        allowed = relative * value.double().abs().max() + absolute
        assert (found[name] - value).abs().max() <= allowed, name


@pytest.mark.slow
@pytest.mark.parametrize("vas", [True, False])
def test_two_processes_take_the_steps_of_one(tmp_path: Path, vas: bool) -> None:
    whole = three_steps(tmp_path / "one", vas)
    first, second = in_two_processes(three_steps, tmp_path / "two", vas)
    for kind in ("gradients", "weights", "average"):
        assert all(torch.equal(value, second[kind][name]) for name, value in first[kind].items()), kind
    assert_near(first["gradients"], whole["gradients"], 1e-5, 1e-9)
    assert_near(first["weights"], whole["weights"], 1e-5, 0.02 * REAL.learning_rate)
    assert_near(first["average"], whole["average"], 1e-5, 0.02 * REAL.learning_rate)
    logs = comparable(tmp_path / "one"), comparable(tmp_path / "two")
    assert len(logs[0]) == 3 and "dense" in logs[0][0] and "pilot2_dice" in logs[0][0]
    for one, two in zip(*logs, strict=True):
        assert two == pytest.approx(one, rel=1e-4, abs=2e-5)


def tiny_trainer(folder: Path, batches: Any) -> Trainer:
    torch.manual_seed(7)
    return Trainer(TinyNetwork(), batches, CONFIG, folder, device="cpu")  # type: ignore[arg-type]


def tiny_stream(indices: range) -> Iterable[TrainingBatch]:
    return (batch_at(index * distributed.count() + distributed.rank()) for index in indices)


def interrupted_and_resumed(folder: Path) -> dict[str, Any]:
    """A complete run; then a run in which only process 1 is stopped, and its resumption."""

    def interrupted(indices: range) -> Iterable[TrainingBatch]:
        for index, batch in zip(indices, tiny_stream(indices), strict=True):
            if index == 2 and not distributed.is_main():
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    whole = tiny_trainer(folder / "whole", tiny_stream)
    whole.run()
    stopped = tiny_trainer(folder / "parts", interrupted).run()
    distributed.on_any_process(False)  # waits until the main process has written its checkpoint
    written = [path.name for path in sorted((folder / "parts").iterdir())]
    rest = tiny_trainer(folder / "parts", tiny_stream)
    torch.manual_seed(99)  # must be overridden by the checkpoint's random states, because the network has dropout
    assert rest.resume()
    rest.run()
    return {
        "stopped": stopped,
        "written": written,
        "whole": whole.network.trained_state_dict(),
        "parts": rest.network.trained_state_dict(),
    }


def test_a_signal_to_one_process_ends_all_and_the_run_continues_exactly(tmp_path: Path) -> None:
    for answer in in_two_processes(interrupted_and_resumed, tmp_path):
        assert answer["stopped"] == 3
        assert answer["written"] == ["checkpoint_0000002.pt", "checkpoint_0000003.pt", "log.jsonl"]
        assert all(torch.equal(value, answer["parts"][name]) for name, value in answer["whole"].items())
    assert comparable(tmp_path / "parts") == comparable(tmp_path / "whole")
    state = checkpointing.load(tmp_path / "parts" / "checkpoint_0000006.pt")
    others = state["rng_of_others"]
    assert len(others) == 1 and not torch.equal(others[0]["torch"], state["rng"]["torch"])


def with_a_bad_photo(folder: Path) -> list[int]:
    def poisoned(indices: range) -> Iterable[TrainingBatch]:
        for index, batch in zip(indices, tiny_stream(indices), strict=True):
            if index == 1 and distributed.is_main():
                batch.pixels[:] = float("nan")
            yield batch

    trainer = tiny_trainer(folder, poisoned)
    trainer.run()
    assert all(value.isfinite().all() for value in trainer.network.trained_state_dict().values())
    assert trainer.average is not None
    return [trainer.skipped, trainer.average.updates]


def test_a_bad_loss_on_one_process_skips_the_step_on_both(tmp_path: Path) -> None:
    assert in_two_processes(with_a_bad_photo, tmp_path) == [[1, 5], [1, 5]]
    assert [json.loads(line)["skipped"] for line in (tmp_path / "log.jsonl").read_text().splitlines()] == [0] + 5 * [1]


def with_a_bad_file(folder: Path, bad: int) -> tuple[int, str]:
    def failing(indices: range) -> Iterable[TrainingBatch]:
        for index, batch in zip(indices, tiny_stream(indices), strict=True):
            if index == 1 and distributed.rank() == bad:
                raise DataError("a.jpg is damaged.")
            yield batch

    with contextlib.redirect_stderr(io.StringIO()) as errors:
        code = exit_code(lambda: tiny_trainer(folder, failing).run() and 0)
        distributed.stop()  # as at exit
    return code, errors.getvalue().rpartition("\r")[2]  # without the progress bar


@pytest.mark.parametrize("bad", [0, 1])
def test_a_bad_file_of_one_process_ends_each_with_a_sentence(tmp_path: Path, bad: int) -> None:
    answers = in_two_processes(with_a_bad_file, tmp_path, bad)
    assert answers.pop(bad) == (1, "a.jpg is damaged.\n")
    ((code, errors),) = answers
    assert code == 1
    assert (
        errors.startswith(f"Process {2 - bad} of 2 has lost the connection to the others") and errors.count("\n") == 1
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE=two and RANK=0; WORLD_SIZE must be"),
        ({"WORLD_SIZE": "2", "RANK": "2"}, "WORLD_SIZE=2 and RANK=2; WORLD_SIZE must be"),
        (
            {"WORLD_SIZE": "2"},
            "cannot join the other processes of WORLD_SIZE=2 .*MASTER_ADDR.* Start them all with torchrun",
        ),
    ],
)
def test_a_wrong_environment_is_refused(values: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=message):
        distributed.start("cpu")


def tools() -> dict[str, Any]:
    """Every function of `eovseg.distributed` with different values on the two processes."""
    rank = distributed.rank()
    shared, lonely, unused = (torch.zeros(2, requires_grad=True) for _ in range(3))
    shared.grad = torch.tensor([1.0, 2.0]) * (rank + 1)
    if rank == 1:
        lonely.grad = torch.tensor([4.0, 6.0])
    distributed.average_gradients([shared, lonely, unused])
    copied = torch.arange(6.0).view(2, 3).T * (rank + 1)  # not contiguous
    distributed.copy_from_main([copied])

    def refuse() -> int:
        raise DataError("The folder is empty.")

    with pytest.raises(DataError, match="The folder is empty"):
        distributed.run_on_main(refuse)
    return {
        "shared": shared.grad.tolist(),
        "lonely": None if lonely.grad is None else lonely.grad.tolist(),
        "unused": unused.grad,
        "copied": copied.tolist(),
        "share": distributed.divisor_per_process(torch.tensor(float(rank)), 5.0).item(),
        "anywhere": [distributed.on_any_process(rank == 1), distributed.on_any_process(False)],
        "gathered": distributed.gather(f"of {rank}"),
        "from main": distributed.run_on_main(lambda: rank),
        "own": [list(distributed.local_part(range(n))) for n in (0, 1, 5)],
    }


def test_what_the_processes_share() -> None:
    first, second = in_two_processes(tools)
    for answer in (first, second):
        assert answer["shared"] == [1.5, 3.0]
        assert answer["lonely"] == [2.0, 3.0]
        assert answer["unused"] is None
        assert answer["copied"] == [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]
        assert answer["share"] == 2.5
        assert answer["anywhere"] == [True, False]
        assert answer["from main"] == 0
    assert (first["gathered"], second["gathered"]) == (["of 0", "of 1"], None)
    assert [a + b for a, b in zip(first["own"], second["own"], strict=True)] == [list(range(n)) for n in (0, 1, 5)]


def test_a_single_process_shares_nothing() -> None:
    assert (distributed.count(), distributed.rank(), distributed.is_main()) == (1, 0, True)
    tensor = torch.tensor([3.0])
    assert distributed.total(tensor) is tensor and distributed.mean(tensor) is tensor
    assert distributed.divisor_per_process(tensor, 4.0).tolist() == [4.0]
    assert distributed.gather("x") == ["x"] and distributed.local_part([1, 2]) == [1, 2]


def test_the_draws_of_a_photo_do_not_depend_on_its_batch(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path, tiny_stream)
    wide, narrow = (trainer._generators("cpu", 4, photos, 0) for photos in (3, 1))
    assert torch.equal(torch.rand(5, generator=wide[0]), torch.rand(5, generator=narrow[0]))
    assert not torch.equal(torch.rand(5, generator=wide[1]), torch.rand(5, generator=wide[2]))
    other = Trainer(TinyNetwork(), tiny_stream, replace(CONFIG, seed=1), tmp_path, device="cpu")  # type: ignore[arg-type]
    assert other._generators("cpu", 4, 1, 0)[0].initial_seed() != narrow[0].initial_seed()
