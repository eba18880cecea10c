"""Usual names of the columns of images, labels and parts, in tables, frames and data sets alike."""

__all__ = ["USUAL"]

USUAL = {
    "image": (
        "image", "images", "file", "filename", "file_name", "filepath", "file_path", "path", "image_path",
        "image_file", "image_name", "img", "img_path", "image_id",
    ),
    "label": (
        "label", "labels", "class", "class_name", "category", "target", "y", "species", "diagnosis",
        "dx",
    ),
    "split": ("split", "part", "partition", "subset", "set", "phase"),
}  # fmt: skip
