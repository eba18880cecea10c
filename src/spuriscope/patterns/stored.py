"""Patterns in files and messages: a kind, and arrays by name."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from spuriscope.errors import PatternError
from spuriscope.patterns.kinds import Cover, Kind, Pattern, Shade

__all__ = ["arrays_of", "from_arrays"]

KINDS: dict[str, type[Pattern | Cover | Shade]] = {kind.kind: kind for kind in (Pattern, Cover, Shade)}


def arrays_of(pattern: Kind) -> dict[str, Tensor]:
    """The arrays of a pattern, by name; copies, because patterns may share theirs."""
    return {name: array.clone() for name, array in pattern.arrays.items()}


def from_arrays(kind: str, name: str, arrays: Mapping[str, Tensor], shape: Sequence[int]) -> Kind:
    """Rebuild the pattern that `arrays_of` took apart.

    Args:
        kind: "add", "cover" or "shade".
        name: of the pattern.
        arrays: by name.
        shape: (channels, height, width) of the images it fits.

    Raises:
        PatternError: this version does not know the kind, or the arrays do not make a pattern.
        KeyError: an array is missing.
    """
    if kind not in KINDS:
        raise PatternError(
            f"pattern {name} is of kind {kind!r}, and this version of spuriscope knows {', '.join(KINDS)}; "
            "update spuriscope"
        )
    if kind == "shade":
        return Shade(name, arrays["matrix"], arrays["offset"], shape[1], shape[2])
    if kind == "cover":
        return Cover(name, arrays["pixels"], arrays["alpha"])
    return Pattern(name, arrays["pixels"])
