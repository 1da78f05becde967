"""Which number types a device computes in hardware."""

import torch


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device computes bfloat16 in hardware; emulated bfloat16 is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    able = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))
