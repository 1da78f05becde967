"""AdamW with the released parameter groups (`optimizer_S.json`): no weight decay for norms and embeddings."""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from eovseg.errors import ConfigError
from eovseg.model.vas import VocabularyAwareSelection
from eovseg.training.config import TrainConfig

# As released, this is decided by torch's classes: the custom LayerNorm2d, all biases, VAS's scale and offset and the
# logit scales are decayed; `nn.LayerNorm`, batch norms and `nn.Embedding` (kernels, void embedding) are not.
UNDECAYED = (_BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm, nn.LocalResponseNorm, nn.Embedding)


def weight_decays(network: nn.Module, weight_decay: float, vas_decay: bool = True) -> dict[str, float]:
    """Weight decay of every trained parameter (`requires_grad`) by name; shared parameters appear once.

    `vas_decay`: whether VAS's scale and offset are decayed, as released.
    """
    undecayed = UNDECAYED if vas_decay else (*UNDECAYED, VocabularyAwareSelection)
    decays: dict[str, float] = {}
    seen: set[int] = set()
    for prefix, module in network.named_modules():
        for leaf, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad or id(parameter) in seen:
                continue
            seen.add(id(parameter))
            decays[f"{prefix}.{leaf}" if prefix else leaf] = 0.0 if isinstance(module, undecayed) else weight_decay
    return decays


def build_optimizer(network: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW (betas 0.9, 0.999) over the trained parameters of `network`, one group per weight decay.

    Raises `ConfigError` if nothing is trainable.
    """
    decays = weight_decays(network, config.weight_decay, config.vas_decay)
    if not decays:
        raise ConfigError("The network has no trainable parameters; freeze fewer parts.")
    parameters = dict(network.named_parameters())
    groups = [
        {"params": [parameters[name] for name, value in decays.items() if value == decay], "weight_decay": decay}
        for decay in sorted(set(decays.values()), reverse=True)
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)
