"""What a search could not have seen, to be stated with every "nothing to report"."""

from spuriscope.adequacy import Adequacy
from spuriscope.data.image_set import ImageSet
from spuriscope.discovery.trace import LEAST_OF_CLASS

__all__ = ["blind_spots"]

LEAST_FRESH = 50  # of other classes; with fewer, one image exceeds the 2 % that a pattern must move


def blind_spots(data: ImageSet, adequacy: Adequacy) -> list[str]:
    """Sentences that say which cues a search of a model on these data could not have found; may be empty.

    Args:
        data: the training images were searched, and the test images were fresh.
        adequacy: of the model.
    """
    found = []
    if adequacy.is_near_chance:
        found.append(f"any cue: the model is {adequacy}, so no effect tells a cue from its other mistakes")
    counts = data.train.labels.bincount(minlength=data.n_classes)
    small = [
        f"{name} ({int(n)})" for name, n in zip(data.class_names, counts, strict=True) if n < LEAST_OF_CLASS
    ]
    if small:
        found.append(
            f"cues in classes of fewer than {LEAST_OF_CLASS} training images, which are not searched: "
            f"{', '.join(small)}"
        )
    fresh = data.test.labels.bincount(minlength=data.n_classes)
    least = len(data.test) - int(fresh.max())
    if least < LEAST_FRESH:
        found.append(
            f"weak cues: there are {least} fresh images of other classes, of which one is "
            f"{100 / max(1, least):.0f} %; give more"
        )
    return found
