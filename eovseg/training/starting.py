"""The network that a run starts from: fresh, or with the weights of a file of any kind that this project knows."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from eovseg.checkpoints import Checkpoint, load_into, read_checkpoint
from eovseg.errors import CheckpointError
from eovseg.model.config import variant_config
from eovseg.model.network import EOVSeg
from eovseg.training import checkpointing


def starting_network(
    variant: str, start: Path | None, changes: dict[str, Any], parts: Sequence[str] | None = None
) -> EOVSeg:
    """A network of `variant` whose frozen towers have their weights, `changes` replacing settings of its configuration.

    `start` is an official `.pth`, a file of `eovseg convert` or `eovseg export`, or a training checkpoint; its own
    configuration comes first. With `parts` (aggregator, vas.guide, …) the network is that of the variant, and only
    these parts take their weights from the file. Raises `CheckpointError` for other files, other variants and changes
    that do not fit.
    """
    if start is None:
        return EOVSeg(variant_config(variant).with_changes(**changes), pretrained=True)
    checkpoint = read_weights(start, variant)
    if parts:
        network = EOVSeg(variant_config(variant).with_changes(**changes), pretrained=True)
        _load_parts(network, checkpoint, parts, start.name)
        return network
    # An official file holds the towers; nothing is fetched for it.
    network = EOVSeg(checkpoint.config.with_changes(**changes), pretrained=not checkpoint.complete)
    load_into(network, checkpoint, start.name)
    return network


def read_weights(path: Path, variant: str | None = None) -> Checkpoint:
    """The weights of any file of ours or the authors'; of a training checkpoint the averaged ones where it has them.

    Raises `CheckpointError` with one sentence as `eovseg.checkpoints.read_checkpoint` does.
    """
    try:
        state = checkpointing.load(path)
    except CheckpointError:
        return read_checkpoint(path, variant)  # it says what is wrong with a file of neither kind
    config = checkpointing.model_config(path, state)
    if variant is not None and config.variant != variant:
        raise CheckpointError(
            f"{path.name} holds EOV-Seg {config.variant.upper()}, not {variant.upper()}; give variant "
            f"{config.variant!r} or another file."
        )
    return Checkpoint(config, checkpointing.averaged_weights(state), complete=False)


@torch.no_grad()
def even_features(network: EOVSeg, photos: Iterable[Tensor]) -> None:
    """Rescale the image half so that each channel of F_agg has mean 0 and deviation 1 over `photos` (B, 3, H, W).

    VAS's first convolution and batch norm take the change back, so E and the words' similarities stay as they were but
    at the photo's border. Masks are products with F_agg, and learn faster where no direction of it dominates.
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
    if missing := [part for part in parts if not any(f"{k}.".startswith(f"{part}.") for k in chosen)]:
        raise CheckpointError(f"{name} has no weights of {', '.join(missing)} for this network.")
    for key, value in chosen.items():
        if value.shape != own[key].shape:
            raise CheckpointError(
                f"{name} has {key} as {tuple(value.shape)}, this network needs {tuple(own[key].shape)}."
            )
    network.load_state_dict({k: v.to(own[k].dtype) for k, v in chosen.items()}, strict=False)
