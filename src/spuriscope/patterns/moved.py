"""A pattern at another size, in the same place."""

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from spuriscope.patterns.kinds import Cover, Kind, Pattern, Shade

__all__ = ["scaled_pattern"]


def scaled_pattern(pattern: Kind, factor: float) -> Kind | None:
    """The pattern `factor` times as large about its centre, moved to stay inside the image where it fits.

    What does not fit is cut off on both sides. None for a shade, which has no size.

    Args:
        pattern: of any kind.
        factor: for height and width; both stay at least one pixel. Bilinear, smoothed when smaller.
    """
    if isinstance(pattern, Shade):
        return None
    if isinstance(pattern, Pattern):
        return Pattern(pattern.name, _scaled(pattern, pattern.pixels, factor).clamp(0, 1))
    alpha = _scaled(pattern, pattern.alpha[None], factor).clamp(0, 1)
    pixels = _scaled(pattern, pattern.pixels * pattern.alpha, factor) / alpha.clamp_min(1e-6)
    return Cover(pattern.name, pixels.clamp(0, 1), alpha)


def _scaled(pattern: Pattern | Cover, values: Tensor, factor: float) -> Tensor:
    """Values (c, height, width) with the content of the pattern's box scaled; zeros around it."""
    top, left, bottom, right = pattern.box
    size = [max(1, round(side * factor)) for side in pattern.box.size]
    small = interpolate(values[None, :, top:bottom, left:right], size, mode="bilinear", antialias=factor < 1)[
        0
    ]
    whole = torch.zeros_like(values)
    height, width = values.shape[1:]
    rows, from_row = _span((top + bottom) / 2, size[0], height)
    columns, from_column = _span((left + right) / 2, size[1], width)
    n_rows, n_columns = rows.stop - rows.start, columns.stop - columns.start
    whole[:, rows, columns] = small[:, from_row : from_row + n_rows, from_column : from_column + n_columns]
    return whole


def _span(centre: float, size: int, room: int) -> tuple[slice, int]:
    """Where `size` pixels about a centre lie in `room` pixels, and which of them is the first inside."""
    if size > room:
        return slice(0, room), (size - room) // 2
    start = min(max(round(centre - size / 2), 0), room - size)
    return slice(start, start + size), 0
