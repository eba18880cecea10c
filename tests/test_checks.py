"""The gate for numbers: what passes, what is refused, and in which words."""

import json
import math
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from spuriscope.checks import check_number, check_seed, check_share, check_whole, strict_json
from spuriscope.data import load
from spuriscope.deletion.check import deletion_check
from spuriscope.deletion.ekfac import Ekfac
from spuriscope.deletion.influence import Influence
from spuriscope.deletion.path import PathInfluence
from spuriscope.deletion.repairing import Repair
from spuriscope.deletion.retraining import Ascent, Incremental
from spuriscope.deletion.solvers import ConjugateGradients, Lissa
from spuriscope.discovery.embed import PCAEmbedding, VAEEmbedding
from spuriscope.discovery.trace import Trace
from spuriscope.errors import ConfigError, DeletionError, DiscoveryError, MeasureError, SpuriscopeError

WITH_NUMBERS: list[Any] = [
    Repair, Ascent, Incremental, Influence, PathInfluence, ConjugateGradients, Lissa, Ekfac, PCAEmbedding,
    VAEEmbedding, Trace,
]  # fmt: skip


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_a_share_passes_exactly_where_it_lies_between_nothing_and_all(value: float) -> None:
    if value in (0, 1) or 0 < value < 1:
        check_share("level", value)
    else:
        with pytest.raises(ConfigError, match="level must be a number from 0 to 1, got"):
            check_share("level", value)


@given(st.integers() | st.floats() | st.text("1e-x") | st.booleans() | st.none())
def test_a_count_passes_exactly_where_it_is_whole_and_not_negative(value: object) -> None:
    if type(value) is int and 0 <= value < 2**31:
        check_whole("epochs", value)
    else:
        with pytest.raises(ConfigError, match="epochs must be a whole number"):
            check_whole("epochs", value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "1e-3", None, True, 1j])
def test_what_is_no_finite_number_passes_no_range(value: object) -> None:
    for limits in ({}, {"least": 0}, {"above": 0}, {"most": 1}, {"below": 1}):
        with pytest.raises(ConfigError, match="^rate must be a "):
            check_number("rate", value, **limits)  # type: ignore[arg-type]


def test_numpys_numbers_pass() -> None:
    check_number("rate", np.float32(0.5), above=0)
    check_whole("n", np.int64(3))
    check_seed("seed", 2**32 - 1)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({}, "rate must be a finite number, got -5"),
        ({"least": 0}, "rate must be a number of 0 or more, got -5"),
        ({"above": 0}, "rate must be a number above 0, got -5"),
        ({"above": 0, "below": 1}, "rate must be a number above 0 and below 1, got -5"),
        ({"least": 0, "most": 1}, "rate must be a number from 0 to 1, got -5"),
        ({"most": -6}, "rate must be a number of -6 or less, got -5"),
    ],
)
def test_the_range_is_said(limits: dict[str, float], words: str) -> None:
    value = -5 if limits else "-5"
    with pytest.raises(DiscoveryError) as caught:
        check_number("rate", value, error=DiscoveryError, **limits)
    assert str(caught.value).replace("'", "") == words


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5])
def test_a_seed_fits_every_generator(seed: float) -> None:
    np.random.RandomState(2**32 - 1)
    with pytest.raises(ConfigError, match="seed must be a whole number from 0 to 4294967295, got"):
        check_seed("seed", seed)


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("ab", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(documents)
def test_a_document_is_read_as_it_was_or_refused(document: object) -> None:
    def refuse(word: str) -> None:
        raise AssertionError(word)

    if "NaN" in json.dumps(document) or "Infinity" in json.dumps(document):
        with pytest.raises(MeasureError, match="which is not a number; nothing was written"):
            strict_json(document)
    else:
        assert json.loads(strict_json(document), parse_constant=refuse) == document


def test_the_place_of_what_is_no_number_is_named() -> None:
    with pytest.raises(MeasureError, match="^plants.1.score came out as nan"):
        strict_json({"plants": [{"score": 0.5}, {"score": math.nan}]})


def numbers_of(settings: Any) -> list[str]:
    """Names of the settings of a dataclass that are numbers."""
    kinds = (int, float, int | None, float | None)
    return [each.name for each in fields(settings) if each.init and each.type in kinds]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1, True, "3"])
@pytest.mark.parametrize("settings", WITH_NUMBERS, ids=lambda settings: settings.__name__)
def test_every_number_of_a_setting_passes_the_gate(settings: Any, value: object) -> None:
    names = numbers_of(settings)
    assert names
    for name in names:
        with pytest.raises(SpuriscopeError, match=f"^{name}.* must be .*, got {value!r}$"):
            settings(**{name: value})


@pytest.mark.parametrize("name", ["n_seeds", "first_seed"])
@pytest.mark.parametrize("value", [-1, True])
def test_the_seeds_of_a_deletion_check_pass_the_gate(name: str, value: int) -> None:
    with pytest.raises(DeletionError, match=f"^{name} must be a whole number .*, got {value!r}$"):
        deletion_check("repair", load("digits"), **{name: value})  # type: ignore[arg-type]
