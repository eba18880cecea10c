"""Check the headers of a `.tar` before Python's tarfile trusts them.

tarfile reads as much of a long name as its header asks for, goes back where a size is negative, and takes a
damaged header for the end of the archive, so that everything behind it would be silently missing.
"""

import struct
import tarfile
from io import BufferedIOBase
from tarfile import TarFile, TarInfo
from typing import IO, Any, Literal, Self, cast

from spuriscope.limits import LARGEST_HEADER

__all__ = ["TAR_DAMAGE", "open_tar"]

TAR_DAMAGE = (  # what tarfile raises for a damaged or malicious archive
    *(OSError, EOFError, ValueError, OverflowError, IndexError, KeyError, RecursionError, struct.error),
    tarfile.TarError,
)
_ERRORS = cast(Any, tarfile)  # its errors about headers have public names, but are not listed
_DAMAGED_HEADER = (_ERRORS.InvalidHeaderError, _ERRORS.TruncatedHeaderError)
_BEFORE_A_MEMBER = (
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
)


class _CheckedHeader(TarInfo):
    """A header that is whole, has a valid size, and asks for no more memory than a header needs."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            found = super().frombuf(buf, encoding, errors)
        except _DAMAGED_HEADER as error:
            raise tarfile.ReadError(f"a header is damaged: {error}") from None
        if found.size < 0:
            raise tarfile.ReadError(f"the member {found.name!r} has a negative size")
        if found.type in _BEFORE_A_MEMBER and found.size > LARGEST_HEADER:
            raise tarfile.ReadError(
                f"a name or attribute has {found.size:,} bytes, at most {LARGEST_HEADER:,}"
            )
        if found.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError(f"the member {found.name!r} is sparse")
        return found


def open_tar(file: IO[bytes] | BufferedIOBase, mode: Literal["r:", "r|"]) -> TarFile:
    """Open an archive whose headers are checked; its errors are among `TAR_DAMAGE`.

    Args:
        file: the file to read.
        mode: "r:" where the file can be read in any order, "r|" where it is a stream.
    """
    return tarfile.open(fileobj=cast(IO[bytes], file), mode=mode, tarinfo=_CheckedHeader)
