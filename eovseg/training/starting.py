"""The initial network of a run: untrained, or with weights from any supported file."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from eovseg.checkpoints import Checkpoint, load_into, read_checkpoint, use_variant
from eovseg.errors import CheckpointError
from eovseg.model.config import variant_config
from eovseg.model.network import EOVSeg
from eovseg.training import checkpointing


def starting_network(
    variant: str, start: Path | None, changes: dict[str, Any], parts: Sequence[str] | None = None
) -> EOVSeg:
    """A network of `variant` with pretrained encoders and `changes` to its configuration.

    `start` is an official `.pth`, a file written by `eovseg convert` or `eovseg export`, or a training checkpoint,
    whose configuration is used instead of the variant's. With `parts` (aggregator, vas.guide, …), the configuration is
    the variant's, and only these parts are loaded from the file. Raises `CheckpointError` for other files, other
    variants and incompatible changes.
    """
    if start is None:
        return EOVSeg(variant_config(variant).with_changes(**changes), pretrained=True)
    checkpoint = read_weights(start, variant)
    if parts:
        network = EOVSeg(variant_config(variant).with_changes(**changes), pretrained=True)
        _load_parts(network, checkpoint, parts, start.name)
        return network
    # An official file includes the encoders, so nothing is downloaded.
    network = EOVSeg(checkpoint.config.with_changes(**changes), pretrained=not checkpoint.complete)
    load_into(network, checkpoint, start.name)
    return network


def read_weights(path: Path, variant: str | None = None) -> Checkpoint:
    """Weights from any supported file; for a training checkpoint, the averaged ones if there are any.

    Raises the `CheckpointError`s of `eovseg.checkpoints.read_checkpoint`.
    """
    try:
        state = checkpointing.load(path)
    except CheckpointError:
        return read_checkpoint(path, variant)  # reports errors for files of neither kind
    config = checkpointing.model_config(path, state)
    if variant is not None and config.variant != variant:
        raise CheckpointError(
            f"{path.name} contains EOV-Seg {config.variant.upper()}, not {variant.upper()}. "
            f"{use_variant(config.variant)} or another file."
        )
    return Checkpoint(config, checkpointing.averaged_weights(state), complete=False)


@torch.no_grad()
def even_features(network: EOVSeg, photos: Iterable[Tensor]) -> None:
    """Normalises each channel of F_agg to mean 0 and standard deviation 1 over `photos` (B, 3, H, W).

    VAS's first convolution and batch norm compensate for this, so E and the word similarities do not change except at
    the photo's border. Masks are products with F_agg, and training is faster if no direction of it dominates.
    """
    network.eval()
    maps = [network.encode_image(pixels).aggregated.float() for pixels in photos]  # (B, C, h, w) each
    values = torch.cat([one.transpose(0, 1).flatten(1) for one in maps], dim=1)
    mean, deviation = values.mean(1), values.std(1).clamp(min=1e-6)  # (C,)
    last = network.aggregator.coordinate_conv
    assert last.bias is not None
    last.weight /= deviation[:, None, None, None]
    last.bias.copy_((last.bias - mean) / deviation)
    if network.vas is not None:
        first = network.vas.embed_depthwise
        shift = network.vas.embed_depthwise_norm.running_mean
        assert shift is not None
        shift -= mean * first.weight.sum((1, 2, 3))
        first.weight *= deviation[:, None, None, None]


def _load_parts(network: EOVSeg, checkpoint: Checkpoint, parts: Sequence[str], name: str) -> None:
    own = network.trained_state_dict()
    starts = [f"{part}." for part in parts]
    chosen = {k: v for k, v in checkpoint.tensors.items() if k in own and any(map(f"{k}.".startswith, starts))}
    known = ", ".join(dict.fromkeys(key.partition(".")[0] for key in own if key in checkpoint.tensors))
    if missing := [part for part in parts if not any(f"{k}.".startswith(f"{part}.") for k in chosen)]:
        raise CheckpointError(f"{name} has no weights of {', '.join(missing)} for this network; choose from {known}.")
    for key, value in chosen.items():
        if value.shape != own[key].shape:
            raise CheckpointError(
                f"{name} has {key} with shape {tuple(value.shape)}, but this network needs {tuple(own[key].shape)}."
            )
    network.load_state_dict({k: v.to(own[k].dtype) for k, v in chosen.items()}, strict=False)
