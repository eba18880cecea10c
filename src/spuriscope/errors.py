"""Every error a user can act on, in one tree.

A message says what was wrong, what was found, and what to do next, in one line. The command line
prints it and ends with exit code 2; a notebook catches `SpuriscopeError`.
"""

from spuriscope.limits import LONGEST_MESSAGE


class SpuriscopeError(Exception):
    """Something the user can correct: data, a setting, or a file.

    Its message is one line that a terminal can show, however long or odd the content that it quotes.
    """

    def __str__(self) -> str:
        return one_line(super().__str__())


def one_line(text: str) -> str:
    """A text as one printable line: line ends become spaces, unprintable characters are escaped. Of a long
    one the middle is left out, because its end says what to do.
    """
    text = _without_middle(text)
    if text.isprintable():
        return text
    words = " ".join(text.splitlines()) if "\n" in text or "\r" in text else text
    return _without_middle("".join(each if each.isprintable() else ascii(each)[1:-1] for each in words))


def _without_middle(text: str) -> str:
    half = LONGEST_MESSAGE // 2
    return text if len(text) <= LONGEST_MESSAGE else f"{text[:half]} ... {text[-half:]}"


class ConfigError(SpuriscopeError):
    """A setting is out of its range or does not fit the others."""


class DataError(SpuriscopeError):
    """A data set is missing, damaged, or in another form than requested."""


class PatternError(SpuriscopeError):
    """A pattern is unknown, or does not fit the images."""


class PlantingError(SpuriscopeError):
    """The requested images cannot be planted."""


class ModelError(SpuriscopeError):
    """An architecture is unknown, or cannot take these images."""


class TrainingError(SpuriscopeError):
    """A training could not be finished."""


class DivergenceError(TrainingError):
    """The loss of a training stopped being a number."""


class CheckpointError(SpuriscopeError):
    """A saved model or run cannot be read, or belongs to other data."""


class StoreError(SpuriscopeError):
    """A store of finished cells cannot be read or written, or another process has it."""


class MeasureError(SpuriscopeError):
    """A model cannot be measured: there were no images, or it did not return probabilities."""


class MembershipError(SpuriscopeError):
    """An attack cannot be carried out or judged: parts overlap, or something it needs is missing."""


class DiscoveryError(SpuriscopeError):
    """A search cannot be carried out: there are too few images, or its inputs do not fit together."""


class DeletionError(SpuriscopeError):
    """Images cannot be deleted from a model: they are not its own, or a method failed."""
