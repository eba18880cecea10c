"""The store: killed, full, damaged, old, or wanted by two. Studies run as users run them, as processes."""

import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock

from spuriscope.cli import main
from spuriscope.data import ImageSet, Split
from spuriscope.errors import CheckpointError, StoreError
from spuriscope.studies import Grid, Store, Study
from spuriscope.studies.checksums import CELL
from spuriscope.studies.store_file import MIGRATIONS
from spuriscope.training import TrainedModel, load_model, train_cell

STUDY = """
models: [{model}]
patterns: [s3, r3]
targets: [0, 1]
counts: [0, 3]
n_seeds: {n_seeds}
epochs: {epochs}
"""
HERE = {"python": "3"}

Run = Callable[..., tuple[int, str, str]]  # of a folder and options: exit code, output and errors


def write_study(
    folder: Path, model: str = "small-mlp", n_seeds: int = 4, epochs: int = 1, name: str = "tiny"
) -> None:
    (folder / f"{name}.yaml").write_text(STUDY.format(model=model, n_seeds=n_seeds, epochs=epochs))


def start(folder: Path, *options: str, name: str = "tiny", **settings: Any) -> "subprocess.Popen[str]":
    """`spuriscope study run`, on digits."""
    program = str(Path(sys.executable).with_name("spuriscope"))
    command = [program, "study", "run", f"{name}.yaml", "--device", "cpu", *options]
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **settings
    )


def run(folder: Path, *options: str, **settings: Any) -> tuple[int, str, str]:
    """Exit code, output and errors of a process."""
    process = start(folder, *options, **settings)
    out, errors = process.communicate(timeout=240)
    return process.returncode, out, without_progress(errors)


def without_progress(errors: str) -> str:
    """What was said but for the progress that a busy machine has time to tell."""
    return "".join(line for line in errors.splitlines(keepends=True) if not line.startswith("training: "))


