"""`eovseg.load`: creates a predictor from a variant's name or a weight file."""

import warnings
from pathlib import Path

import torch

from eovseg.advice.thresholds import read_thresholds
from eovseg.checkpoints import check_record, default_checkpoint, load_into, read_checkpoint
from eovseg.choices import Backend, Dtype
from eovseg.embeddings import default_cache_directory
from eovseg.errors import CheckpointError, ConfigError
from eovseg.fast import optimise
from eovseg.fast.precision import has_bfloat16
from eovseg.model.config import variant_config
from eovseg.model.network import EOVSeg
from eovseg.predictor import Predictor
from eovseg.typed_settings import check_word
from eovseg.vocabulary import coco_training_words


def load(
    variant: str | None = None,
    checkpoint: str | Path | None = None,
    device: str = "auto",
    dtype: Dtype = "float32",
    backend: Backend = "torch",
) -> Predictor:
    """Loads a predictor of variant "xs", "s", "m" or "l"; defaults to the variant of `checkpoint`, or "xs".

    `checkpoint` is an official `.pth` or a file written by `eovseg convert` or `eovseg export`. By default, XS uses
    the weights that ship with the project, and S, M and L those fetched by `eovseg download`, without which loading
    them is an error. `device` is "auto" (CUDA if available, else CPU), "cpu", "cuda", "cuda:1" or "mps"; `dtype` is
    "float32", "float64", "bfloat16" (autocast; warns where the device only emulates it). The `backend` "openvino"
    runs the image half with OpenVINO and is the fastest on CPUs; "compile" compiles it with torch at the first
    photo of each size. Raises `ConfigError` and `CheckpointError`.
    """
    if variant is not None and Path(variant).suffix:
        raise ConfigError(
            f"{str(variant)!r} is not a variant; for a weight file, call load(checkpoint={str(variant)!r})."
        )
    config = variant_config(variant or "xs")
    check_word("dtype", dtype, Dtype)
    check_word("backend", backend, Backend)
    target = torch.device("cpu") if backend == "openvino" and device == "auto" else chosen_device(device)
    if backend == "openvino" and (target.type != "cpu" or dtype == "float64"):
        raise ConfigError(f"The backend openvino supports float32 and bfloat16 on the CPU, not {dtype} on {target}.")
    if dtype == "bfloat16" and not has_bfloat16(target):
        warnings.warn(
            f"dtype='bfloat16' is slower than float32 here: "
            f"{target} has no hardware support for it, so torch emulates it.",
            stacklevel=2,
        )
    path = Path(checkpoint) if checkpoint is not None else default_checkpoint(config.variant)
    if path is None:
        raise CheckpointError(
            f"The weights of EOV-Seg {config.variant.upper()} are not on this machine; run "
            f"`eovseg download {config.variant}`, or give the file as checkpoint."
        )
    loaded = read_checkpoint(path, config.variant if variant or checkpoint is None else None)
    # A head-only file of S, M or L also needs CLIP's weights; XS's encoders are always installed.
    network = EOVSeg(loaded.config, pretrained=not loaded.complete)
    load_into(network, loaded, path.name)
    if checkpoint is None and loaded.config.variant != "xs":
        check_record(path, loaded.digest)
    words = coco_training_words() if loaded.training_words is None else loaded.training_words
    weights = loaded.digest if loaded.complete else loaded.config.pretrained
    digest, advice_thresholds = loaded.digest, read_thresholds(path, loaded.digest)
    network = network.to(target, torch.float64 if dtype == "float64" else torch.float32).eval()
    cache = default_cache_directory()
    return Predictor(
        optimise(network, backend, dtype, cache),
        words,
        device=target,
        dtype=dtype,
        text_weights=weights,
        cache_directory=cache,
        weights=digest,
        advice_thresholds=advice_thresholds,
    )


def chosen_device(name: str) -> torch.device:
    """The device "auto", "cpu", "cuda", "cuda:1" or "mps"; raises `ConfigError` for one that is not available."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        why = {"cuda": str(error).splitlines()[0].partition(". ")[0].rstrip("."), "mps": "PyTorch finds no Apple GPU"}
        reason = why.get(str(name).partition(":")[0], "there is no device of this name")
        raise ConfigError(
            f"The device {name!r} is not available ({reason}); choose auto, cpu, cuda, cuda:1 (the second GPU) or mps."
        ) from error
    return device
