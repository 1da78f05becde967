"""Partly trained networks: the encoders are always frozen, and a recipe may freeze other parts."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self

from torch import Tensor, nn

from eovseg.errors import ConfigError


class PartlyTrained(nn.Module, ABC):
    """A network whose `frozen_towers` stay in evaluation mode and are not part of its trained weights."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen_parts: tuple[str, ...] = ()

    @abstractmethod
    def frozen_towers(self) -> list[nn.Module]:
        """Modules that are never trained."""

    def train(self, mode: bool = True) -> Self:
        """Training mode for the trained parts only."""
        super().train(mode)
        for part in (*self.frozen_towers(), *(getattr(self, name) for name in self.frozen_parts)):
            part.eval()
        return self

    def freeze(self, parts: Sequence[str]) -> None:
        """Freezes parts (aggregator, vas, …): no gradients, and batch norms in evaluation mode.

        Raises `ConfigError` for a part that the network does not have.
        """
        for name in parts:
            part = getattr(self, name, None)
            if not isinstance(part, nn.Module):
                known = ", ".join(child for child, _ in self.named_children())
                raise ConfigError(f"This network has no part {name!r} to freeze; choose from {known}.")
            part.requires_grad_(False)
            self.frozen_parts += (name,)
        self.train(self.training)

    def trained_state_dict(self) -> dict[str, Tensor]:
        """All parameters and buffers except those of the frozen encoders; the joint space of XS counts as trained."""
        frozen = {id(t) for encoder in self.frozen_towers() for t in (*encoder.parameters(), *encoder.buffers())}
        for encoder in self.frozen_towers():
            if isinstance(joint := getattr(encoder, "joint_space", None), nn.Module):
                frozen -= {id(t) for t in (*joint.parameters(), *joint.buffers())}
        state = self.state_dict(keep_vars=True)
        return {name: tensor.detach() for name, tensor in state.items() if id(tensor) not in frozen}

    def load_trained_state_dict(self, state: dict[str, Tensor]) -> None:
        """Inverse of `trained_state_dict`; raises KeyError if names differ, ValueError if shapes differ."""
        own = self.trained_state_dict()
        if own.keys() != state.keys():
            raise KeyError(f"differing tensors: {', '.join(sorted(own.keys() ^ state.keys())[:5])}")
        for name, tensor in state.items():
            if own[name].shape != tensor.shape:
                raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected {tuple(own[name].shape)}")
        self.load_state_dict(state, strict=False)