@pytest.fixture
def run_here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`run` without a process of its own, for what does not hang on one: that takes seconds to start."""

    def run_in_this_process(folder: Path, *options: str) -> tuple[int, str, str]:
        monkeypatch.chdir(folder)
        line = ["spuriscope", "study", "run", "tiny.yaml", "--device", "cpu", "--workers", "1", *options]
        monkeypatch.setattr(sys, "argv", line)
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capsys.readouterr()
        return int(ended.value.code or 0), shown.out, without_progress(shown.err)

    return run_in_this_process


def table(store: Path, study: str = "tiny") -> list[dict[str, Any]]:
    with Store(store, writes=False) as opened:
        return opened.rows(study)


def contents(store: Path) -> list[tuple[Any, ...]]:
    """Every finished cell, with what differs from one training of it to the next."""
    if not (store / "store.sqlite").is_file():
        return []
    connection = sqlite3.connect(store / "store.sqlite")
    try:
        return connection.execute("SELECT hash, n_seconds, losses FROM cells").fetchall()
    except sqlite3.OperationalError:  # killed before the schema was written
        return []
    finally:
        connection.close()


def assert_whole(store: Path) -> None:
    """No leftovers, nothing lost, nothing half-written."""
    connection = sqlite3.connect(store / "store.sqlite")
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()
    hashes = {row[0] for row in contents(store)}
    assert {path.name for path in (store / "checkpoints").iterdir()} == {f"{h}.safetensors" for h in hashes}
    for path in (store / "checkpoints").iterdir():
        assert load_model(path).cell.hash == path.stem


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The table of a study that nobody disturbs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    write_study(folder)
    assert run(folder)[0] == 0
    assert_whole(folder / "store")
    return table(folder / "store")


# --- killed -------------------------------------------------------------------------------------


def test_killed_again_and_again_it_loses_doubles_and_halves_nothing(
    undisturbed: list[dict[str, Any]], tmp_path: Path
) -> None:
    """kill -9 while it starts, trains, writes checkpoints and commits; what was finished is never redone."""
    write_study(tmp_path)
    store, chance = tmp_path / "store", random.Random(0)
    done: set[tuple[Any, ...]] = set()
    n_kills = 0
    for attempt in range(40):
        process = start(tmp_path, "--workers", "1" if attempt % 2 else "2")
        before = len(done)
        if attempt:  # the first is killed while it starts, the others once they are at work
            while process.poll() is None and len(list((store / "checkpoints").glob("*"))) <= before:
                time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.03 if attempt else 3))
        process.kill()
        process.communicate()
        n_kills += process.returncode == -signal.SIGKILL
        now = set(contents(store))
        assert done <= now
        done = now
        if process.returncode == 0 or n_kills == 5:
            break
    assert n_kills >= 5
    code, out, errors = run(tmp_path)
    assert (code, errors) == (0, "")
    assert f"20 cells, {20 - len(done)} trained, {len(done)} done before, 0 failed" in out
    assert done <= set(contents(store))
    assert_whole(store)
    assert table(store) == undisturbed


def test_what_a_killed_process_left_is_cleared_away(tmp_path: Path) -> None:
    with Store(tmp_path / "store") as store:
        store.query("INSERT INTO begun VALUES ('0123456789abcdef')")
        (store.checkpoints / ".0123456789abcdef.safetensors.123.partial").touch()
        (store.checkpoints / "0123456789abcdef.safetensors").touch()  # saved, then killed before the commit
    with Store(tmp_path / "store", writes=False) as store:
        assert len(list(store.checkpoints.iterdir())) == 2  # one who only looks leaves them
    with Store(tmp_path / "store") as store:
        assert list(store.checkpoints.iterdir()) == []


# --- a user's files -----------------------------------------------------------------------------


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    "name",
    [
        "checkpoints/epoch1.pt",
        "checkpoints/mine.safetensors",
        "checkpoints/0123456789abcdef.safetensors",
        "thesis.tex",
        "store.lock",
    ],
)
def test_a_folder_of_the_users_is_refused_and_left_alone(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_study(tmp_path, n_seeds=1)
    path = tmp_path / "project" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine")
    before = files_of(tmp_path / "project")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["spuriscope", "study", "run", "tiny.yaml", "--store", "project"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    told = (
        f"spuriscope: project holds other files ({name}) and no store; give an empty or a new folder with "
        "--store\n"
    )
    assert capsys.readouterr() == ("", told)
    with pytest.raises(StoreError, match="holds no store"):
        Store(tmp_path / "project", writes=False)
    assert files_of(tmp_path / "project") == before


@pytest.mark.parametrize("writes", [True, False])
def test_the_database_of_another_program_is_refused_and_left_alone(writes: bool, tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "store.sqlite")
    connection.execute("CREATE TABLE customers (name TEXT)")
    connection.close()
    before = files_of(tmp_path)
    with pytest.raises(StoreError, match=r"store\.sqlite is not a store, but another program's"):
        Store(tmp_path, writes=writes)
    assert files_of(tmp_path) == before


@pytest.mark.parametrize(
    "script",
    [
        "CREATE TABLE cells (name TEXT); CREATE TABLE measures (x INT);",
        "PRAGMA user_version = 1; CREATE TABLE cells (name TEXT); CREATE TABLE measures (x INT);",
        "PRAGMA application_id = 7;",
        "",
    ],
    ids=["same names", "same version", "another mark", "empty"],
)
@pytest.mark.parametrize("writes", [True, False])
def test_what_is_no_store_of_ours_is_left_alone(writes: bool, script: str, tmp_path: Path) -> None:
    """Tables of the same names are not enough, nor is an empty file among others."""
    connection = sqlite3.connect(tmp_path / "store.sqlite")
    connection.executescript(script)
    connection.close()
    (tmp_path / "store.sqlite").touch()
    (tmp_path / "thesis.tex").write_text("mine")
    before = files_of(tmp_path)
    with pytest.raises(
        StoreError, match=r"is not a store, but|holds no store|holds other files \(thesis\.tex\)"
    ):
        Store(tmp_path, writes=writes)
    assert files_of(tmp_path) == before


def test_a_store_deletes_only_what_it_has_made(
    study: Study, models: list[TrainedModel], tmp_path: Path
) -> None:
    """Files that came into a store later stay, whatever they are called; its own are cleared away."""
    cell = models[0].cell
    with Store(tmp_path) as store:
        pass
    mine = [
        "epoch1.pt",
        "mine.safetensors",
        f".{cell.hash}.safetensors.1.partial",
        f"{cell.hash}.safetensors",
    ]
    for name in mine:
        (tmp_path / "checkpoints" / name).write_text("mine")
    with Store(tmp_path) as store:
        assert all((store.checkpoints / name).read_text() == "mine" for name in mine)
        with pytest.raises(StoreError, match=r"safetensors was not written by this store; move it away"):
            store.finish(models[0], [], HERE)
        assert (store.checkpoint_path(cell)).read_text() == "mine"


def test_a_checkpoint_of_another_cell_is_not_believed(
    study: Study, models: list[TrainedModel], tmp_path: Path
) -> None:
    with Store(tmp_path) as store:
        for model, entry in zip(models, study.entries, strict=True):
            store.finish(model, [(entry, {"score_all": 0.5})], HERE)
        first, second = (store.checkpoint_path(model.cell) for model in models)
        content = first.read_bytes()
        first.write_bytes(second.read_bytes())
        second.write_bytes(content)
        for model in models:
            with pytest.raises(CheckpointError, match="belongs to cell .*, not .* move it away"):
                store.load(model.cell)
            with pytest.raises(CheckpointError, match="belongs to cell .*, not .* move it away"):
                store.load_hash(model.cell.hash)


def test_a_cell_of_another_number_of_classes_is_missing(
    study: Study, models: list[TrainedModel], tmp_path: Path
) -> None:
    """Older versions gave it the hash of one that a store may hold."""
    with Store(tmp_path) as store:
        for model, entry in zip(models, study.entries, strict=True):
            store.finish(model, [(entry, {"score_all": 0.5})], HERE)
        assert store.missing(study) == []
        store.query("UPDATE cells SET content = json_set(content, '$.data.class_names', json('[1, 2, 3]'))")
        assert store.missing(study) == study.cells()
        store.finish(models[0], [], HERE)
        assert store.missing(study) == study.cells()[1:]


# --- two processes ------------------------------------------------------------------------------


def test_a_second_process_is_told_to_wait(run_here: Run, tmp_path: Path) -> None:
    write_study(tmp_path, n_seeds=1, epochs=100_000)
    first = start(tmp_path, "--workers", "1")
    try:
        while not contents_has_study(tmp_path / "store"):
            assert first.poll() is None
            time.sleep(0.02)
        code, out, errors = run_here(tmp_path)
        assert (code, out) == (2, "")
        assert errors == (
            "spuriscope: another process is writing to store; wait until it has ended, "
            "or give another --store\n"
        )
        with Store(tmp_path / "store", writes=False) as looking:  # any number may look
            assert [row["name"] for row in looking.studies()] == ["tiny"]
    finally:
        first.kill()
        first.communicate()
    with Store(tmp_path / "store"):  # free again, though the first was killed
        pass


def contents_has_study(store: Path) -> bool:
    try:
        with Store(store, writes=False) as looking:
            return bool(looking.studies())
    except StoreError:
        return False


def test_in_one_process_too_only_one_may_write(tmp_path: Path) -> None:
    with Store(tmp_path):
        with pytest.raises(StoreError, match=r"another process is writing to .*; wait until it has ended"):
            Store(tmp_path)
        with Store(tmp_path, writes=False) as looking:
            assert looking.studies() == []


# --- a full disk --------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Makes a disk of a given size."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")

    def make(size: str) -> Path:
        done = subprocess.run(
            [mount or "mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)],
            capture_output=True, check=False,
        )  # fmt: skip
        if done.returncode:
            pytest.skip("a small disk can only be mounted by root")
        return place

    if mount is None:
        pytest.skip("there is no mount here")
    yield make
    subprocess.run(["umount", str(place)], capture_output=True, check=False)


@pytest.mark.parametrize("options", [(), ("--no-checkpoints",)], ids=["checkpoints", "rows only"])
def test_a_full_disk_is_told_and_the_study_goes_on_when_there_is_room(
    options: tuple[str, ...],
    small_disk: Callable[[str], Path],
    undisturbed: list[dict[str, Any]],
    run_here: Run,
    tmp_path: Path,
) -> None:
    """The disk fills up while checkpoints are written, or, without them, while rows are."""
    disk = small_disk("6m")
    write_study(tmp_path)
    store = disk / "store"
    with Store(store):
        pass
    filler = disk / "filler"
    n_free = shutil.disk_usage(disk).free
    filler.write_bytes(bytes(n_free - (80_000 if options else 3_000_000)))
    code, out, errors = run_here(tmp_path, "--store", str(store), *options)
    assert (code, out) == (2, "")
    assert errors.startswith(f"spuriscope: cannot write in {store} (")
    assert errors.endswith("); make room there and go on, nothing is lost\n")
    assert errors.count("\n") == 1
    n_done = len(contents(store))
    assert n_done < 20
    filler.unlink()
    if not options:
        assert n_done > 0
        assert_whole(store)
        subprocess.run(["mount", "-o", "remount,size=32m", str(disk)], check=True)
    code, out, errors = run_here(tmp_path, "--store", str(store), *options)
    assert (code, errors) == (0, "")
    assert f"20 cells, {20 - n_done} trained, {n_done} done before, 0 failed" in out
    assert table(store) == undisturbed
    if not options:
        assert_whole(store)


def test_a_checkpoint_that_outgrows_a_limit_is_told(tmp_path: Path) -> None:
    """As `ulimit -f`, which needs no root: files of at most 100 kB, where a checkpoint has 800."""
    write_study(tmp_path, model="small-mlp", n_seeds=1)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    code, out, errors = run(tmp_path, "--workers", "1", preexec_fn=limit)
    assert (code, out) == (2, "")
    assert errors == (
        "spuriscope: cannot write in store (File too large); make room there and go on, nothing is lost\n"
    )
    assert_whole(tmp_path / "store")
    assert contents(tmp_path / "store") == []


# --- schema -------------------------------------------------------------------------------------


def make_old_store(folder: Path) -> None:
    """A store of the first version, by hand."""
    folder.mkdir()
    connection = sqlite3.connect(folder / "store.sqlite")
    connection.executescript(MIGRATIONS[0] + "PRAGMA user_version = 1;")
    connection.execute("INSERT INTO cells VALUES ('00ff', '{}', NULL, 1.5, '[0.5, 0.25]', '2026-01-01')")
    connection.execute("INSERT INTO cells VALUES ('11ff', '{}', 'diverged', NULL, NULL, '2026-01-02')")
    connection.execute("INSERT INTO measures VALUES ('00ff', 'abc', 0, 'score_all', 0.125)")
    connection.commit()
    connection.close()


@pytest.mark.parametrize("writes", [True, False])
def test_an_old_store_is_brought_up_to_date(writes: bool, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    make_old_store(folder)
    for _ in range(2):
        with Store(folder, writes=writes) as store:
            assert store.query("PRAGMA user_version") == [{"user_version": len(MIGRATIONS)}]
            assert store.query(f"SELECT {CELL} FROM cells ORDER BY hash") == [
                {"hash": "00ff", "content": "{}", "error": None, "n_seconds": 1.5, "losses": "[0.5, 0.25]",
                 "finished": "2026-01-01", "environment": None},
                {"hash": "11ff", "content": "{}", "error": "diverged", "n_seconds": None, "losses": None,
                 "finished": "2026-01-02", "environment": None},
            ]  # fmt: skip
            assert [row["value"] for row in store.query("SELECT * FROM measures")] == [0.125]
            assert store.studies() == []


def test_an_old_store_has_the_schema_of_a_new_one(tmp_path: Path) -> None:
    make_old_store(tmp_path / "old")
    with Store(tmp_path / "old") as old, Store(tmp_path / "new") as new:
        for table_name in ("cells", "measures", "studies", "entries"):
            columns = f"PRAGMA table_info({table_name})"
            assert old.query(columns) == new.query(columns) != []


def test_an_old_store_waits_for_one_who_writes(tmp_path: Path) -> None:
    """One who only looks may have to bring it up to date, but never beside one who writes."""
    make_old_store(tmp_path / "store")
    with FileLock(tmp_path / "store" / "store.lock"), pytest.raises(StoreError, match="another process"):
        Store(tmp_path / "store", writes=False)
    with Store(tmp_path / "store", writes=False) as store:
        assert store.query("PRAGMA user_version") == [{"user_version": len(MIGRATIONS)}]


def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    make_old_store(tmp_path / "store")
    connection = sqlite3.connect(tmp_path / "store" / "store.sqlite")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = (tmp_path / "store" / "store.sqlite").read_bytes()
    for writes in (True, False):
        with pytest.raises(StoreError, match=r"made by a newer spuriscope \(schema 99, this one knows"):
            Store(tmp_path / "store", writes=writes)
    with pytest.raises(StoreError, match="newer"):  # and the lock was let go
        Store(tmp_path / "store")
    after = (tmp_path / "store" / "store.sqlite").read_bytes()
    assert before[100:] == after[100:]  # the header says WAL now, the rest is as it was


# --- damaged ------------------------------------------------------------------------------------


def test_a_damaged_file_is_refused_in_one_line(run_here: Run, tmp_path: Path) -> None:
    write_study(tmp_path, n_seeds=1)
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "store.sqlite").write_bytes(b"not a database at all" * 100)
    code, out, errors = run_here(tmp_path)
    assert (code, out) == (2, "")
    assert errors == (
        "spuriscope: the store in store cannot be used (file is not a database); is it a store, and whole?\n"
    )


def test_overwritten_pages_are_refused(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.connection.execute(
            "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 2000) "
            "INSERT INTO cells SELECT printf('%016x', n), '{}', NULL, 1, '[]', 'now', '{}', '' FROM numbers"
        )
    path = tmp_path / "store.sqlite"
    content = bytearray(path.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)  # all but the first page
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"cannot be used \(.*malformed"), Store(tmp_path) as store:
        store.query("SELECT * FROM cells")


@pytest.mark.parametrize("writes", [True, False])
def test_a_folder_that_cannot_be_one_is_refused(writes: bool, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="holds no store|Not a directory"):
        Store(tmp_path / "file", writes=writes)
    if not writes:
        with pytest.raises(StoreError, match="holds no store; `spuriscope study run"):
            Store(tmp_path / "missing", writes=False)
        assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE measures SET value = value + 1e-9 WHERE name = 'score_all'",
        "UPDATE measures SET target = 1",
        "DELETE FROM measures WHERE name = 'score_all'",
        "UPDATE cells SET n_seconds = 7",
        "UPDATE cells SET content = replace(content, 'twenty', 'thirty')",
        "UPDATE cells SET checksum = NULL",
        "UPDATE entries SET labels = json_set(labels, '$.n_planted', 9)",
        "UPDATE entries SET labels = '{'",
        "UPDATE studies SET title = 'other'",
        "DELETE FROM entries WHERE position = 1",
    ],
)
def test_a_row_that_was_changed_is_not_believed(
    change: str, study: Study, models: list[TrainedModel], tmp_path: Path
) -> None:
    with Store(tmp_path) as store:
        store.add_study(study)
        for model, entry in zip(models, study.entries, strict=True):
            store.finish(model, [(entry, {"score_all": 0.5, "other": 1.0})], HERE)
        store.add_measures([(study.entries[0], {"later": 2.0})])
        assert len(store.rows("x")) == 5
        assert store.missing(study) == []
        store.query(change)
        with pytest.raises(StoreError, match="was changed in its store: its checksum differs"):
            store.rows("x")
        if "entries" in change or "studies" in change:
            store.add_study(study)  # as the next run does
            assert len(store.rows("x")) == 5
        else:
            with pytest.raises(StoreError, match="was changed in its store"):
                store.missing(study)


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Callable[[], Path]]:
    """Makes a folder on a disk of its own that cannot be written to any more."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a disk can only be mounted by root")

    def close() -> Path:
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        return place

    yield close
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("kind", ["merged", "journal", "old"])
def test_a_store_that_cannot_be_written_to_is_looked_at(
    kind: str, read_only: Callable[[], Path], study: Study, models: list[TrainedModel], tmp_path: Path
) -> None:
    place, made = tmp_path / "disk" / "store", tmp_path / "made"
    with Store(made) as store:
        store.add_study(study)
        store.finish(models[0], [(study.entries[0], {"score_all": 0.5})], HERE, keep_checkpoint=False)
        if kind == "journal":  # as of a killed process: what it wrote last is not in the file itself
            shutil.copytree(made, place)
            (place / "store.sqlite-shm").unlink()
    if kind != "journal":
        shutil.copytree(made, place)
    if kind == "old":
        connection = sqlite3.connect(place / "store.sqlite")
        connection.executescript(
            "ALTER TABLE cells DROP COLUMN checksum; ALTER TABLE studies DROP COLUMN checksum; "
            "PRAGMA user_version = 3; PRAGMA journal_mode = DELETE;"
        )
        connection.close()
    read_only()
    before = files_of(place)
    with Store(place, writes=False) as store:
        assert [row["value"] for row in store.rows("x")] == [0.5]
    assert files_of(place) == before
    with pytest.raises(StoreError, match="cannot write in .*Read-only file system"):
        Store(place)


