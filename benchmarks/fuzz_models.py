"""Kinds of input beside data that the fuzzer breaks: checkpoint, run, yaml, store and onnx."""

import contextlib
import hashlib
import json
import shutil
import sqlite3
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from fuzz import Kind
from fuzz_mutations import broken_bytes, broken_document, document_text, odd_value
from spuriscope.adapters import open_model
from spuriscope.data import ImageSet, load
from spuriscope.errors import ConfigError, DataError
from spuriscope.models import build_model
from spuriscope.patterns import pattern
from spuriscope.planting import Plant
from spuriscope.runs import Run, load_run, save_run
from spuriscope.studies import Grid, Store, read_grid
from spuriscope.studies.claims import check_store
from spuriscope.studies.figures import draw
from spuriscope.studies.results import images_of, read_results
from spuriscope.training import Cell, DataKey, Recipe, TrainedModel, load_model
from spuriscope.training.checkpoint import to_file, to_parts
from spuriscope.training.loop import initial_model
from spuriscope.training.part import Part

__all__ = ["KINDS", "MODEL", "STUDIES", "prepare_run", "prepare_store"]

SIDE, N_CLASSES = 8, 2
MODEL = "small-mlp"


def small_data(folder: Path) -> ImageSet:
    """A few images of two classes, in a file of the folder, which need not exist yet."""
    path, random = folder / "data.npz", np.random.RandomState(0)
    if not path.exists():
        arrays: dict[str, Any] = {}
        for part, n in (("train", 40), ("test", 8)):
            arrays[f"{part}_images"] = random.randint(0, 256, (n, SIDE, SIDE), dtype=np.uint8)
            arrays[f"{part}_labels"] = np.arange(n) % N_CLASSES
        np.savez(path, **arrays)
    return load(path)


def untrained(cell: Cell) -> TrainedModel:
    """The model of a cell with its initial weights."""
    return TrainedModel(cell, initial_model(cell).eval(), (0.5,), 1.0)


def small_cell(data: ImageSet, *, n_planted: int = 2, part: bool = False) -> Cell:
    """A cell of these data."""
    plant = Plant(pattern("s1", data.shape), 0, n_planted)
    return Cell(
        data=DataKey.of(data),
        plants=(plant,) if n_planted else (),
        part=Part.of(range(30)) if part else None,
        model=MODEL,
        recipe=Recipe(epochs=1),
    )


def content_of(model: TrainedModel) -> tuple[Any, ...]:
    """The content of a model, to compare it with another."""
    weights = {name: value.tolist() for name, value in model.module.state_dict().items()}
    digest = hashlib.sha256(json.dumps(weights).encode()).hexdigest()
    return model.cell.hash, model.cell.to_json(), digest, model.losses, model.n_seconds, model.deletions


# --- checkpoint and run --------------------------------------------------------------------------------


def _prepare_checkpoint(folder: Path) -> None:
    data = small_data(folder)
    untrained(small_cell(data, part=True)).save(folder / "model.safetensors")


def _make_checkpoint(draw: Random, good: Path, out: Path) -> bool:
    content = (good / "model.safetensors").read_bytes()
    how = draw.random()
    if how < 0.4:  # change the weights or anything else
        (out / "model.safetensors").write_bytes(broken_bytes(draw, content))
        return True
    if how < 0.5:
        n = int.from_bytes(content[:8], "little")
        header = broken_document(draw, json.loads(content[8 : 8 + n]))
        text = document_text(header).encode()
        content = len(text).to_bytes(8, "little") + text + content[8 + n :]
        (out / "model.safetensors").write_bytes(content)
        return False
    (out / "model.safetensors").write_bytes(_resealed(draw, content))
    return False


def _resealed(draw: Random, content: bytes) -> bytes:
    """A checkpoint with changed content and the checksum that belongs to it."""
    texts, tensors = to_parts(content, "good")
    texts.pop("spuriscope", None)
    key = draw.choice(("cell", "cell", "cell", "losses", "n_seconds", "deletions", "epsilon"))
    texts[key] = document_text(broken_document(draw, json.loads(texts[key])))
    name = draw.choice(sorted(tensors))
    how = draw.random()
    if how < 0.1:
        del tensors[name]
    elif how < 0.3:
        dtype = draw.choice((torch.int64, torch.float64, torch.bool, torch.uint8, torch.bfloat16))
        odd = draw.choice((torch.zeros(0), torch.tensor(1.0), torch.full((3,), torch.nan), torch.ones(2, 2)))
        tensors[draw.choice((name, "part", "pattern.0", "pattern.0.alpha"))] = odd.to(dtype)
    return to_file(texts, tensors)


