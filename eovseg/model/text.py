"""Text encoders: map words to unit vectors in the joint space, averaging prompts like the released implementation."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional as F

from eovseg.model.minilm import MiniLM, load_minilm

if TYPE_CHECKING:
    import open_clip


class ClipTextEncoder(nn.Module):
    """Text encoder of an open_clip model, whose image encoder is removed; encodes prompts to (n, D)."""

    def __init__(self, clip: "open_clip.CLIP", backbone: str) -> None:
        import open_clip

        super().__init__()
        del clip.visual, clip.logit_scale  # both belong to the feature extractor
        self.clip = clip
        self.tokenizer = open_clip.get_tokenizer(backbone)

    def encode_prompts(self, prompts: Sequence[str]) -> Tensor:
        """Embeddings of complete prompts, not normalised: n strings -> (n, D)."""
        device = self.clip.token_embedding.weight.device
        embeddings: Tensor = self.clip.encode_text(self.tokenizer(list(prompts)).to(device))
        return embeddings


class MiniLMTextEncoder(nn.Module):
    """XS's text encoder, all-MiniLM-L6-v2, loaded from its package on first use; encodes prompts to (n, 384).

    The network is not a submodule, because it comes from its package: checkpoints and optimisers must not include it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._loaded: list[MiniLM] = []  # a list hides the module from nn.Module

    @property
    def tower(self) -> MiniLM:
        """The network itself, on the CPU."""
        if not self._loaded:
            self._loaded.append(load_minilm())
        return self._loaded[0]

    def encode_prompts(self, prompts: Sequence[str]) -> Tensor:
        """Embeddings of complete prompts: n strings -> (n, 384), float32 on the CPU."""
        return self.tower(prompts)


def encode_words(encoder: ClipTextEncoder | MiniLMTextEncoder, words: Sequence[str], prompts: Sequence[str]) -> Tensor:
    """Embeds every word in every prompt, L2-normalises, averages over the prompts and normalises again: (n, D)."""
    filled = [prompt.format(word) for word in words for prompt in prompts]
    return average_prompts(encoder.encode_prompts(filled).unflatten(0, (len(words), len(prompts))))


def average_prompts(embeddings: Tensor) -> Tensor:
    """Unit rows (n, D) of n words in p prompts each, (n, p, D)."""
    return F.normalize(F.normalize(embeddings, dim=-1).mean(dim=1), dim=-1)
