"""How much of a GPU is used. Protected."""

import torch

# Dense bfloat16 peak in FLOP/s by a part of the driver's name for it, from NVIDIA's data sheets. The first match counts.
PEAKS = {
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "H200": 989e12,
    "B200": 2250e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L40": 181e12,
    "L4": 121e12,
    "A10G": 70e12,
    "A10": 125e12,
    "A40": 150e12,
    "RTX 4090": 165e12,
    "RTX 3090": 71e12,
}


def peak_flops(device: torch.device) -> float | None:
    """Peak FLOP/s of this device in bfloat16; None if it is not known, as for any CPU."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in PEAKS.items() if part in name), None)


def flops_per_token(parameters: int, layers: int, width: int, context: int) -> float:
    """Of training on one token, forward and backward (PaLM, arXiv 2204.02311, appendix B).

    `parameters` multiply each token once, so a table of positions does not count, a tied table of tokens once.
    """
    return 6.0 * parameters + 12.0 * layers * width * context
