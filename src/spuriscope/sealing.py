"""The checksum with which our files detect changes: over their texts and their tensors."""

import hashlib
import json
from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["checksum"]


def checksum(texts: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over the texts, and over name, type, shape and bytes of each tensor, sorted by name."""
    digest = hashlib.sha256(json.dumps(dict(texts), sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
