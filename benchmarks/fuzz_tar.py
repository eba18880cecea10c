"""How the fuzzer changes a `.tar`: headers changed, with correct checksums, or inserted."""

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from random import Random

from fuzz_mutations import NUMBERS

__all__ = ["broken_tar", "tar_of"]


def tar_of(folder: Path, extra: Mapping[str, bytes] | None = None) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            member = tarfile.TarInfo(f"{folder.name}/{path.relative_to(folder)}")
            member.size = path.stat().st_size
            archive.addfile(member, io.BytesIO(path.read_bytes()))
    return stream.getvalue()


FIELDS = {"name": (0, 100), "mode": (100, 8), "size": (124, 12), "mtime": (136, 12), "type": (156, 1),
          "link": (157, 100), "magic": (257, 8), "prefix": (345, 155), "sparse": (386, 97)}  # fmt: skip
TYPES = b"0123456789LKxgXSDVN\0A\x7f"
PAX = (
    *("path=../../x", "path=/etc/x.png", "size=-512", "size=99999999999", "size=x", "path=", "linkpath=x"),
    *("GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.map=0,1,x", "GNU.sparse.map=0,64424509440"),
    *(
        "GNU.sparse.size=64424509440",
        "GNU.sparse.realsize=-1",
        "hdrcharset=BINARY",
        "mtime=nan",
        "mtime=1e999",
    ),
    *("GNU.sparse.numblocks=1000000000", "path=" + "d/" * 500, "path=\udcff"),
)


def broken_tar(draw: Random, content: bytes) -> bytes:
    """An archive with headers changed, with correct checksums; or with headers inserted."""
    broken = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 3))):
        starts = [at for at in range(0, len(broken), 512) if broken[at + 257 : at + 262] == b"ustar"]
        if not starts:
            break
        at = draw.choice((*starts, starts[-1]))
        if draw.random() < 0.3:
            broken[at:at] = _put_between(draw)
            continue
        start, n = FIELDS[draw.choice(tuple(FIELDS))]
        broken[at + start : at + start + n] = _field(draw, n)
        _seal(broken, at)
    return bytes(broken)


def _field(draw: Random, n: int) -> bytes:
    if n == 1:
        return bytes([draw.choice(TYPES)])
    how = draw.random()
    if how < 0.4:
        return f"{draw.choice(NUMBERS) % 8**11:o}".encode()[:n].ljust(n, b"\0")
    if how < 0.8:  # GNU's numbers in base 256, which may be negative
        sign = draw.choice((b"\x80", b"\xff"))
        number: int = draw.choice((*NUMBERS, -512, -1024, 6 << 30)) % 256 ** (n - 1)
        return sign + number.to_bytes(n - 1, "big")
    return draw.choice((draw.randbytes(n), b"../" * 60, b"/" * 200, b"-1", b"")).ljust(n, b"\0")[:n]


def _seal(archive: bytearray, at: int) -> None:
    archive[at + 148 : at + 156] = b" " * 8
    total = sum(archive[at : at + 512])
    archive[at + 148 : at + 156] = f"{total:06o}\0 ".encode()


def _put_between(draw: Random) -> bytes:
    """A new header: a pax one, or a long name, with its content."""
    kind = draw.choice((tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK))
    body = b""
    for record in draw.sample(PAX, draw.choice((1, 1, 2, 3))):
        text = record.encode("utf-8", "surrogateescape")
        length = len(text) + 3
        length += len(str(length))
        body += f"{length} ".encode() + text + b"\n"
    header = bytearray(512)
    header[:1], header[257:265] = b"p", b"ustar  \0"
    header[156:157] = kind
    size = draw.choice((len(body), len(body), len(body), 0, 3 << 30, -512))
    sign = b"\x80" if size >= 0 else b"\xff"
    header[124:136] = sign + (size % 256**11).to_bytes(11, "big")
    _seal(header, 0)
    return bytes(header) + body.ljust(-(-len(body) // 512) * 512, b"\0")
