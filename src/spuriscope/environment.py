"""Versions and hardware with which a number was measured."""

import os
import platform
from pathlib import Path
from typing import Any

__all__ = ["environment"]


def environment(device: str = "cpu") -> dict[str, Any]:
    """Versions, processor, cores and device, as JSON values."""
    import numpy as np
    import torch

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "processor": _processor(),
        "n_cores": os.cpu_count(),
        "device": torch.cuda.get_device_name() if device != "cpu" and torch.cuda.is_available() else "cpu",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