def _read_checkpoint(folder: Path) -> object:
    return content_of(load_model(folder / "model.safetensors"))


def prepare_run(folder: Path) -> None:
    """Two runs, and their data."""
    data = small_data(folder)
    for name, n_planted in (("run", 2), ("other", 1)):
        cell = small_cell(data, n_planted=n_planted)
        run = Run(untrained(cell), untrained(cell.clean_twin), str(folder / "data.npz"), None)
        save_run(folder / name, run)


def _make_run(draw: Random, good: Path, out: Path) -> bool:
    shutil.copytree(good / "run", out / "run")
    about, how = out / "run" / "run.json", draw.random()
    names = ("model.safetensors", "clean-twin.safetensors", "run.json")
    if how < 0.2:
        path = out / "run" / draw.choice(names)
        path.write_bytes(broken_bytes(draw, path.read_bytes()))
        return True
    if how < 0.3:
        source = draw.choice((good / "other", out / "run"))
        content = (source / draw.choice(names)).read_bytes()
        (out / "run" / draw.choice(names)).write_bytes(content)
        return True
    if how < 0.33:
        (out / "run" / draw.choice(names)).unlink()
        return True
    document = json.loads(about.read_text(encoding="utf-8"))
    document.pop("checksum")
    document = broken_document(draw, document)
    if isinstance(document, dict) and draw.random() < 0.8:
        with contextlib.suppress(ValueError, TypeError):
            text = json.dumps(document, sort_keys=True).encode()
            document["checksum"] = hashlib.sha256(text).hexdigest()
    about.write_text(document_text(document), encoding="utf-8")
    return False


def _read_run(folder: Path) -> object:
    run = load_run(folder / "run")
    with contextlib.suppress(DataError):  # the source may have another name by now
        run.data()
    twin = None if run.twin is None else content_of(run.twin)
    return content_of(run.model), twin, run.source, run.root, run.reading


# --- yaml ----------------------------------------------------------------------------------------------

STUDIES: tuple[dict[str, Any], ...] = (
    {"models": [MODEL], "patterns": ["s1", "r3"], "targets": [0], "counts": [0, 1, 3], "n_seeds": 2},
    {"title": "a study", "figure": "dose", "epochs": 1, "recipes": [{"weight_decay": 0.01}, {}]},
    {"recipes": [{"privacy": {"noise_multiplier": 1.0, "max_grad_norm": 1.0}}, {"milestones": [1, 2]}]},
    {"halves": 6, "counts": [1], "n_seeds": 1, "recipes": [{"optimizer": "sgd", "batch_size": 8}]},
    {"name": "x", "deletions": ["repair"], "placement": "anywhere", "relabel": "all", "patterns": ["s1"]},
    {"patterns": ["disc"], "size": 3, "relabel": 1, "contexts": [], "weights": None},
)
ANCHORS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
)
TEXTS = (
    *(ANCHORS, ANCHORS + "patterns: *a8\n", "[" * 3000, "{a: " * 3000, "name: !!python/object:os.system x"),
    *("n_seeds: 2026-99-99", "name: 2026-01-01", "n_seeds: 1_000", "n_seeds: 0o17", "a: b: c", "\t", "\0"),
    *("? [a]\n: b", "{[a]: b}", "<<: *x", "- a", "name: " + "9" * 5000, "n_seeds: 1e400", "1: 2", "~: 3"),
    *(
        "n_seeds: " + "9" * 400,
        "patterns: &x [*x]",
        "recipes: [&r {milestones: [*r]}]",
        "name: ''",
        "%YAML 9",
    ),
    *("n_seeds: 1:30", "counts: !!set {1, 2}", "weights: 5", "halves: " + "1" + "0" * 30, "name: ../../x"),
)


def _prepare_yaml(folder: Path) -> None:
    small_data(folder)
    for number, study in enumerate(STUDIES):
        (folder / f"{number}.yaml").write_text(json.dumps(study), encoding="utf-8")


