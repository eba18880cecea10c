"""What plugins add: names that every process knows, and hashes that know their source."""

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spuriscope as ss
from spuriscope.added_measures import MEASURES
from spuriscope.cli import app
from spuriscope.data import ImageSet, Split, load, register_data
from spuriscope.deletion import METHODS, Incremental
from spuriscope.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    DeletionError,
    DiscoveryError,
    MeasureError,
    MembershipError,
    ModelError,
    PatternError,
    SpuriscopeError,
)
from spuriscope.models import ARCHITECTURES
from spuriscope.registry import Registry, fingerprint, load_installed, load_plugin
from spuriscope.studies import Grid, Store, run_study
from spuriscope.training import Cell, DataKey, FailedCell, Recipe, TrainedModel, Trainer, train_many
from spuriscope.training.cell import pack, unpack

EXAMPLE = Path(__file__).resolve().parents[1] / "docs" / "examples" / "plugin"
NET = """
from torch import nn
import spuriscope as ss

@ss.register_architecture("{name}")
def build(shape, n_classes):
    {body}
    return nn.Sequential(nn.Flatten(), nn.Linear(16, n_classes))
"""

pytestmark = pytest.mark.usefixtures("own_plugins")
Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes a module into a folder of the path, and forgets it at the end."""
    monkeypatch.syspath_prepend(tmp_path)
    there = set(sys.modules)

    def written(path: str, text: str) -> str:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
        importlib.invalidate_caches()
        return Path(path).stem

    yield written
    for name in set(sys.modules) - there:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture(scope="module")
def data() -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (40, 1, 4, 4), dtype=torch.uint8, generator=generator)
    split = Split(images, torch.arange(40) % 2)
    return ImageSet("forty", split, split, ("even", "odd"))


def cell_of(data: ImageSet, model: str, seed: int = 0) -> Cell:
    return Cell(data=DataKey.of(data), model=model, recipe=Recipe(epochs=1), seed=seed)


def anew(write: Write, module: str, text: str) -> None:
    """A plugin in a process that has not seen it before."""
    sys.modules.pop(module, None)
    for registry in (ARCHITECTURES, METHODS, MEASURES):
        registry.added.clear()
    write(f"{module}.py", text)
    load_plugin(module)


def test_a_cell_knows_the_source_of_its_architecture(write: Write, data: ImageSet) -> None:
    """Its hash is that of NAME@FINGERPRINT in the place of the name: any other source, another hash."""
    anew(write, "house", NET.format(name="net", body="pass"))
    first = cell_of(data, "net")
    source = fingerprint(ARCHITECTURES["net"].build, "house")[:12]
    assert first.to_json()["model"] == f"net@{source}"
    assert unpack(pack(first)) == first
    anew(write, "house", NET.format(name="net", body="n_classes += 0"))
    second = cell_of(data, "net")
    assert first.hash != second.hash
    assert first != second
    with pytest.raises(
        CheckpointError, match=f"net was changed: .* {source}, here it is {second.model_source}"
    ):
        unpack(pack(first))
    with pytest.raises(ModelError, match="net was changed since the cell was made"):
        ss.train_cell(first, data)
    anew(write, "house", NET.format(name="net", body="pass"))
    assert cell_of(data, "net").hash == first.hash
    ARCHITECTURES.added.clear()
    with pytest.raises(CheckpointError, match="net comes from a plugin that is not loaded; .* --plugin"):
        Cell.from_json(first.to_json(), [])


def test_a_fingerprint_is_of_the_modules_that_are_imported_and_no_others(write: Write) -> None:
    """In a package: what the defining module imports, directly or not; and the settings of an object."""
    write("pack/__init__.py", "import pack.nets, pack.other")
    write("pack/nets.py", "from .layers import width\nimport torch, os\ndef net(shape, n_classes): ...")
    write("pack/layers.py", "def width():\n    from pack import sizes\n    return sizes.WIDTH")
    write("pack/sizes.py", "WIDTH = 3")
    write("pack/other.py", "X = 1")
    nets = importlib.import_module("pack.nets")
    first = fingerprint(nets.net, "pack")
    write("pack/other.py", "X = 2")
    write("pack/__init__.py", "")
    assert fingerprint(nets.net, "pack") == first
    wide, wider = (fingerprint(partial(nets.net, width=width), "pack") for width in (1, 2))
    assert len({first, wide, wider}) == 3
    write("pack/sizes.py", "WIDTH = 4")
    assert fingerprint(nets.net, "pack") != first
    long, short = (fingerprint(Incremental(epochs=epochs), "pack.nets") for epochs in (1, 2))
    assert long != short


def test_a_checkpoint_of_a_plugin_is_read_where_the_plugin_is(
    write: Write, data: ImageSet, tmp_path: Path
) -> None:
    anew(write, "house", NET.format(name="net", body="pass"))
    model = ss.train_cell(cell_of(data, "net"), data)
    model.save(tmp_path / "m.safetensors")
    again = ss.load_model(tmp_path / "m.safetensors")
    assert torch.equal(again.predict(data.test.images), model.predict(data.test.images))
    assert again.cell == model.cell
    ARCHITECTURES.added.clear()
    with pytest.raises(CheckpointError, match="architecture net comes from a plugin that is not loaded"):
        ss.load_model(tmp_path / "m.safetensors")


@pytest.mark.slow
def test_workers_say_why_in_their_own_words(write: Write, data: ImageSet) -> None:
    """One that fails tells what its plugin raised, and where; its neighbours train on. Alone it does too."""
    anew(write, "house", NET.format(name="net", body="pass"))
    text = NET.format(name="bad", body='raise ValueError("no such\\n width")')
    write("spoilt.py", text)
    load_plugin("spoilt")
    cells = [cell_of(data, "net"), cell_of(data, "bad"), cell_of(data, "small-mlp")]
    line = text.splitlines().index('    raise ValueError("no such\\n width")') + 1
    for n_workers in (2, 1):
        found = {
            result.cell.model: result for result in train_many(cells, data, n_workers=n_workers, device="cpu")
        }
        assert isinstance(found["net"], TrainedModel)
        assert isinstance(found["small-mlp"], TrainedModel)
        failed = found["bad"]
        assert isinstance(failed, FailedCell)
        assert failed.reason == f"ValueError: no such width (spoilt.py:{line}, in build)"


def test_what_a_script_registers_trains_in_its_own_process_alone(
    data: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = lambda shape, n_classes: nn.Sequential(nn.Flatten(), nn.Linear(16, n_classes))  # noqa: E731
    monkeypatch.setattr("spuriscope.registry._calling_module", lambda: "__main__")
    monkeypatch.setattr(sys.modules["__main__"], "__file__", __file__, raising=False)
    ss.register_architecture("mine")(build)
    cells = [cell_of(data, "mine", seed) for seed in (0, 1)]
    assert all(isinstance(result, TrainedModel) for result in train_many(cells, data, n_workers=1))
    with pytest.raises(
        ModelError, match=r"mine was registered in a script .* module of its own .* one worker"
    ):
        train_many(cells, data, n_workers=2, device="cpu")


def test_in_a_notebook_the_source_is_that_of_the_function(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no file of `__main__` there; what has no source at all is refused."""
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)
    monkeypatch.setattr(test_a_registry_is_a_mapping_whose_own_names_stay, "__module__", "__main__")
    monkeypatch.setattr(anew, "__module__", "__main__")
    first = fingerprint(test_a_registry_is_a_mapping_whose_own_names_stay, "__main__")
    assert first != fingerprint(anew, "__main__")
    with pytest.raises(ConfigError, match="source of __main__ cannot be read .* put it into a module"):
        fingerprint(eval("lambda shape, n_classes: None", {"__name__": "__main__"}), "__main__")


