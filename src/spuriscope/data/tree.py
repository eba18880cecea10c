"""The folders and images in a folder, or in a `.tar`, before anything is decoded.

An image is a file whose name has the suffix of one (`.png`, `.heic`, ...), or whose first bytes are those of
a supported format; everything else is skipped and counted. Hidden files and leftovers of operating systems
(`.DS_Store`, `Thumbs.db`) are not even counted. Archives are read member by member: nothing is unpacked, and
nothing leads out of them.
"""

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from tarfile import TarInfo

from spuriscope.data.tar_headers import TAR_DAMAGE, open_tar
from spuriscope.errors import DataError
from spuriscope.limits import LARGEST_FILE, MOST_FOLDERS, MOST_MEMBERS

__all__ = ["SUFFIXES", "Folder", "Photo", "is_left_behind", "read_archive", "read_folder", "read_tree"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".jfif", ".jpe")
NOT_READ = (".heic", ".heif", ".avif", ".jp2", ".psd", ".svg", ".dng", ".ppm", ".pgm", ".dcm")
_PICTURES = frozenset(SUFFIXES + NOT_READ)  # unsupported formats give an error, rather than being skipped
_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")
_LEFT_BEHIND = {"Thumbs.db", "desktop.ini", "__MACOSX"}
TABLES = (".csv", ".tsv", ".parquet")


@dataclass(frozen=True, order=True)
class Photo:
    """One image of a source, not read yet.

    Attributes:
        name: its path in the source, with "/" between; images are sorted by it.
        called: what errors call it: a path that can be opened, if it is a file.
        file: the file its bytes are in.
        start: position of its first byte there.
        size: number of its bytes.
        stamp: times in nanoseconds, which tell whether the file has changed.
    """

    name: str
    called: str
    file: Path
    start: int
    size: int
    stamp: tuple[int, ...]

    def content(self) -> bytes:
        """Its bytes.

        Raises:
            DataError: the file is gone, cannot be read, or is larger than any image.
        """
        if self.size > LARGEST_FILE:
            raise DataError(f"{self.called} has {self.size / 1e6:,.0f} MB, which no image has; remove it")
        try:
            with self.file.open("rb") as file:
                file.seek(self.start)
                return file.read(self.size)
        except OSError as error:
            raise DataError(
                f"{self.called} cannot be read as an image ({error.strerror}); replace it, or remove it"
            ) from error


@dataclass
class Folder:
    """The content of a folder.

    Attributes:
        path: the folder, as errors call it.
        folders: the folders in it by name, sorted.
        images: the images in it, sorted by name.
        n_others: number of other files in it, not counting those in its folders.
        tables: those of them that have the name of a table.
    """

    path: str
    folders: dict[str, "Folder"] = field(default_factory=dict)
    images: list[Photo] = field(default_factory=list)
    n_others: int = 0
    tables: list[str] = field(default_factory=list)

    def inner(self) -> "Folder":
        """The folder that has the content, inside folders that hold nothing but one folder."""
        (only,) = self.folders.values() if len(self.folders) == 1 else (None,)
        if only is None or not only.folders or self.images:
            return self
        found = only.inner()
        return replace(found, n_others=found.n_others + self.n_others)

    def everything(self) -> Iterator["Folder"]:
        """This folder and all below it."""
        yield self
        for folder in self.folders.values():
            yield from folder.everything()


def read_tree(source: Path) -> Folder:
    """Read a folder, or a `.tar` of one: errors as for `read_folder` and `read_archive`."""
    return read_folder(source) if source.is_dir() else read_archive(source)


def read_folder(top: Path) -> Folder:
    """Read a folder. No image is opened; of files without an image's suffix, the first bytes are read.

    Raises:
        DataError: it cannot be read, a link leads out of it, or something is neither a file nor a folder.
    """
    return _read(top, "", top, MOST_FOLDERS)


def _read(folder: Path, name: str, top: Path, depth: int) -> Folder:
    found = Folder(str(folder))
    try:
        with os.scandir(folder) as scanned:
            entries = sorted(scanned, key=lambda entry: entry.name)
        for entry in entries:
            if is_left_behind(entry.name):
                continue
            path = folder / entry.name
            if entry.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(top)):
                raise DataError(f"{path} is a link that leads out of {top}; put a copy in its place")
            if entry.is_dir():
                below = (
                    _read(path, f"{name}{as_text(entry.name)}/", top, depth - 1)
                    if depth > 0
                    else Folder(str(path))
                )
                found.folders[as_text(entry.name)] = below
            elif not entry.is_file():
                raise DataError(f"{path} is neither an image nor a folder; move it away")
            elif Path(entry.name).suffix.lower() in _PICTURES or _looks_like_one(path):
                found.images.append(photo_of(path, f"{name}{as_text(entry.name)}", entry.stat()))
            else:
                found.n_others += 1
                if Path(entry.name).suffix.lower() in TABLES:
                    found.tables.append(entry.name)
    except OSError as error:
        raise DataError(f"the folder {folder} cannot be read ({error.strerror}); check the path") from error
    return found


