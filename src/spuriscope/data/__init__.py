"""What we look at: data sets of images, by name, from a folder, a `.tar`, a table, or an `.npz` file.

`load` returns an `ImageSet`; `list_data` and `verify` are what `spuriscope data list` and `spuriscope
data verify` print; `prepare_contexts` decodes photographs with contexts once for later use. Nothing is
unpickled, no archive is unpacked to disk, and a damaged file gives one `DataError` that names it.
"""

from spuriscope.data.added import register_data
from spuriscope.data.catalog import FileCheck, Listing, Verification, list_data, load, read, verify
from spuriscope.data.image_set import ImageSet, Origin, Split
from spuriscope.reading import Reading

__all__ = [
    "FileCheck",
    "ImageSet",
    "Listing",
    "Origin",
    "Reading",
    "Split",
    "Verification",
    "list_data",
    "load",
    "read",
    "register_data",
    "verify",
]