def test_a_function_in_place_of_a_name_is_told_how_to_get_one(data: ImageSet) -> None:
    with pytest.raises(ConfigError, match=r"model must be .* got function; ss.register_architecture\(name\)"):
        ss.train(data, model=anew)  # type: ignore[arg-type]


REGISTER: dict[str, tuple[Callable[..., Any], type[SpuriscopeError], str]] = {
    "architecture": (ss.register_architecture, ModelError, "mlp"),
    "attack": (ss.register_attack, MembershipError, "rmia"),
    "data": (register_data, DataError, "mnist"),
    "deletion": (ss.register_deletion, DeletionError, "repair"),
    "embedding": (ss.register_embedding, DiscoveryError, "vae"),
    "measure": (ss.register_measure, MeasureError, ""),
    "pattern": (ss.register_pattern, PatternError, "v8"),
    "transplant": (ss.register_transplant, DiscoveryError, ""),
}


@pytest.mark.parametrize("kind", REGISTER)
def test_what_cannot_be_registered_is_refused_in_one_line(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    register, error, ours = REGISTER[kind]
    for name in ("", "A", "a b", "a@b", "../a"):
        with pytest.raises(error, match="cannot be the name of a .*; take small letters"):
            register(name)
    if ours:
        with pytest.raises(error, match=f"spuriscope has a .* '{ours}' of its own; take another name"):
            register(ours)
    with pytest.raises(error, match="is a function, got int"):
        register("seven")(7)
    register("x")(ss.load)
    register("x")(ss.load)  # again from the same module, as in a notebook
    monkeypatch.setattr("spuriscope.registry._calling_module", lambda: "other")
    with pytest.raises(error, match=r"test_registry has registered a .* 'x' before other; take another"):
        register("x")(ss.load)


def test_plugins_that_are_not_there_or_fail_are_told_of(write: Write) -> None:
    with pytest.raises(ConfigError, match="there is no plugin 'nowhere' in the current folder"):
        load_plugin("nowhere")
    write("needy.py", "import nowhere_else")
    with pytest.raises(
        ConfigError, match="needy cannot be imported: ModuleNotFoundError: No module named 'nowhere_"
    ):
        load_plugin("needy")
    write("odd.py", "1 / 0")
    with pytest.raises(
        ConfigError, match=r"odd cannot be imported: ZeroDivisionError: .* \(odd.py:1, in <mod"
    ):
        load_plugin("odd")
    write("crooked.py", "x = (")
    with pytest.raises(ConfigError, match="crooked cannot be imported: SyntaxError"):
        load_plugin("crooked")
    write("rude.py", "import spuriscope as ss\nss.register_deletion('repair')(print)")
    with pytest.raises(
        ConfigError, match="plugin rude: spuriscope has a deletion method 'repair' of its own"
    ):
        load_plugin("rude")


def test_an_installed_package_is_imported_for_a_name_that_is_not_ours(write: Write) -> None:
    """Not for ours, so that a plugin that fails is in nobody's way."""
    write("net_of_package.py", NET.format(name="installed-net", body="pass"))
    write("x-0.1.dist-info/METADATA", "Metadata-Version: 2.1\nName: x\nVersion: 0.1\n")
    write("x-0.1.dist-info/entry_points.txt", "[spuriscope.plugins]\nx = net_of_package\n")
    assert "mlp" in ARCHITECTURES
    assert "net_of_package" not in sys.modules
    assert "installed-net" in ARCHITECTURES
    assert ARCHITECTURES.plugin("installed-net") == "net_of_package"
    write("x-0.1.dist-info/entry_points.txt", "[spuriscope.plugins]\nx = gone\n")
    assert "mlp" in ARCHITECTURES
    with pytest.raises(ConfigError, match="there is no plugin 'gone'"):
        load_installed()


def test_a_registry_is_a_mapping_whose_own_names_stay() -> None:
    numbers: Registry[int] = Registry("number", {"one": 1}, ConfigError, reserved=["zero"])
    numbers.registering("two", lambda _: 2)(print)
    assert dict(numbers) == {"one": 1, "two": 2}
    assert (len(numbers), numbers.built_in, numbers.ours_and([])) == (2, {"one": 1}, {"one": 1})
    assert numbers.key("one") == "one"
    assert numbers.key("two") == f"two@{fingerprint(print, 'test_registry')[:12]}"
    with pytest.raises(ConfigError, match="there is no number 'three'; choose one of one, two"):
        numbers.ours_and(["three"])
    with pytest.raises(ConfigError, match="'zero' of its own"):
        numbers.registering("zero")


def test_the_command_line_knows_plugins(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write("house.py", NET.format(name="net", body="pass"))
    app(["models", "--json", "--plugin", "house"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["parameters"]["mlp"] == 335_114
    assert "net" in ARCHITECTURES
    with pytest.raises(ConfigError, match="there is no plugin 'nowhere'"):
        app(["data", "list", "--plugin", "nowhere"], standalone_mode=False)


@pytest.mark.slow
def test_a_study_uses_the_example_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a measure of one's own, which is taken again once its source has changed."""
    monkeypatch.syspath_prepend(EXAMPLE)
    sys.modules.pop("example_plugin", None)
    load_plugin("example_plugin")

    @ss.register_measure("mean-answer")
    def mean_answer(predict: ss.Predict, split: Split, pattern: Any, target: int) -> float:
        return float(predict(pattern.apply(split.images))[:, target].mean())

    digits = load("digits")
    few = Split(digits.train.images[:200], digits.train.labels[:200])
    data = ImageSet("few", few, few, digits.class_names)
    grid = Grid(
        name="own", models=("tanh-net",), counts=(3,), n_seeds=1, epochs=1, deletions=("reset-head",),
        measures=("mean-answer",),
    )  # fmt: skip
    study, trainer = grid.expand(data), Trainer("cpu", 1)
    method, measure = METHODS.key("reset-head"), MEASURES.key("mean-answer")
    with Store(tmp_path / "store") as store:
        assert run_study(study, data, store, trainer).n_trained == 2
        rows = {(row["n_planted"], row["measure"]): row["value"] for row in store.rows("own")}
        assert {(3, f"after_{method}_score_all"), (0, measure), (3, measure)} <= rows.keys()
        model = store.load(study.cells()[1])
        assert model is not None
        entry = study.entries[-1]
        assert rows[3, measure] == mean_answer(model.predict, data.test, entry.pattern, entry.target)
        assert run_study(study, data, store, trainer).n_measured == 0
        MEASURES.added["mean-answer"] = MEASURES.added["mean-answer"].__class__(mean_answer, "x", "f" * 64)
        again = run_study(study, data, store, trainer)
        assert (again.n_trained, again.n_measured) == (0, 2)
        names = {row["measure"] for row in store.rows("own")}
        assert {measure, "mean-answer@ffffffffffff"} <= names


@pytest.mark.parametrize(("value", "said"), [(float("nan"), "got nan"), ("x", "got 'x'"), (None, "got None")])
def test_a_measure_that_is_no_number_is_refused(data: ImageSet, value: Any, said: str) -> None:
    from spuriscope.added_measures import measure_added

    ss.register_measure("odd")(lambda *_: value)
    pattern = ss.pattern("s1", data.shape)
    with pytest.raises(MeasureError, match=f"what measure odd returns must be a finite number, {said}"):
        measure_added(["odd"], torch.nn.Identity(), data.test, pattern, 0)


def test_a_data_set_has_a_name(tmp_path: Path, data: ImageSet) -> None:
    asked: list[Path | None] = []

    @register_data("forty-two")
    def read(root: Path | None) -> ImageSet:
        asked.append(root)
        return data

    found = load("forty-two", root=tmp_path)
    assert (found.name, found.fingerprint, asked) == ("forty-two", data.fingerprint, [tmp_path])
    register_data("nothing")(lambda root: None)  # type: ignore[type-var]
    with pytest.raises(DataError, match="data set nothing returned NoneType; return what ss.load makes"):
        load("nothing")
    with pytest.raises(DataError, match="there is no data set 'forty'; give one of .*, forty-two, nothing"):
        load("forty")


def test_a_pattern_has_a_name(data: ImageSet) -> None:
    """What it consists of names its cells, so an equal one of ours gives equal cells."""

    @ss.register_pattern("dot")
    def dot(shape: Any, seed: int) -> ss.Pattern:
        return ss.Pattern("whatever", torch.zeros(*shape).index_fill(2, torch.tensor([0]), seed / 2))

    found = ss.pattern("Dot", data.shape, seed=1)
    assert found.name == "dot"
    assert found == ss.Pattern("x", dot(data.shape, 1).picture)
    with pytest.raises(PatternError, match="pattern dot has one size"):
        ss.pattern("dot", data.shape, size=3)
    ss.register_pattern("bad")(lambda shape, seed: 7)  # type: ignore[type-var]
    with pytest.raises(PatternError, match=r"pattern bad returned 7; return an ss.Pattern"):
        ss.pattern("bad", data.shape)


def test_an_attack_takes_part_in_a_game(data: ImageSet) -> None:
    """One that accuses by chance stands beside ours; one that fails raises its own error."""

    @ss.register_attack("coin")
    def coin(knowledge: ss.Knowledge) -> Tensor:
        return torch.rand(len(knowledge.labels), generator=torch.Generator().manual_seed(0))

    game = ss.Game(
        data=data, pattern=ss.pattern("s1", data.shape), target=0, n_planted=1, model="small-mlp",
        recipe=Recipe(epochs=0), n_models=6,
    )  # fmt: skip
    found = ss.attack_game(game, n_clean=1, attacks=["coin"], n_workers=1)
    assert [each.name for each in found.attacks][-1] == "coin"
    with pytest.raises(MembershipError, match="there is no attack 'die'; choose one of gap, .*, coin"):
        ss.attack_game(game, attacks=["die"])
