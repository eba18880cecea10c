"""Fetching, from a server on this machine: nothing here needs the network."""

import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from spuriscope.data.fetch import data_root, fetch, locate, obtain
from spuriscope.data.published import PUBLISHED, Published, PublishedFile
from spuriscope.errors import DataError

CONTENT = bytes(k * k % 251 for k in range(300_000))


@dataclass
class Server:
    """What the server holds, how it behaves, and what it was asked for."""

    url: str = ""
    content: bytes = CONTENT
    knows_ranges: bool = True
    breaks_off_after: int | None = None
    redirects: bool = False
    ranges: list[str | None] = field(default_factory=list)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if state.redirects and not self.path.startswith("/moved"):
                self.send_response(302)
                self.send_header("Location", f"/moved{self.path}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            wanted = self.headers.get("Range")
            state.ranges.append(wanted)
            start = (
                int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and state.knows_ranges else 0
            )
            if not self.path.endswith("data.gz") or start >= len(state.content):
                self.send_error(404 if not self.path.endswith("data.gz") else 416)
                return
            body = state.content[start:]
            self.send_response(206 if wanted and state.knows_ranges else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: state.breaks_off_after])

        def log_message(self, format: str, *args: object) -> None:
            pass

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        state.url = f"http://127.0.0.1:{http.server_address[1]}/data.gz"
        yield state
        http.shutdown()
        thread.join()


def file_at(url: str, content: bytes = CONTENT) -> PublishedFile:
    md5 = hashlib.md5(content).hexdigest()
    return PublishedFile(name="data.gz", url=url, md5=md5, content_md5=None, other_forms=("data",))


def test_a_file_is_fetched_with_a_progress_bar(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = fetch(file_at(server.url), tmp_path / "new")
    assert path == tmp_path / "new" / "data.gz"
    assert path.read_bytes() == CONTENT
    assert os.listdir(tmp_path / "new") == ["data.gz"]
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "100%" in printed.err


@pytest.mark.parametrize("redirects", [False, True])
def test_a_transfer_that_broke_off_goes_on_where_it_stopped(
    server: Server, tmp_path: Path, redirects: bool
) -> None:
    server.redirects = redirects
    server.breaks_off_after = 200_000
    message = r"cannot fetch http://127.*ChunkedEncodingError.*; \d+ bytes are kept, run again to go on"
    with pytest.raises(DataError, match=message):
        fetch(file_at(server.url), tmp_path)
    kept = (tmp_path / "data.gz.part").read_bytes()
    assert len(kept) > 0
    assert CONTENT.startswith(kept)
    assert os.listdir(tmp_path) == ["data.gz.part"]

    server.breaks_off_after = None
    assert fetch(file_at(server.url), tmp_path).read_bytes() == CONTENT
    assert server.ranges[-1] == f"bytes={len(kept) - 1}-"
    assert os.listdir(tmp_path) == ["data.gz"]


def test_a_partial_file_that_was_complete_is_accepted(server: Server, tmp_path: Path) -> None:
    (tmp_path / "data.gz.part").write_bytes(CONTENT)
    assert fetch(file_at(server.url), tmp_path).read_bytes() == CONTENT


def test_a_server_without_ranges_sends_the_whole_file(server: Server, tmp_path: Path) -> None:
    server.knows_ranges = False
    (tmp_path / "data.gz.part").write_bytes(CONTENT[:1000])
    assert fetch(file_at(server.url), tmp_path).read_bytes() == CONTENT


def test_a_partial_file_that_is_too_long_is_dropped(server: Server, tmp_path: Path) -> None:
    (tmp_path / "data.gz.part").write_bytes(CONTENT + b"more")
    with pytest.raises(DataError, match="the server answered 416"):
        fetch(file_at(server.url), tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("partial", [b"", b"another file"])
def test_a_wrong_checksum_leaves_nothing(server: Server, tmp_path: Path, partial: bytes) -> None:
    (tmp_path / "data.gz.part").write_bytes(partial)
    server.content = CONTENT[:-1] + b"?"
    message = r"data\.gz had another checksum than the published md5 [0-9a-f]{32}, and was removed; run"
    with pytest.raises(DataError, match=message):
        fetch(file_at(server.url), tmp_path)
    assert os.listdir(tmp_path) == []


def test_an_address_that_is_gone_is_named(server: Server, tmp_path: Path) -> None:
    file = file_at(server.url.replace("data.gz", "gone.gz"))
    with pytest.raises(DataError, match=r"cannot fetch http.*gone\.gz \(the server answered 404\)"):
        fetch(file, tmp_path / "new")
    assert os.listdir(tmp_path) == []


def test_without_a_connection_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/data.gz"  # bound, but nobody listens
        message = rf"\(ConnectionError\); data\.gz is not in {tmp_path}/new; .*--root or .*SPURISCOPE_DATA"
        with pytest.raises(DataError, match=message) as caught:
            fetch(file_at(url), tmp_path / "new")
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == []
    assert capsys.readouterr().err == ""


def test_a_folder_that_cannot_be_made_is_an_error(server: Server, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(DataError, match=r"cannot fetch .*(File exists|Not a directory)"):
        fetch(file_at(server.url), tmp_path / "taken")


def small(*urls: str) -> Published:
    files = tuple(replace(file_at(url), name=f"{k}.gz", other_forms=(f"{k}",)) for k, url in enumerate(urls))
    return replace(PUBLISHED["mnist"], name="small", folders=("small", "little"), files=files)


@pytest.mark.parametrize("where", ["small", "little", "."])
@pytest.mark.parametrize("names", [("0", "1"), ("0.gz", "1.gz"), ("0", "1.gz")])
def test_files_are_found_under_a_root(tmp_path: Path, where: str, names: tuple[str, str]) -> None:
    (tmp_path / where).mkdir(exist_ok=True)
    for name in names:
        (tmp_path / where / name).write_bytes(b"")
    expected = [tmp_path / where / name for name in names]
    assert locate(small("x", "y"), tmp_path) == (tmp_path / where, expected)
    assert obtain(small("x", "y"), tmp_path, download=False) == expected


def test_only_missing_files_are_fetched_beside_the_others(server: Server, tmp_path: Path) -> None:
    (tmp_path / "little").mkdir()
    (tmp_path / "little" / "0").write_bytes(b"mine")
    paths = obtain(small("http://127.0.0.1:1/never-asked", server.url), tmp_path, download=True)
    assert [path.read_bytes() for path in paths] == [b"mine", CONTENT]
    assert paths[1] == tmp_path / "little" / "1.gz"


def test_a_missing_file_is_named_where_fetching_is_not_wanted(tmp_path: Path) -> None:
    message = rf"small: 0\.gz is not in {tmp_path}/small; put it there, or name the folder .*--root"
    with pytest.raises(DataError, match=message):
        obtain(small("x", "y"), tmp_path, download=False)


def test_root_is_the_argument_then_the_environment_then_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    monkeypatch.setenv("SPURISCOPE_DATA", str(tmp_path / "two"))
    assert data_root(tmp_path / "one") == tmp_path / "one"
    assert data_root(None) == tmp_path / "two"
    monkeypatch.setenv("SPURISCOPE_DATA", str(tmp_path / "three"))
    with pytest.raises(
        DataError, match=r"three \(SPURISCOPE_DATA\) does not exist; make it, or give another"
    ):
        data_root(None)
    with pytest.raises(DataError, match=r"four \(--root\) does not exist"):
        data_root(tmp_path / "four")
    monkeypatch.setenv("SPURISCOPE_DATA", "")
    assert data_root(None).parts[-1] == "spuriscope"
