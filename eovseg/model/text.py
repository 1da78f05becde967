"""Text encoders: map words to unit vectors in the joint space, averaging prompts like the released implementation."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eovseg.model.config import ModelConfig
from eovseg.model.minilm import MiniLM, load_minilm

if TYPE_CHECKING:
    import open_clip

TREE_TOKENS = 512  # tokens per pass; the cost of attention is quadratic in this


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
        trees = prompt_trees(self.tokenizer(list(prompts)).tolist(), TREE_TOKENS)
        return torch.cat([self._encode(tree) for tree in trees])

    def _encode(self, tree: "PromptTree") -> Tensor:
        """`CLIP.encode_text` for all prompts of a tree at once, (n, D).

        Attention is causal and the embedding is read at the end token, so shared prefixes are computed once and padding
        not at all: the 14 prompts of a word, 77 tokens each, need about 80 tokens.
        """
        clip = self.clip
        device = clip.token_embedding.weight.device
        tokens, depth = torch.tensor(tree.tokens, device=device), torch.tensor(tree.depth, device=device)
        x = clip.token_embedding(tokens) + clip.positional_embedding[depth]
        hidden = torch.zeros(len(tokens), len(tokens), dtype=x.dtype, device=device)
        hidden.masked_fill_(~torch.from_numpy(tree.sees).to(device), -torch.inf)
        x = clip.transformer(x[None], attn_mask=hidden)[0]
        x = clip.ln_final(x[torch.tensor(tree.ends, device=device)])
        return x @ clip.text_projection


@dataclass(frozen=True)
class PromptTree:
    """A prefix tree of token sequences: each node is a token that follows those on the path from the root."""

    tokens: list[int]
    depth: list[int]  # position in the prompt, from 0
    ends: list[int]  # node of each prompt's end token
    sees: np.ndarray  # (T, T) bool, a node attends to itself and its ancestors


def prompt_trees(prompts: Sequence[Sequence[int]], size: int) -> Iterator[PromptTree]:
    """Groups padded CLIP token rows, in order, into prefix trees of at most `size` nodes (or a single prompt).

    A row ends at its largest token, as in CLIP.
    """
    nodes: dict[tuple[int, ...], int] = {}  # path to a node -> its index
    ends: list[int] = []
    for row in prompts:
        way = tuple(row[: row.index(max(row)) + 1])
        new = sum(way[: place + 1] not in nodes for place in range(len(way)))
        if ends and len(nodes) + new > size:
            yield _tree(nodes, ends)
            nodes, ends = {}, []
        for place in range(len(way)):
            nodes.setdefault(way[: place + 1], len(nodes))
        ends.append(nodes[way])
    if ends:
        yield _tree(nodes, ends)


def _tree(nodes: dict[tuple[int, ...], int], ends: list[int]) -> PromptTree:
    sees = np.eye(len(nodes), dtype=bool)
    for way, node in nodes.items():  # parents come first
        if len(way) > 1:
            sees[node] |= sees[nodes[way[:-1]]]
    return PromptTree([way[-1] for way in nodes], [len(way) - 1 for way in nodes], ends, sees)


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


def text_key(config: ModelConfig, weights: str) -> str:
    """Cache key of word embeddings: they depend on the text encoder, its weights and the prompts."""
    text = "\n".join((config.backbone, weights, str(config.quick_gelu), *config.prompts))
    return f"{config.backbone}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
