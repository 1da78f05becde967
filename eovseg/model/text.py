"""Text encoders: words become unit rows of the joint space, prompts averaged as in the released implementation."""

import hashlib
from collections.abc import Sequence

import open_clip
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eovseg.model.config import ModelConfig
from eovseg.model.xs_towers import MiniLM, load_minilm

PROMPT_BATCH = 128


class ClipTextEncoder(nn.Module):
    """Text tower of an open_clip model (its image tower removed); encodes prompts to (n, D)."""

    def __init__(self, clip: open_clip.CLIP, backbone: str) -> None:
        super().__init__()
        del clip.visual, clip.logit_scale  # both belong to the feature extractor
        self.clip = clip
        self._tokenizer = open_clip.get_tokenizer(backbone)

    def encode_prompts(self, prompts: Sequence[str]) -> Tensor:
        """Embeddings of whole sentences, not normalised: n strings -> (n, D)."""
        device = self.clip.token_embedding.weight.device
        features = [
            self._encode(self._tokenizer(list(prompts[i : i + PROMPT_BATCH])).to(device))
            for i in range(0, len(prompts), PROMPT_BATCH)
        ]
        return torch.cat(features)

    def _encode(self, tokens: Tensor) -> Tensor:
        """`CLIP.encode_text` without the padding behind the longest prompt.

        A token sees those before it only and the embedding is read at the end token, the largest of all, so what
        stands behind it changes nothing; a word's prompts fill about 12 of the 77 places.
        """
        clip = self.clip
        end = tokens.argmax(dim=-1)  # (n,)
        length = int(end.max()) + 1
        x = clip.token_embedding(tokens[:, :length]) + clip.positional_embedding[:length]
        x = clip.transformer(x, attn_mask=clip.attn_mask[:length, :length])
        x = clip.ln_final(x)[torch.arange(len(end), device=x.device), end]
        return x @ clip.text_projection


class MiniLMTextEncoder(nn.Module):
    """XS's text tower, all-MiniLM-L6-v2, loaded from its package on first use; encodes prompts to (n, 384).

    The tower is no submodule: it comes from its package, so checkpoints and optimisers must not see it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._towers: list[MiniLM] = []  # a list hides the module from nn.Module

    def encode_prompts(self, prompts: Sequence[str]) -> Tensor:
        """Embeddings of whole sentences: n strings -> (n, 384), float32 on the CPU."""
        if not self._towers:
            self._towers.append(load_minilm())
        return self._towers[0](prompts)


def encode_words(encoder: ClipTextEncoder | MiniLMTextEncoder, words: Sequence[str], prompts: Sequence[str]) -> Tensor:
    """Every word in every prompt, each L2-normalised, averaged over the prompts, normalised again: (n, D)."""
    filled = [prompt.format(word) for word in words for prompt in prompts]
    features = F.normalize(encoder.encode_prompts(filled), dim=-1)
    return F.normalize(features.unflatten(0, (len(words), len(prompts))).mean(dim=1), dim=-1)


def text_key(config: ModelConfig, weights: str) -> str:
    """Name under which word embeddings may be kept: text tower, its weights and the prompts decide every value."""
    text = "\n".join((config.backbone, weights, str(config.quick_gelu), *config.prompts))
    return f"{config.backbone}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
