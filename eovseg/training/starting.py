"""The network that a run starts from: fresh, or with the weights of a file of any kind that this project knows."""

from pathlib import Path
from typing import Any

from eovseg.checkpoints import Checkpoint, load_into, read_checkpoint
from eovseg.errors import CheckpointError
from eovseg.model.config import variant_config
from eovseg.model.network import EOVSeg
from eovseg.training import checkpointing


def starting_network(variant: str, start: Path | None, changes: dict[str, Any]) -> EOVSeg:
    """A network of `variant` whose frozen towers have their weights, `changes` replacing settings of its configuration.

    `start` is an official `.pth`, a file of `eovseg convert` or `eovseg export`, or a training checkpoint; its own
    configuration comes first. Raises `CheckpointError` for other files, other variants and changes that do not fit.
    """
    if start is None:
        return EOVSeg(variant_config(variant).with_changes(**changes), pretrained=True)
    checkpoint = read_weights(start, variant)
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
