"""The image half in OpenVINO, Intel's engine for CPUs: converted once, cached on disk, compared with torch when loaded.

It replaces only the network part of `EOVSeg.encode_image`; words, decoder and scores stay in torch.
"""

import hashlib
import os
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from eovseg.errors import ConfigError
from eovseg.fast.halves import ImageHalf, features_of
from eovseg.fast.values import PreparedFeatures
from eovseg.model.network import EOVSeg

FORMAT = "2"  # version of the cached files; a new one invalidates them
TOLERANCE = 1e-3  # RMS error relative to the standard deviation of each output, for float32
BFLOAT16_SHARE = 2  # tolerance for bfloat16, as a multiple of torch's own error with the image half in bfloat16
_CHECKED_SIZE = (160, 192)


class _ChannelsLast(nn.Module):
    """`ImageHalf` with outputs (B, h, w, C), the engine's own layout, because transposing would add 10% of its time."""

    def __init__(self, network: EOVSeg) -> None:
        super().__init__()
        self.image_half = ImageHalf(network)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(output.permute(0, 2, 3, 1) for output in self.image_half(images))


@dataclass(eq=False)
class OpenVINOImageHalf:
    """The compiled image half; call it with normalised pixels, padded to multiples of 32."""

    compiled: Any
    names: list[str]
    dtype: torch.dtype

    def __call__(self, images: Tensor, size: tuple[int, int]) -> PreparedFeatures:
        """Features of `images` (1, 3, H, W) whose first `size` rows and columns are the photo."""
        # A new request for each call, because the returned arrays use its memory and calls may overlap.
        request = self.compiled.create_infer_request()
        values = request.infer([images.float().contiguous().numpy()], share_inputs=True, share_outputs=True)
        found = [torch.from_numpy(value).permute(0, 3, 1, 2) for value in values.values()]
        # As torch's image half would leave them, so that the word half need not convert them at each use.
        found = [one if name == "dense" else one.to(self.dtype) for name, one in zip(self.names, found, strict=True)]
        return features_of(self.names, found, size, (images.shape[-2], images.shape[-1]))


def load(network: EOVSeg, cache: Path | None, bfloat16: bool = False) -> OpenVINOImageHalf:
    """The image half of a float32 network on the CPU, converted the first time and then read from the folder `cache`.

    `bfloat16` allows the engine to compute in bfloat16 if the processor supports it. Raises `ConfigError` if openvino
    is not installed, for multi-scale networks, and if outputs differ too much from torch's float32: by more than
    `TOLERANCE`, or with bfloat16 by more than `BFLOAT16_SHARE` times the error of torch's own bfloat16.
    """
    openvino = package()
    if network.config.scales == "multi":
        raise ConfigError("The backend 'openvino' does not support multi-scale networks; use backend 'torch'.")
    half = _ChannelsLast(network).eval()
    core = openvino.Core()
    path = None if cache is None else cache / "openvino" / f"{_digest(network)}.xml"
    model = core.read_model(path) if path is not None and path.exists() else _convert(openvino, half)
    if path is not None and not path.exists():
        _keep(openvino, model, path)
    precision = "bf16" if bfloat16 else "f32"
    options = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    compiled = core.compile_model(model, "CPU", options)
    made = OpenVINOImageHalf(compiled, half.image_half.names, torch.bfloat16 if bfloat16 else torch.float32)
    _check(half, made, bfloat16)
    return made


def package() -> ModuleType:
    """The package openvino, without its telemetry; raises `ConfigError` if it is not installed."""
    # Its converter would report each use to Google Analytics, from a process that may outlive this one.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError as error:
        raise ConfigError(
            "The backend 'openvino' needs a package that is not installed: pip install openvino."
        ) from error
    return openvino


def _convert(openvino: ModuleType, half: nn.Module) -> Any:
    import torchvision.ops  # noqa: F401 (its import must not be traced)

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # warnings of the tracer about branches on sizes; `_check` uses another size
        model = openvino.convert_model(half, example_input=torch.zeros(1, 3, 96, 128))
    model.reshape([1, 3, -1, -1])
    return model


def _keep(openvino: ModuleType, model: Any, path: Path) -> None:
    """Caches the converted model atomically; if the cache is not writable, it will be converted again next time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            made = Path(folder) / path.name
            openvino.save_model(model, made, compress_to_fp16=False)
            os.replace(made.with_suffix(".bin"), path.with_suffix(".bin"))
            os.replace(made, path)  # last, because readers check for this file
    except OSError as error:
        warnings.warn(f"The converted model cannot be cached in {path.parent} ({error.strerror}).", stacklevel=3)


def _digest(network: EOVSeg) -> str:
    """Digest of the format, OpenVINO's version, the configuration and all weights of the image half."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(f"{FORMAT} {package().__version__} {network.config.to_dict()}".encode())
    for name, tensor in _weights(network).items():
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _weights(network: EOVSeg) -> dict[str, Tensor]:
    """Parameters and buffers of the image half, by their names in the network."""
    parts = ("feature_extractor.", "aggregator.", "spatial_extractor.", "spatial_upscaling.", "vas.")
    return {name: tensor for name, tensor in network.state_dict().items() if name.startswith(parts)}


@torch.no_grad()
def _check(half: _ChannelsLast, made: OpenVINOImageHalf, bfloat16: bool) -> None:
    """Compares with torch's float32 on a noise image of a different size from the one used for the conversion."""
    images = torch.randn(1, 3, *_CHECKED_SIZE, generator=torch.Generator().manual_seed(0))
    features = made(images, _CHECKED_SIZE)
    given = (features.aggregated, features.dense, features.spatial, features.pixel_embeddings)
    wanted = half(images)
    allowed = [TOLERANCE] * len(wanted)
    if bfloat16:
        weights = _weights(half.image_half.network).items()
        narrow = {
            f"image_half.network.{name}": value.bfloat16() for name, value in weights if value.is_floating_point()
        }
        rounded = torch.func.functional_call(half, narrow, images.bfloat16())
        allowed = [BFLOAT16_SHARE * _error(one, other) for one, other in zip(wanted, rounded, strict=True)]
    for one, other, bound in zip(wanted, (g for g in given if g is not None), allowed, strict=True):
        error = _error(one, other.permute(0, 2, 3, 1))
        if not error <= bound:
            raise ConfigError(
                f"On this machine, the backend 'openvino' differs from torch by {error:.1%} of the outputs' standard "
                f"deviation ({bound:.1%} is allowed); use backend 'torch'."
            )


def _error(wanted: Tensor, found: Tensor) -> float:
    """RMS of the difference, relative to the standard deviation of `wanted`."""
    return float((wanted - found.float()).square().mean().sqrt() / wanted.std().clamp(min=1e-12))
