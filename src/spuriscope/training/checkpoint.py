"""The form of a checkpoint: a safetensors file that detects changes.

The file's header holds texts, which say what the tensors are, and a checksum over the whole file. Files of
the first format have no checksum and are still read. Nothing is unpickled.
"""

from collections.abc import Mapping

from torch import Tensor

from spuriscope.documents import from_document, parse_text
from spuriscope.errors import CheckpointError
from spuriscope.sealing import checksum

__all__ = ["to_file", "to_parts"]

FORMAT, FIRST_FORMAT = "2", "1"  # the first has no checksum
VERSION, CHECKSUM = "spuriscope", "checksum"


def to_file(texts: Mapping[str, str], tensors: Mapping[str, Tensor]) -> bytes:
    """The content of a file with these texts and tensors."""
    from safetensors.torch import save

    header = {**texts, VERSION: FORMAT}
    return save(dict(tensors), metadata=header | {CHECKSUM: checksum(header, tensors)})


def to_parts(content: bytes, source: str) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The texts and the tensors that `to_file` was given.

    Raises:
        CheckpointError: this is not a checkpoint, or it was changed; the message calls it `source`.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(content)
    except (SafetensorError, KeyError, ValueError, RuntimeError, TypeError) as error:
        raise CheckpointError(f"{source}: not a whole safetensors file ({error}); train it again") from None
    n_header = int.from_bytes(content[:8], "little")  # the format: length, JSON, tensors
    parsed = parse_text(content[8 : 8 + n_header], source=source, error=CheckpointError)
    texts = parsed.get("__metadata__") or {}
    header = from_document(dict[str, str], texts, source=source, error=CheckpointError)
    version = header.get(VERSION)
    if version not in (FORMAT, FIRST_FORMAT):
        raise CheckpointError(
            f"{source}: not a checkpoint of this version of spuriscope (format {version!r}, "
            f"expected {FORMAT!r}); train it again"
        )
    found = header.pop(CHECKSUM, None)
    if version == FORMAT and found != checksum(header, tensors):
        raise CheckpointError(
            f"{source}: the checksum differs: the file is damaged or was changed; train it again, or take a "
            "good copy"
        )
    return header, tensors
