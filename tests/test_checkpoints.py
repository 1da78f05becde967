"""Official files load directly, ours round-trip, and wrong, damaged or malicious ones give a clear error."""

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import eovseg
from eovseg.assets import asset_path
from eovseg.checkpoints import (
    FORMAT,
    check_record,
    convert,
    download,
    load_into,
    read_checkpoint,
    save_checkpoint,
)
from eovseg.model.config import variant_config
from eovseg.model.network import EOVSeg
from eovseg.official_names import sort_official_keys
from tests.parity import official_keys, official_state


@pytest.fixture(scope="module")
def official_s(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("official") / "eov_seg_s.pth"
    torch.save({"model": official_state("S"), "iteration": 199_999}, path)
    return path


@pytest.mark.slow
def test_official_file_loads_without_a_hub(official_s: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("EOVSEG_CACHE", str(tmp_path))
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the loader opened a connection"))
    predictor = eovseg.load("s", official_s, device="cpu")
    result = predictor(asset_path("photos/bear.jpg"), "bear; road: stuff; grass: stuff")
    assert result.vocabulary.labels == ("bear", "road", "grass")

    target = tmp_path / "s.safetensors"
    convert(official_s, target)
    stored, given = read_checkpoint(target, "s"), read_checkpoint(official_s, "s")
    assert stored.config == given.config
    assert stored.tensors.keys() == given.tensors.keys()
    assert all(torch.equal(stored.tensors[name], given.tensors[name]) for name in given.tensors)
    with pytest.raises(eovseg.CheckpointError, match="contains EOV-Seg S, not L"):
        eovseg.load("l", target)
    with pytest.raises(eovseg.CheckpointError, match="contains EOV-Seg S, not M"):
        read_checkpoint(official_s, "m")


def test_later_vit_blocks_are_used_when_a_later_block_is_read() -> None:
    keys = [key for key, _ in official_keys("S")]
    first, sixth = sort_official_keys(keys, 0), sort_official_keys(keys, 5)
    assert len(sixth.used) - len(first.used) == 5 * 12
    assert sixth.unknown == ()


def test_shipped_weights_round_trip(tmp_path: Path) -> None:
    shipped = read_checkpoint(asset_path("weights/eovseg-xs.safetensors"), "xs")
    assert shipped.training_words is not None and "person" in shipped.training_words
    copy = tmp_path / "copy.safetensors"
    convert(asset_path("weights/eovseg-xs.safetensors"), copy)
    again = read_checkpoint(copy)
    assert again.config == shipped.config
    assert again.training_words == shipped.training_words
    assert all(torch.equal(again.tensors[k], v) for k, v in shipped.tensors.items())


class Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def broken_files(folder: Path) -> dict[str, Path]:
    files = {name: folder / name for name in ("empty.pth", "text.pth", "cut.pth", "cut.safetensors", "foreign.pth")}
    files["empty.pth"].write_bytes(b"")
    files["text.pth"].write_text("not a checkpoint")
    torch.save({"model": {"a": torch.zeros(1000)}}, files["foreign.pth"])
    files["cut.pth"].write_bytes(files["foreign.pth"].read_bytes()[:700])
    whole = asset_path("weights/eovseg-xs.safetensors").read_bytes()
    files["cut.safetensors"].write_bytes(whole[: len(whole) // 2])
    files["other.safetensors"] = folder / "other.safetensors"
    save_file({"a": torch.zeros(3)}, files["other.safetensors"])
    files["list.pth"] = folder / "list.pth"
    torch.save([1, 2], files["list.pth"])
    files["missing.pth"] = folder / "missing.pth"
    return files


NAMES = [
    "empty.pth",
    "text.pth",
    "cut.pth",
    "cut.safetensors",
    "foreign.pth",
    "other.safetensors",
    "list.pth",
    "missing.pth",
]


@pytest.mark.parametrize("name", NAMES)
def test_broken_files_get_one_sentence(tmp_path: Path, name: str) -> None:
    path = broken_files(tmp_path)[name]
    with pytest.raises(eovseg.CheckpointError) as caught:
        eovseg.load("s", path)
    message = str(caught.value)
    assert path.name in message
    assert message.endswith(".") and "\n" not in message


@pytest.mark.parametrize(
    ("file", "said"),
    [("photos/bear.jpg", "bear.jpg is not a checkpoint. Give an official .pth"), ("photos", "photos is a folder.")],
)
def test_a_photo_or_a_folder_is_not_called_damaged(file: str, said: str) -> None:
    with pytest.raises(eovseg.CheckpointError) as caught:
        eovseg.load(checkpoint=asset_path(file))
    assert said in str(caught.value)


def test_a_pickle_with_code_does_not_run(tmp_path: Path) -> None:
    target = tmp_path / "made by the pickle"
    for name, write in (("zip.pth", torch.save), ("plain.pth", lambda o, p: p.write_bytes(pickle.dumps(o, 2)))):
        path = tmp_path / name
        write({"model": {"w": torch.zeros(1)}, "x": Hostile(target)}, path)
        with pytest.raises(eovseg.CheckpointError, match="not loaded for security reasons"):
            eovseg.load("s", path)
        assert not target.exists()


def test_missing_unexpected_and_misshapen_tensors_are_named(tmp_path: Path) -> None:
    shipped = read_checkpoint(asset_path("weights/eovseg-xs.safetensors"))
    network = EOVSeg(shipped.config)
    for change, words in (
        (lambda t: t.pop("vas.scale"), "lacks 1 tensors, first vas.scale"),
        (lambda t: t.update(surplus=torch.zeros(1)), "has unexpected 1 tensors, first surplus"),
        (lambda t: t.update({"vas.scale": torch.zeros(7)}), "has misshapen 1 tensors, first vas.scale"),
    ):
        tensors = dict(shipped.tensors)
        change(tensors)
        path = tmp_path / "changed.safetensors"
        save_checkpoint(path, shipped.config, tensors, complete=False)
        with pytest.raises(eovseg.CheckpointError, match=words):
            load_into(network, read_checkpoint(path), path.name)


def test_without_network_the_message_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EOVSEG_CACHE", str(tmp_path))

    def unreachable(*_args: object, **_options: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("open_clip.create_model", unreachable)
    with pytest.raises(eovseg.CheckpointError, match="run `eovseg download s`, or give the file"):
        eovseg.load("s")
    with pytest.raises(eovseg.CheckpointError, match=r"RN50/openai \(244 MB\)"):
        EOVSeg(variant_config("s"), pretrained=True)
    monkeypatch.setattr("gdown.download", unreachable)
    with pytest.raises(eovseg.CheckpointError, match="1UgLrRxpi4l30F8zTqhEv7cEW23TCGv3h"):
        download("s")
    with pytest.raises(eovseg.CheckpointError, match="ships with the project"):
        download("xs")


def test_a_changed_download_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EOVSEG_CACHE", str(tmp_path))
    config = variant_config("xs").with_changes(variant="s")
    contents = [torch.zeros(1), torch.ones(1)]

    def fetch(id: str, output: str, resume: bool) -> str:
        save_checkpoint(output, config, {"w": contents.pop(0)}, complete=False)
        return output

    monkeypatch.setattr("gdown.download", fetch)
    path = download("s")
    assert len((tmp_path / "eovseg-s.sha256").read_text().strip()) == 64
    assert download("s") == path
    path.unlink()
    with pytest.raises(eovseg.CheckpointError, match="does not match the checksum"):
        download("s")


def test_a_file_is_compared_with_its_first_load(tmp_path: Path) -> None:
    path = tmp_path / "eovseg-s.pth"
    check_record(path, "a" * 64)
    check_record(path, "a" * 64)
    with pytest.raises(eovseg.CheckpointError, match="does not match the checksum"):
        check_record(path, "b" * 64)
    check_record(tmp_path / "no folder to write to" / "eovseg-s.pth", "a" * 64)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "not JSON",
        "[]",
        json.dumps({"config": {"backbone": "hf-hub:someone/something"}, "complete": True}),
        json.dumps({"config": {"no_such_setting": 1}, "complete": True}),
        json.dumps({"config": {"alpha": "much"}, "complete": True}),
        json.dumps({"config": {}}),
    ],
)
def test_an_invalid_header_gets_one_sentence(tmp_path: Path, header: str | None) -> None:
    path = tmp_path / "odd.safetensors"
    metadata = {"format": FORMAT} | ({} if header is None else {"header": header})
    save_file({"a": torch.zeros(3)}, path, metadata=metadata)
    with pytest.raises(eovseg.CheckpointError, match=r"odd\.safetensors has a header") as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_misshapen_or_unnamed_official_tensors_get_one_sentence(tmp_path: Path) -> None:
    void = {"void_embedding.weight": torch.zeros(1, 1024)}
    path = tmp_path / "odd.pth"
    torch.save({"model": {**void, 7: torch.zeros(1)}}, path)
    with pytest.raises(eovseg.CheckpointError, match="has no tensors under the key 'model'"):
        read_checkpoint(path)
    torch.save({"model": {**void, "vit_backbone.clip_model.visual.class_embedding": torch.zeros(5)}}, path)
    assert read_checkpoint(path).tensors["spatial_extractor.vit.cls_token"].shape == (5,), "reported by `load_into`"


def test_a_file_that_cannot_be_written_gets_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(eovseg.CheckpointError, match="cannot be written"):
        save_checkpoint(tmp_path / "file" / "new.safetensors", variant_config("xs"), {}, complete=False)
