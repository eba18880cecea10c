"""Check once, before anything is measured, that a model answers for each image by itself."""

import torch
from torch import Tensor

from spuriscope.argument_types import checked
from spuriscope.data.pixels import Images, as_asked
from spuriscope.errors import MeasureError
from spuriscope.measures import Predict, probabilities

__all__ = ["check_answers"]

N_ASKED, N_ALONE = 32, 6
TOLERANCE = (
    0.01  # a difference of probabilities; quantised models scale a batch as a whole and differ by less
)
SAME = 1e-6


@checked(MeasureError)
def check_answers(predict: Predict, images: Images, source: str = "the model") -> None:
    """Refuse a model whose answer depends on more than the image, or not on the image at all.

    It is asked about up to 32 different images together, then again, then about up to six of them alone.

    Args:
        predict: maps images to class probabilities.
        images: as for `probabilities`, two at least.
        source: what errors call the model.

    Raises:
        MeasureError: the same images get other answers the second time, or others alone than together, or
            all images get the same answer; the message names the likely cause. Or `predict` does not return
            probabilities.
    """
    images = as_asked(images, error=MeasureError)
    sample = torch.unique(images[: 4 * N_ASKED], dim=0)
    sample = sample[torch.linspace(0, len(sample) - 1, min(N_ASKED, len(sample))).round().long()]
    together, again = probabilities(predict, sample), probabilities(predict, sample)
    if _apart(together, again) > TOLERANCE:
        raise MeasureError(
            f"{source} gives the same images other answers the second time; dropout or other randomness is "
            "active: put it in evaluation mode (model.eval()) before it is exported or asked"
        )
    alone = torch.cat([probabilities(predict, image[None]) for image in sample[:N_ALONE]])
    is_constant = len(sample) > 1 and _apart(together, together[:1]) <= SAME
    if is_constant and _apart(together[:N_ALONE], alone) > SAME:
        raise MeasureError(
            f"{source} gives an image another answer alone than among others: there every image gets the "
            "answer of the first; its batch size is fixed: export it for batches of any size"
        )
    if _apart(together[:N_ALONE], alone) > TOLERANCE:
        raise MeasureError(
            f"{source} gives an image another answer alone than among others; the usual cause is batch "
            "normalisation in training mode: use evaluation mode (model.eval()) before exporting or asking it"
        )
    if is_constant:
        raise MeasureError(
            f"{source} gives all of {len(sample)} different images the same answer; its weights may not be "
            "loaded, or its pixels are scaled wrongly: see mean=, std= and scale= (--mean, --std, --scale)"
        )


def _apart(left: Tensor, right: Tensor) -> float:
    return float((left - right).abs().max())