def _make_yaml(draw: Random, good: Path, out: Path) -> bool:
    shutil.copy(good / "data.npz", out)
    document: dict[str, Any] = {**draw.choice(STUDIES), **draw.choice(STUDIES)}
    how = draw.random()
    if how < 0.1:
        content = draw.choice(TEXTS).encode()
    elif how < 0.3:
        content = broken_bytes(draw, json.dumps(document, indent=1).encode())
    else:
        content = document_text(broken_document(draw, document)).encode()  # JSON is YAML
    (out / "study.yaml").write_bytes(content)
    return False


def _read_yaml(folder: Path) -> object:
    path = folder / "study.yaml"
    study = read_grid(path if path.exists() else folder / "0.yaml").expand(small_data(folder))
    return [entry.cell.hash for entry in study.entries]


# --- store ---------------------------------------------------------------------------------------------


def prepare_store(folder: Path) -> None:
    """A store with two studies, and their data."""
    data = small_data(folder)
    with Store(folder / "store") as store:
        for name in ("fig2-mnist", "mine"):
            grid = Grid(
                name=name,
                models=(MODEL,),
                patterns=("s1",),
                targets=(0, 1),
                counts=(0, 3),
                n_seeds=2,
                epochs=1,
            )
            study = grid.expand(data)
            store.add_study(study)
            for cell in dict.fromkeys(entry.cell for entry in study.entries):
                rows = [entry for entry in study.entries if entry.cell == cell]
                measures = {"score_all": 0.25, "clean_accuracy": 0.5, "normalised_score": 0.1}
                store.finish(untrained(cell), [(row, measures) for row in rows], {"device": "cpu"})


COLUMNS = {
    "cells": ("hash", "content", "error", "n_seconds", "losses", "finished", "environment"),
    "measures": ("cell", "pattern", "target", "name", "value"),
    "studies": ("name", "title", "figure"),
    "entries": ("study", "position", "cell", "pattern", "target", "labels"),
}


def _make_store(draw: Random, good: Path, out: Path) -> bool:
    shutil.copytree(good / "store", out / "store")
    shutil.copy(good / "data.npz", out)
    path, how = out / "store" / "store.sqlite", draw.random()
    if how < 0.4:
        path.write_bytes(broken_bytes(draw, path.read_bytes()))
        return False
    if how < 0.5:
        one, other = draw.sample(sorted((out / "store" / "checkpoints").iterdir()), 2)
        one.write_bytes(other.read_bytes() if draw.random() < 0.5 else broken_bytes(draw, one.read_bytes()))
        return True
    connection = sqlite3.connect(path)
    try:
        must_be_noticed = [_change_row(draw, connection) for _ in range(draw.choice((1, 1, 2)))]
        return all(must_be_noticed)
    finally:
        connection.commit()
        connection.close()


def _change_row(draw: Random, connection: sqlite3.Connection) -> bool:
    """Change a value of one row, or delete the row; returns whether that must be detected."""
    table = draw.choice(tuple(COLUMNS))
    column = draw.choice(COLUMNS[table])
    (n,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    if n == 0:
        return False
    row = connection.execute(f"SELECT * FROM {table} LIMIT 1 OFFSET {draw.randrange(n)}").fetchone()
    names = [found[1] for found in connection.execute(f"PRAGMA table_info({table})")]
    value = dict(zip(names, row, strict=True))[column]
    if isinstance(value, str) and value[:1] in "[{":
        odd: Any = document_text(broken_document(draw, json.loads(value)))
    else:
        odd = draw.choice((odd_value(draw), "x", -1, 0.75, None, 10**6))
    if odd is not None and not isinstance(odd, str | int | float):
        odd = json.dumps(odd)
    where = " AND ".join(f"{name} IS ?" for name in names)
    with contextlib.suppress(sqlite3.Error, OverflowError):  # its type, or its length, is refused by SQLite
        connection.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (odd, *row))
    return table in ("cells", "measures")


