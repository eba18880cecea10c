"""What we look at: data sets of images, by name, from a folder, or from an `.npz` file.

`load` gives an `ImageSet`; `list_data` and `verify` are what `spuriscope data list` and `spuriscope
data verify` print; `prepare_contexts` decodes photographs with contexts once and for all. Nothing is
unpickled, no archive is unpacked to disk, and a file that is damaged ends in one `DataError` that names it.
"""

from spuriscope.data.catalog import FileCheck, Listing, Verification, list_data, load, verify
from spuriscope.data.image_set import ImageSet, Split

__all__ = ["FileCheck", "ImageSet", "Listing", "Split", "Verification", "list_data", "load", "verify"]