def as_text(name: str) -> str:
    """A name as text that can be written down: invalid bytes are shown as \\xe9."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def photo_of(path: Path, name: str, status: os.stat_result) -> Photo:
    """The image in a file of its own."""
    # st_ctime_ns changes even where an archive restores the other time; BMP files often have equal sizes
    return Photo(name, str(path), path, 0, status.st_size, (status.st_mtime_ns, status.st_ctime_ns))


def read_archive(path: Path) -> Folder:
    """Read a `.tar` without unpacking it; a folder around all the rest is left out of the names.

    Raises:
        DataError: it is not a tar or is compressed, a member is a link or leads out of it, two members have
            one name, or it has more members than any data set.
    """
    found, photos = Folder(str(path)), dict[str, Photo]()
    try:
        status = path.stat()
        stamp = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        with path.open("rb") as raw, open_tar(raw, "r:") as archive:  # read in any order
            for number, member in enumerate(archive):
                archive.__dict__["members"] = []  # tarfile keeps them all, at a kilobyte each
                name = PurePosixPath(as_text(member.name))
                _check_member(path, member, name, number, status.st_size)
                if any(map(is_left_behind, name.parts)) or not name.parts:
                    continue
                folder = _folder_at(found, name.parts if member.isdir() else name.parts[:-1])
                if member.isdir():
                    continue
                if str(name) in photos:
                    raise DataError(f"{path} holds two images named {name}; pack each of them once")
                if name.suffix.lower() in _PICTURES or _is_signature(_head(raw, member.offset_data)):
                    photo = Photo(
                        str(name), f"{name} in {path}", path, member.offset_data, member.size, stamp
                    )
                    photos[photo.name] = photo
                    folder.images.append(photo)
                else:
                    folder.n_others += 1
    except TAR_DAMAGE as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"{path} cannot be read as a .tar of images ({reason}); check it, and unpack a compressed one"
        ) from error
    for folder in found.everything():
        folder.images.sort()
        folder.folders = dict(sorted(folder.folders.items()))
    inner = found.inner()
    prefix = inner.path.removeprefix(str(path)).removeprefix("/")
    for folder in inner.everything() if prefix else ():
        folder.images = [
            replace(photo, name=photo.name.removeprefix(f"{prefix}/")) for photo in folder.images
        ]
    return inner


def _check_member(path: Path, member: TarInfo, name: PurePosixPath, number: int, n_bytes: int) -> None:
    if name.is_absolute() or ".." in name.parts or not (member.isfile() or member.isdir()):
        raise DataError(
            f"{path} holds the suspicious member {member.name!r}, a link or a path that leads "
            "out of the archive; unpack it where you trust it, and give the folder"
        )
    if number >= MOST_MEMBERS or len(name.parts) > MOST_FOLDERS + 1:
        raise DataError(
            f"{path} has more than {MOST_MEMBERS:,} members, or more than {MOST_FOLDERS} folders in each "
            "other; pack one data set"
        )
    if member.issparse() or not 0 <= member.size <= n_bytes - member.offset_data:
        raise DataError(f"{path} ends before its member {member.name!r} does; pack it again")


def _folder_at(top: Folder, parts: tuple[str, ...]) -> Folder:
    for part in parts:
        top = top.folders.setdefault(part, Folder(f"{top.path}/{part}"))
    return top


def is_left_behind(name: str) -> bool:
    """Whether this is a hidden file, or a leftover of an operating system."""
    return name.startswith(".") or name in _LEFT_BEHIND


def _looks_like_one(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return _is_signature(file.read(16))
    except OSError:
        return False  # nor does it have the name of an image


def _head(file: io.BufferedReader, start: int) -> bytes:
    at = file.tell()
    try:
        file.seek(start)
        return file.read(16)
    finally:
        file.seek(at)


def _is_signature(head: bytes) -> bool:
    """Whether the first bytes of a file are those of a supported image format."""
    return (
        head.startswith(_SIGNATURES)
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        or (head[:2] == b"BM" and head[6:10] == b"\0\0\0\0")
    )
