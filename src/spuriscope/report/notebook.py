"""How values are shown in a notebook: a line of text, pictures with a few words, a table.

It knows nothing of these values: callers pass their pictures and numbers.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from markupsafe import escape

from spuriscope.report.pictures import data_uri

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["as_pictures", "as_table", "as_text"]

LEAST = 56  # least pixels in the notebook of the longer side of a picture


def as_text(*lines: str) -> str:
    """Lines of text, the first one bold."""
    first, *rest = (str(escape(line)) for line in lines)
    return f"<p><b>{first}</b></p>" + "".join(f"<p>{line}</p>" for line in rest)


def as_pictures(images: "Sequence[Tensor]", captions: Sequence[str]) -> str:
    """Pictures (channels, height, width) in a row, uint8 or in [0, 1], with a caption under each."""
    figures = []
    for image, caption in zip(images, captions, strict=True):
        height, width = image.shape[-2:]
        scale = max(1, -(-LEAST // max(height, width)))
        words = escape(caption)
        figures.append(
            f'<figure style="margin:0"><img src="{data_uri(image)}" alt="{words}" width="{width * scale}" '
            f'height="{height * scale}" style="image-rendering:pixelated">'
            f'<figcaption style="font-size:12px">{words}</figcaption></figure>'
        )
    return f'<div style="display:flex;flex-wrap:wrap;gap:8px">{"".join(figures)}</div>'


def as_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of texts."""
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
