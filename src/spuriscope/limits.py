"""Limits on anything from outside: archives, images, arrays, documents and studies.

A file states how much it holds, and may claim too much. Nothing is unpacked, decoded, expanded or trained
beyond these limits, each of which exceeds what real data and studies need.
"""

__all__ = [
    "LARGEST_DOCUMENT",
    "LARGEST_FILE",
    "LARGEST_HEADER",
    "LARGEST_INPUT",
    "LARGEST_SIDE",
    "LARGEST_STUDY",
    "LONGEST_MESSAGE",
    "MOST_CELLS",
    "MOST_CLASSES",
    "MOST_FOLDERS",
    "MOST_LEVELS",
    "MOST_MEMBERS",
    "MOST_NODES",
    "MOST_PADDING",
    "MOST_PIXELS",
    "MOST_REPLICATIONS",
    "MOST_TO_ONE",
    "is_packed_too_well",
]

# errors
LONGEST_MESSAGE = 1500  # characters

# archives and folders
MOST_MEMBERS = 5_000_000
MOST_FOLDERS = 6  # nested: more than any data set needs, and it stops links that run in circles
LARGEST_HEADER = 1 << 16  # bytes: of a long name, of attributes, of an array's shape and type
MOST_PADDING = 1 << 26  # bytes that an archive may hold beside what is needed
MOST_TO_ONE = 100  # unpacked to packed, above `LARGEST_FILE`: images and weights compress at most ten to one

# images
LARGEST_FILE = 1 << 29  # bytes of one image
MOST_PIXELS = 89_478_485  # of one image, Pillow's own limit
LARGEST_INPUT = 4096  # pixels, the side that images are scaled to for a model
MOST_CLASSES = 1_000_000  # each has a name and an answer of the model
LARGEST_SIDE = 1024  # pixels, the side of a square that images are brought to

# documents and studies
LARGEST_DOCUMENT = 1 << 26  # bytes, JSON
LARGEST_STUDY = 1 << 16  # bytes, YAML
MOST_LEVELS = 50  # of nested lists in a study's file
MOST_NODES = 100_000  # values in it, counting repeats by anchors each time
MOST_REPLICATIONS = 10_000  # seeds of a study or an audit
MOST_CELLS = 1_000_000  # rows of one study


def is_packed_too_well(n_packed: int, n_unpacked: int) -> bool:
    """Whether data compress so well that they must be an attempt to fill memory."""
    return n_unpacked > max(LARGEST_FILE, MOST_TO_ONE * n_packed)