# --- rows ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data() -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (20, 1, 28, 28), dtype=torch.uint8, generator=generator)
    labels = torch.arange(20) % 2
    return ImageSet("twenty", Split(images, labels), Split(images, labels), ("even", "odd"))


@pytest.fixture(scope="module")
def study(data: ImageSet) -> Study:
    return Grid(name="x", models=("small-mlp",), patterns=("s3",), counts=(2,), n_seeds=1, epochs=1).expand(
        data
    )


@pytest.fixture(scope="module")
def models(study: Study, data: ImageSet) -> list[TrainedModel]:
    return [train_cell(cell, data) for cell in study.cells()]


def test_a_row_comes_back_as_it_was_put_in(study: Study, models: list[TrainedModel], tmp_path: Path) -> None:
    clean, planted = study.entries
    with Store(tmp_path) as store:
        store.add_study(study)
        store.finish(models[0], [(clean, {"score_all": 0.1 + 0.2})], HERE)
        store.finish(models[1], [(planted, {"score_all": 1e-300})], HERE, keep_checkpoint=False)
    with Store(tmp_path, writes=False) as store:
        assert [(row["cell"], row["n_planted"], row["measure"], row["value"]) for row in store.rows("x")] == [
            (clean.cell.hash, 0, "score_all", 0.1 + 0.2),
            (planted.cell.hash, 2, "score_all", 1e-300),
        ]
        loaded = store.load(clean.cell)
        assert loaded is not None
        assert loaded.cell == clean.cell
        assert store.load(planted.cell) is None
        (row,) = store.studies()
        assert (row["n_cells"], row["n_done"], row["n_failed"]) == (2, 2, 0)
        assert row["mean_seconds"] == pytest.approx(sum(model.n_seconds for model in models) / 2)
        with pytest.raises(StoreError, match="has no study 'y'; it has x"):
            store.rows("y")


def test_a_cell_is_written_whole_or_not_at_all(
    study: Study, models: list[TrainedModel], tmp_path: Path
) -> None:
    entry = study.entries[0]
    with Store(tmp_path) as store:
        with pytest.raises(StoreError, match="NOT NULL"):  # the second measure has no value
            store.finish(models[0], [(entry, {"a": 1.0, "b": None})], HERE)  # type: ignore[dict-item]
        assert store.query("SELECT * FROM cells") == []
        assert store.query("SELECT * FROM measures") == []
        store.finish(models[0], [(entry, {"a": 1.0})], HERE)
        assert len(store.query("SELECT * FROM measures")) == 1


def test_one_name_stands_for_the_latest_study(study: Study, tmp_path: Path) -> None:
    smaller = Study("x", "less", "dose", study.entries[:1])
    with Store(tmp_path) as store:
        store.add_study(study)
        store.add_study(smaller)
        assert [(row["title"], row["n_cells"]) for row in store.studies()] == [("less", 1)]