def _read_store(folder: Path) -> object:
    with Store(folder / "store", writes=False) as store:
        studies = store.studies()
        found: list[Any] = [studies]
        for row in studies:
            name = str(row["name"])
            found += [store.failures(name), store.rows(name), len(read_results(store, name))]
            with contextlib.suppress(DataError, ConfigError):  # it was trained on other data than these
                images_of(store, read_results(store, name))
        check_store(store)
        for path in sorted((folder / "store" / "checkpoints").iterdir()):
            model = store.load_hash(path.stem)
            found.append(None if model is None else content_of(model))
        if studies and int(hashlib.sha256(repr(found).encode()).hexdigest(), 16) % 20 == 0:
            draw(store, str(studies[-1]["name"]), folder / "figures")
    return found


# --- files of models -----------------------------------------------------------------------------------

FILES = {"model.onnx": 8, "maps.onnx": 4, "model.safetensors": 4, "model.pth": 6, "model.pt2": 1}  # how often


def _prepare_onnx(folder: Path) -> None:
    if find_spec("onnx") is not None and find_spec("onnxruntime") is not None:  # an extra
        _write_onnx(folder)
    module = build_model(MODEL, (1, SIDE, SIDE), N_CLASSES).eval()
    save_file(module.state_dict(), folder / "model.safetensors")
    torch.save(module.state_dict(), folder / "model.pth")
    small = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(SIDE * SIDE, N_CLASSES)).eval()
    dynamic = {"input": {0: torch.export.Dim("n", min=1)}}
    program = torch.export.export(small, (torch.zeros(2, 1, SIDE, SIDE),), dynamic_shapes=dynamic)
    torch.export.save(program, folder / "model.pt2")


def _write_onnx(folder: Path) -> None:
    """Write a model that answers with a table, and one with a dictionary per image."""
    onnx = import_module("onnx")
    helper, number = onnx.helper, onnx.TensorProto.FLOAT
    weights = np.random.RandomState(0).rand(SIDE * SIDE, N_CLASSES).astype(np.float32)
    x = helper.make_tensor_value_info("x", number, [None, 1, SIDE, SIDE])
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["l"]),
        helper.make_node("Softmax", ["l"], ["y"]),
    ]
    names = {"domain": "ai.onnx.ml", "classlabels_strings": ["cats", "dogs"]}
    maps = helper.make_node("ZipMap", ["y"], ["m"], **names)
    scalar = helper.make_tensor_type_proto(number, [])
    of_text = helper.make_sequence_type_proto(helper.make_map_type_proto(onnx.TensorProto.STRING, scalar))
    outputs = {
        "model": (nodes, helper.make_tensor_value_info("y", number, [None, N_CLASSES])),
        "maps": ([*nodes, maps], helper.make_value_info("m", of_text)),
    }
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    for name, (own, output) in outputs.items():
        graph = helper.make_graph(own, "g", [x], [output], [onnx.numpy_helper.from_array(weights, "w")])
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), folder / f"{name}.onnx")


def _make_onnx(draw: Random, good: Path, out: Path) -> bool:
    there = [name for name in FILES if (good / name).exists()]
    name = draw.choices(there, [FILES[name] for name in there])[0]
    content = (good / name).read_bytes()
    if name == "model.safetensors" and draw.random() < 0.4:
        n = int.from_bytes(content[:8], "little")
        text = document_text(broken_document(draw, json.loads(content[8 : 8 + n]))).encode()
        content = len(text).to_bytes(8, "little") + text + content[8 + n :]
    else:
        content = broken_bytes(draw, content)
    ending = draw.choice((*[Path(name).suffix] * 8, ".onnx", ".pth", ".pt2", ".safetensors"))
    (out / f"broken{ending}").write_bytes(content)
    return False


def _read_onnx(folder: Path) -> object:
    (path,) = (path for path in folder.iterdir() if path.stem == "broken")
    form: dict[str, Any] = {"logits": True} if path.suffix == ".pt2" else {}
    predict = open_model(path, shape=(1, SIDE, SIDE), n_classes=N_CLASSES, **form)
    return predict(torch.zeros(3, 1, SIDE, SIDE)).shape


KINDS = (
    Kind("checkpoint", _prepare_checkpoint, _make_checkpoint, _read_checkpoint),
    Kind("run", prepare_run, _make_run, _read_run),
    Kind("yaml", _prepare_yaml, _make_yaml, _read_yaml),
    Kind("store", prepare_store, _make_store, _read_store),
    Kind("onnx", _prepare_onnx, _make_onnx, _read_onnx),
)
