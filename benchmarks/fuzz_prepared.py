"""Prepared folders that the fuzzer breaks."""

import json
import shutil
from pathlib import Path
from random import Random

from fuzz import Kind
from fuzz_data import content_of, pictures
from fuzz_mutations import broken_bytes, broken_document, document_text
from spuriscope.data import load
from spuriscope.data.catalog import verify
from spuriscope.data.layout import arrange
from spuriscope.data.photographs import write_photographs
from spuriscope.data.tree import read_tree
from spuriscope.reading import Reading

__all__ = ["KINDS"]


def _prepare_prepared(folder: Path) -> None:
    pictures(folder / "photo")
    for context in ("photo", "sketch"):
        pictures(folder / "contexts" / context)
    for source, out in (("photo", "classes"), ("contexts", "data")):
        arranged = arrange(read_tree(folder / source))
        write_photographs(arranged, folder / out, source, Reading())
        shutil.rmtree(folder / source)


def _make_prepared(draw: Random, good: Path, out: Path) -> bool:
    which = draw.choice(("data", "data", "classes"))
    shutil.copytree(good / which, out / "data")
    images, contents = out / "data" / "images.u8", out / "data" / "contents.safetensors"
    how = draw.random()
    if how < 0.25:
        images.write_bytes(broken_bytes(draw, images.read_bytes()))
    elif how < 0.5:
        contents.write_bytes(broken_bytes(draw, contents.read_bytes()))
    elif how < 0.55:
        other = good / ("classes" if which == "data" else "data")
        name = draw.choice(("images.u8", "contents.safetensors"))
        shutil.copy(other / name, out / "data" / name)
    else:
        is_older = draw.random() < 0.4  # without a checksum: its content is believed, if it is possible
        contents.write_bytes(_broken_contents(draw, contents.read_bytes(), is_older=is_older))
        return which == "data" and not is_older
    return which == "data"


def _broken_contents(draw: Random, content: bytes, *, is_older: bool) -> bytes:
    """The file beside the images, complete, with its header or a tensor changed."""
    n = int.from_bytes(content[:8], "little")
    header, tensors = json.loads(content[8 : 8 + n]), content[8 + n :]
    if is_older:
        del header["__metadata__"]["checksum"]
    if draw.random() < 0.3:
        tensors = broken_bytes(draw, tensors)[: len(tensors)].ljust(len(tensors), b"\0")
    elif draw.random() < 0.7:
        about = broken_document(draw, json.loads(header["__metadata__"]["about"]))
        header["__metadata__"]["about"] = document_text(about)
    else:
        header = broken_document(draw, header)
    text = document_text(header).encode()
    return len(text).to_bytes(8, "little") + text + tensors


def _read_prepared(folder: Path) -> object:
    data = load(folder / "data")
    verify(folder / "data")
    return content_of(data)


KINDS = (Kind("prepared", _prepare_prepared, _make_prepared, _read_prepared),)
