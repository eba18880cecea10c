"""Versions and hardware with which a number was measured."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Environment", "environment"]


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Versions and hardware."""

    python: str
    torch: str
    numpy: str
    platform: str
    processor: str
    n_cores: int | None
    device: str


def environment(device: str = "cpu") -> Environment:
    """Versions, processor, cores and device of this process."""
    import numpy as np
    import torch

    return Environment(
        python=platform.python_version(),
        torch=str(torch.__version__),
        numpy=np.__version__,
        platform=platform.platform(),
        processor=_processor(),
        n_cores=os.cpu_count(),
        device=torch.cuda.get_device_name() if device != "cpu" and torch.cuda.is_available() else "cpu",
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
