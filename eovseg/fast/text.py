"""CLIP's text encoder without padding or repeated prefixes, with the same embeddings."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from eovseg.model.text import ClipTextEncoder

TREE_TOKENS = 512  # tokens per pass; the cost of attention is quadratic in this


class FastClipTextEncoder(ClipTextEncoder):
    """Like the plain version, which computes 77 tokens for every prompt."""

    def encode_prompts(self, prompts: Sequence[str]) -> Tensor:
        """Like the plain version."""
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
