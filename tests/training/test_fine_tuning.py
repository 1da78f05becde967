"""Fine-tuning from official files, ours and training checkpoints, and export to a weight file."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

import eovseg
from analysis.shapes import SHAPE_WORDS, write_shapes
from eovseg.assets import asset_path
from eovseg.checkpoints import read_checkpoint
from eovseg.cli import main
from eovseg.errors import CheckpointError, ConfigError
from eovseg.images import load_image
from eovseg.training import checkpointing
from eovseg.training.config import xs_config
from eovseg.training.starting import even_features, read_weights, starting_network
from eovseg.training.weight_file import export
from tests.parity import official_state

SHIPPED = asset_path("weights/eovseg-xs.safetensors")


@pytest.fixture(scope="module")
def shipped() -> dict[str, Tensor]:
    return {name: tensor.float() for name, tensor in read_checkpoint(SHIPPED).tensors.items()}


@pytest.fixture(scope="module")
def training_checkpoint(tmp_path_factory: pytest.TempPathFactory, shipped: dict[str, Tensor]) -> Path:
    """A checkpoint of XS whose averaged weights are twice the shipped ones."""
    state = {
        "model": shipped,
        "ema": {name: tensor * 2 for name, tensor in shipped.items()},
        "optimizer": {},
        "step": 7,
        "rng": {},
        "train_config": xs_config(words=("cat", "sky")).to_json(),
        "model_config": json.dumps(read_checkpoint(SHIPPED).config.to_dict()),
    }
    return checkpointing.save(tmp_path_factory.mktemp("run"), 7, state, keep=1)


def test_a_run_starts_from_a_weight_file(shipped: dict[str, Tensor]) -> None:
    network = starting_network("xs", SHIPPED, {"short_side": 96})
    assert network.config == read_checkpoint(SHIPPED).config.with_changes(short_side=96)
    state = network.trained_state_dict()
    assert state.keys() == shipped.keys()
    assert all(torch.equal(tensor.float(), shipped[name]) for name, tensor in state.items())
    assert all(tensor.dtype != torch.float16 for tensor in state.values())


def test_a_run_takes_over_parts_of_a_weight_file(shipped: dict[str, Tensor]) -> None:
    state = starting_network("xs", SHIPPED, {}, ["aggregator", "vas.guide"]).trained_state_dict()
    taken = [name for name in state if name.startswith(("aggregator.", "vas.guide."))]
    assert len(taken) > 10 and all(torch.equal(state[name].float(), shipped[name]) for name in taken)
    assert not torch.equal(state["decoder.object_kernels.weight"].float(), shipped["decoder.object_kernels.weight"])
    with pytest.raises(CheckpointError, match=r"no weights of hat for this network; choose from .*vas, "):
        starting_network("xs", SHIPPED, {}, ["aggregator", "hat"])


def test_a_run_starts_from_the_average_of_a_training_checkpoint(
    training_checkpoint: Path, shipped: dict[str, Tensor]
) -> None:
    state = starting_network("xs", training_checkpoint, {}).trained_state_dict()
    assert torch.equal(state["vas.guide.weight"], 2 * shipped["vas.guide.weight"])


def broken(folder: Path, kind: str) -> Path:
    path = folder / kind
    if kind == "foreign.pth":
        torch.save({"model": {"a": torch.zeros(3)}}, path)
    elif kind == "foreign.pt":
        torch.save({"step": 3}, path)
    elif kind == "text.pth":
        path.write_text("no weights")
    elif kind == "cut.safetensors":
        path.write_bytes(SHIPPED.read_bytes()[:9_000])
    return path


@pytest.mark.parametrize("kind", ["missing.pth", "foreign.pth", "foreign.pt", "text.pth", "cut.safetensors"])
def test_other_files_are_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        starting_network("s", broken(tmp_path, kind), {})
    message = str(caught.value)
    assert kind in message and message.endswith(".") and "\n" not in message


def test_weights_of_another_variant_or_ablation_are_refused(training_checkpoint: Path) -> None:
    for path in (SHIPPED, training_checkpoint):
        with pytest.raises(CheckpointError, match=r"contains EOV-Seg XS, not S. Use --variant xs"):
            read_weights(path, "s")
    with pytest.raises(CheckpointError, match=r"has unexpected .* belongs to another model"):
        starting_network("xs", SHIPPED, {"fusion": "none"})


def test_the_command_prints_the_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_shapes(tmp_path / "scenes", 1, 64)
    command = ["train", "--data", "scenes", "--output", "run", "--device", "cpu", "--start"]
    assert main([*command, "nothing.pth"]) == 1
    assert capsys.readouterr().err.startswith("eovseg: The checkpoint nothing.pth does not exist")
    assert main([*command, str(SHIPPED), "--variant", "m"]) == 1
    assert "contains EOV-Seg XS, not M" in capsys.readouterr().err
    assert not Path("run").exists()


def test_export_keeps_words_settings_and_the_average(
    training_checkpoint: Path, tmp_path: Path, shipped: dict[str, Tensor]
) -> None:
    first = tmp_path / "a.safetensors"
    assert main(["export", str(training_checkpoint.parent), str(first), "--set", "alpha=0.25"]) == 0
    made = read_checkpoint(first, "xs")
    assert (made.training_words, made.config.alpha, made.complete) == (("cat", "sky"), 0.25, False)
    assert made.tensors["vas.scale"].dtype == torch.float16
    assert torch.allclose(made.tensors["vas.scale"].float(), 2 * shipped["vas.scale"], rtol=1e-3)
    export(training_checkpoint, tmp_path / "b.safetensors", ["dog"], averaged=False)
    last = read_checkpoint(tmp_path / "b.safetensors")
    assert last.training_words == ("dog",)
    assert torch.equal(last.tensors["vas.scale"].float(), shipped["vas.scale"].half().float())


def test_export_says_whose_calibration_the_scores_have(
    training_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["export", str(training_checkpoint), str(tmp_path / "a.safetensors")]
    for more, printed in (([], True), (["--set", "calibration=null"], False), (["--set", "calibration=[1,0]"], False)):
        assert main(arguments + more) == 0
        said = capsys.readouterr().out
        assert ("`python -m eovseg.evaluation.calibrate REPORT`." in said) == printed
        assert ("on a FOLDER with panoptic labels, run `eovseg evaluate FOLDER --tasks panoptic " in said) == printed


def test_impossible_exports_are_refused(
    training_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "x.safetensors"
    with pytest.raises(CheckpointError, match="has no frozen encoders"):
        export(training_checkpoint, target, towers=SHIPPED)
    with pytest.raises(ConfigError, match=r"There is no setting 'alfa'; did you mean alpha\?"):
        export(training_checkpoint, target, changes={"alfa": 1})
    with pytest.raises(ConfigError, match="short_side='big' is not allowed; give a value like 640"):
        export(training_checkpoint, target, changes={"short_side": "big"})
    silent = checkpointing.load(training_checkpoint) | {"train_config": xs_config().to_json()}
    with pytest.raises(CheckpointError, match="does not contain its training words; add --data"):
        export(checkpointing.save(tmp_path, 1, silent, keep=1), target)
    for arguments in ([str(tmp_path / "empty")], [str(training_checkpoint), "--set", "alpha"]):
        (tmp_path / "empty").mkdir(exist_ok=True)
        assert main(["export", arguments[0], str(target), *arguments[1:]]) == 1
        assert capsys.readouterr().err.count("\n") == 1
    assert not target.exists()


@pytest.mark.slow
def test_an_official_checkpoint_is_fine_tuned_without_a_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the command opened a connection"))
    monkeypatch.chdir(tmp_path)
    torch.save({"model": official_state("S"), "iteration": 199_999}, "eov_seg_s.pth")
    write_shapes(tmp_path / "scenes", 2, 64)
    Path("recipe.json").write_text(json.dumps({"variant": "s", "loss": {"points": 64}}))
    command = (
        "train --config recipe.json --data scenes --start eov_seg_s.pth --output run --steps 1 --batch 2 --crop 64 "
        "--short-side 64 --workers 0 --device cpu"
    )
    assert main(command.split()) == 0
    official, trained = read_weights(Path("eov_seg_s.pth"), "s"), read_weights(Path("run/checkpoint_0000001.pt"), "s")
    assert trained.tensors.keys() < official.tensors.keys()
    moved = (trained.tensors["vas.guide.weight"] - official.tensors["vas.guide.weight"]).abs()
    assert 0 < moved.max() < 1.1e-4  # one step of AdamW at 1e-4 from these weights

    assert main(["export", "run", "tuned.safetensors", "--towers", "eov_seg_s.pth"]) == 0
    tuned = read_checkpoint("tuned.safetensors", "s")
    assert tuned.complete and tuned.config.short_side == 64 and tuned.training_words == SHAPE_WORDS.words
    assert torch.equal(tuned.tensors["vas.guide.weight"], trained.tensors["vas.guide.weight"])
    name = "feature_extractor.visual.conv1.weight"
    assert torch.equal(tuned.tensors[name], official.tensors[name])
    result = eovseg.load("s", "tuned.safetensors", "cpu")("scenes/images/shapes-001.png", SHAPE_WORDS)
    assert result.segment_map.shape == (64, 64)


def test_even_features_do_not_change_the_word_similarity() -> None:
    network = starting_network("xs", SHIPPED, {}).eval()
    photo = load_image(asset_path("photos/bear.jpg"))[:256, :320]
    pixels = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None].float()
    assert network.vas is not None
    with torch.no_grad():
        before = network.vas.embed(network.encode_image(pixels).aggregated)
        even_features(network, [pixels])
        aggregated = network.encode_image(pixels).aggregated
        after = network.vas.embed(aggregated)
    channels = aggregated.transpose(0, 1).flatten(1)
    assert channels.mean(1).abs().max() < 1e-3 and (channels.std(1) - 1).abs().max() < 1e-3
    inside = (..., slice(1, -1), slice(1, -1))  # the border depends on zero padding
    assert (after - before)[inside].abs().max() < 1e-4 * (before.max() - before.min())
