"""What counts as an image, and what an archive may not hold."""

import io
import os
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from spuriscope.data import load
from spuriscope.data.tree import read_archive, read_folder
from spuriscope.errors import DataError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")


def image(kind: str = "PNG", level: int = 7) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (4, 4), level).save(stream, kind)
    return stream.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        (tmp_path / "mine" / name).mkdir(parents=True)
        for kind in FORMATS:
            (tmp_path / "mine" / name / kind.lower()).write_bytes(image(kind))
            (tmp_path / "mine" / name / f"{kind.lower()}.jpg").write_bytes(image(kind))
    return tmp_path / "mine"


def pack(folder: Path, **more: bytes) -> Path:
    archive = folder.parent / "mine.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(folder, "mine")
        for name, content in more.items():
            member = tarfile.TarInfo(f"mine/a/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return archive


def test_the_content_decides_not_the_name(folder: Path) -> None:
    for name in ("notes.txt", "labels.csv", "README", "model.npz", "BM"):
        (folder / "a" / name).write_text("BMI,height\nRIFF\n")
    for source in (folder, pack(folder)):
        data = load(source)
        assert data.train.images.unique().tolist() == [7]
        assert len(data.train) + len(data.test) == 4 * len(FORMATS)
        assert str(data.origin).endswith("; 5 other files passed over")
        assert data.train.names is not None
        assert "a/webp" in {*data.train.names, *(data.test.names or ())}


def test_pictures_of_formats_that_are_not_read_are_refused_not_passed_over(folder: Path) -> None:
    (folder / "b" / "x.heic").write_bytes(b"\0\0\0\x18ftypheic")
    for source in (folder, pack(folder)):
        with pytest.raises(DataError, match=r"b/x\.heic.* cannot be read as an image"):
            load(source)


def test_two_images_of_one_name_in_an_archive(folder: Path) -> None:
    with pytest.raises(
        DataError, match=r"mine\.tar holds two images named mine/a/png; pack each of them once"
    ):
        load(pack(folder, png=image()))


def test_what_leads_out_of_an_archive_is_refused(folder: Path) -> None:
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
        with tarfile.open(folder.parent / "evil.tar", "w") as tar:
            member = tarfile.TarInfo("mine/a/x.png")
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member)
        with pytest.raises(DataError, match=r"holds the suspicious member 'mine/a/x\.png', a link"):
            load(folder.parent / "evil.tar")
    with tarfile.open(folder.parent / "evil.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("/a/x.png"))
    with pytest.raises(DataError, match="holds the suspicious member"):
        load(folder.parent / "evil.tar")


def test_an_archive_that_was_cut_or_claims_more_than_it_has(folder: Path) -> None:
    archive = pack(folder)
    os.truncate(archive, archive.stat().st_size // 2)
    with pytest.raises(DataError, match=r"mine\.tar"):
        load(archive)
    with tarfile.open(archive, "w") as tar:
        member = tarfile.TarInfo("mine/a/x.png")
        member.size = 10**9
        tar.addfile(member, None)
    with pytest.raises(DataError, match=r"mine\.tar (ends before its member|cannot be read as a \.tar)"):
        load(archive)


def test_folders_in_folders_come_to_an_end(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "loop").symlink_to(tmp_path, target_is_directory=True)
    found = read_folder(tmp_path)
    assert sum(1 for _ in found.everything()) < 20
    deep = tmp_path / "deep.tar"
    with tarfile.open(deep, "w") as tar:
        tar.addfile(tarfile.TarInfo("/".join("abcdefghijk")))
    with pytest.raises(DataError, match="more than 6 folders in each other; pack one data set"):
        read_archive(deep)


def test_an_image_file_that_is_far_too_large_is_not_read(folder: Path) -> None:
    with (folder / "a" / "large.png").open("wb") as file:
        file.truncate(1 << 30)  # takes no room on the disk
    with pytest.raises(DataError, match=r"large\.png has 1,074 MB, which no image has; remove it"):
        load(folder)


def test_names_that_are_no_text_can_be_written_down(tmp_path: Path) -> None:
    """As of an archive of another system: their bytes are shown, and the files are found still."""
    folder = os.path.join(os.fsencode(tmp_path), b"caf\xe9")
    os.mkdir(folder)
    path = Path(os.fsdecode(os.path.join(folder, b"\xff.png")))
    path.write_bytes(b"picture")
    (below,) = read_folder(tmp_path).folders.items()
    assert below[0] == r"caf\xe9"
    (photo,) = below[1].images
    assert photo.name == r"caf\xe9/\xff.png"
    assert photo.content() == b"picture"
