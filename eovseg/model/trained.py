"""Which parts of a network learn: frozen towers never do, and a recipe may hold others as they are."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self

from torch import Tensor, nn

from eovseg.errors import ConfigError


class PartlyTrained(nn.Module, ABC):
    """A network whose `frozen_towers` stay in evaluation mode and are no part of its trained weights."""

    def __init__(self) -> None:
        super().__init__()
        self.held: tuple[str, ...] = ()

    @abstractmethod
    def frozen_towers(self) -> list[nn.Module]:
        """Parts that are never trained."""

    def train(self, mode: bool = True) -> Self:
        """Training mode for the trained parts only."""
        super().train(mode)
        for part in (*self.frozen_towers(), *(getattr(self, name) for name in self.held)):
            part.eval()
        return self

    def hold(self, parts: Sequence[str]) -> None:
        """Keep these parts (aggregator, vas, …) as they are: no gradient, batch norms in evaluation mode.

        Raises `ConfigError` for a part that this network does not have.
        """
        for name in parts:
            part = getattr(self, name, None)
            if not isinstance(part, nn.Module):
                known = ", ".join(child for child, _ in self.named_children())
                raise ConfigError(f"This network has no part {name!r} to hold; choose from {known}.")
            part.requires_grad_(False)
            self.held += (name,)
        self.train(self.training)

    def trained_state_dict(self) -> dict[str, Tensor]:
        """Parameters and buffers of everything but the frozen towers; the joint space of XS counts as trained."""
        frozen = {id(t) for tower in self.frozen_towers() for t in (*tower.parameters(), *tower.buffers())}
        for tower in self.frozen_towers():
            if isinstance(joint := getattr(tower, "joint_space", None), nn.Module):
                frozen -= {id(t) for t in (*joint.parameters(), *joint.buffers())}
        state = self.state_dict(keep_vars=True)
        return {name: tensor.detach() for name, tensor in state.items() if id(tensor) not in frozen}

    def load_trained_state_dict(self, state: dict[str, Tensor]) -> None:
        """Inverse of `trained_state_dict`; raises KeyError when names differ, ValueError when shapes do."""
        own = self.trained_state_dict()
        if own.keys() != state.keys():
            raise KeyError(f"differing tensors: {', '.join(sorted(own.keys() ^ state.keys())[:5])}")
        for name, tensor in state.items():
            if own[name].shape != tensor.shape:
                raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected {tuple(own[name].shape)}")
        self.load_state_dict(state, strict=False)
