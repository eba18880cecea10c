"""Where files are sought, and how missing ones are fetched.

The root is what the caller gives, else the environment variable SPURISCOPE_DATA, else the user's cache.
Under it a data set has its own folder, or lies directly in the root. Files that already exist may be repacked
copies: loaders check their content. A fetched file must have the checksum that its authors published. An
interrupted transfer leaves a `.part` file, from which the next one continues.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from io import BufferedWriter
from pathlib import Path
from typing import Any

import pooch

from spuriscope.data.published import Published, PublishedFile
from spuriscope.errors import DataError

__all__ = ["data_root", "fetch", "locate", "obtain"]

_TIMEOUT = (4, 10)  # seconds: for the connection, and between two pieces of an answer
_CHUNK = 1 << 16  # bytes


def data_root(root: Path | None) -> Path:
    """The folder that holds the data sets.

    Raises:
        DataError: a folder was given, by argument or by SPURISCOPE_DATA, and does not exist.
    """
    from_environment = os.environ.get("SPURISCOPE_DATA")
    if root is None and not from_environment:
        return Path(pooch.os_cache("spuriscope"))
    origin = "SPURISCOPE_DATA" if root is None else "--root"
    folder = Path(os.path.expanduser(root or from_environment or ""))
    if not os.path.isdir(folder):
        raise DataError(f"the data folder {folder} ({origin}) does not exist; make it, or give another one")
    return folder


def locate(data: Published, root: Path) -> tuple[Path, list[Path | None]]:
    """The folder under `root` that holds most of a data set, and its files; None for a missing one."""

    def files_in(folder: Path) -> list[Path | None]:
        return [
            next(filter(os.path.exists, (folder / form for form in (*file.other_forms, file.name))), None)
            for file in data.files
        ]

    folders = [*(root / name for name in data.folders), root]
    return max(
        ((folder, files_in(folder)) for folder in folders),
        key=lambda found: sum(path is not None for path in found[1]),  # the first of equals
    )


def obtain(data: Published, root: Path, *, download: bool) -> list[Path]:
    """The files of a data set; missing ones are fetched if `download` is true.

    Raises:
        DataError: a file is missing, and fetching it failed or was not asked for.
    """
    folder, found = locate(data, root)
    paths = []
    for file, path in zip(data.files, found, strict=True):
        if path is None and not (download and file.url):
            raise DataError(f"{data.name}: {_not_found(file, folder)}")
        paths.append(path or fetch(file, folder))
    return paths


def fetch(file: PublishedFile, folder: Path) -> Path:
    """Fetch one file into `folder`, with a progress bar on stderr, and check its checksum.

    Raises:
        DataError: there is no connection, it broke off, or the checksum is wrong.
    """
    part = folder / f"{file.name}.part"
    try:
        with _no_empty_leftovers(folder, part):
            path = pooch.retrieve(
                file.url,
                known_hash=f"md5:{file.md5}",
                fname=file.name,
                path=folder,
                downloader=partial(_resume, part=part),
            )
    except OSError as error:  # so are failed connections
        kept = f"{part.stat().st_size} bytes are kept, run again to go on; " if part.exists() else ""
        raise DataError(
            f"cannot fetch {file.url} ({_reason(error)}); {kept}{_not_found(file, folder)}"
        ) from error
    except ValueError as error:
        raise DataError(
            f"{file.url} had another checksum than the published md5 {file.md5}, and was removed; run again, "
            f"or put {file.name} into {folder} yourself"
        ) from error
    return Path(path)


def _not_found(file: PublishedFile, folder: Path) -> str:
    return (
        f"{file.name} is not in {folder}; put it there, or name the folder that has it by --root or the "
        "environment variable SPURISCOPE_DATA"
    )


def _reason(error: OSError) -> str:
    """Why a transfer failed, in a few words: the errors of urllib3 are paragraphs."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return f"the server answered {status}" if status else error.strerror or type(error).__name__


@contextmanager
def _no_empty_leftovers(folder: Path, part: Path) -> Iterator[None]:
    """Remove the partial file and the folder if they stay empty."""
    was_there = folder.exists()
    level = pooch.get_logger().level
    pooch.get_logger().setLevel("WARNING")  # the progress bar already says it
    try:
        yield
    finally:
        pooch.get_logger().setLevel(level)
        if part.exists() and part.stat().st_size == 0:
            part.unlink()
        if not was_there:
            with suppress(OSError):  # it is not empty
                folder.rmdir()


def _resume(url: str, output_file: str, _: object, *, part: Path) -> None:
    """Resume `part` where it ends, and hand it to pooch, which checks it. A downloader of pooch."""
    with part.open("ab") as file:
        # one byte back, because a server refuses a range that starts at the end of a complete file
        start = max(0, file.tell() - 1)
        file.truncate(start)
        pooch.HTTPDownloader(
            progressbar=True,
            chunk_size=_CHUNK,
            timeout=_TIMEOUT,
            headers={"Accept-Encoding": "identity", "Range": f"bytes={start}-"},
            hooks={"response": partial(_start_over_if_whole, file=file)},
        )(url, file, None)
    os.replace(part, output_file)


def _start_over_if_whole(response: Any, *, file: BufferedWriter, **_: object) -> None:
    """Empty the partial file if the server sends all of it (200), or lacks the range (416)."""
    if response.status_code in {200, 416}:
        file.truncate(0)
