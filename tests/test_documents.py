"""Documents: what is written is read back, and whatever is wrong with one is told in one line."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from spuriscope.answers import Audit
from spuriscope.auditing import load_audit, write_audit
from spuriscope.documents import document_schema, from_document, read_document, to_document, to_json_text
from spuriscope.errors import ConfigError, MeasureError
from test_report_document import make_audit, put

DOCS = Path(__file__).resolve().parents[1] / "docs"


@dataclass(frozen=True, kw_only=True)
class Inner:
    name: str
    share: float


@dataclass(frozen=True, kw_only=True)
class Outer:
    kind: Literal["a", "b"]
    parts: tuple[Inner, ...] = ()
    n: int | None = None


VALUE = Outer(kind="a", parts=(Inner(name="x", share=0.5),), n=3)
DOCUMENT = {"kind": "a", "parts": [{"name": "x", "share": 0.5}], "n": 3}


def test_a_value_becomes_json_values_and_comes_back() -> None:
    assert to_document(VALUE) == DOCUMENT
    assert json.loads(to_json_text(VALUE)) == DOCUMENT
    assert from_document(Outer, DOCUMENT, source="a file") == VALUE


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"kind": "c"}, "a file: kind: invalid enum value 'c'"),
        ({"n": "3"}, "a file: n: expected a whole number or nothing, got text"),
        ({"parts": [{"name": "x"}]}, "a file: parts[0]: object missing required field `share`"),
        ({"parts": [{"name": "x", "share": None}]}, "a file: parts[0].share: expected a number, got nothing"),
        ({"parts": {"name": "x"}}, "a file: parts: expected a list, got a mapping"),
        (
            {"parts": [{"name": "x", "share": 1, "sahre": 2}]},
            "a file: parts[0].sahre is not known",
        ),
        ({"m": 1}, "a file: m is not known; it may be misspelt, or of a newer version"),
    ],
)
def test_what_is_wrong_is_one_line_with_its_place(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match="^" + re.escape(told)):
        from_document(Outer, DOCUMENT | change, source="a file")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(max_examples=40)
@given(JSON)
def test_any_json_is_a_value_or_one_line(document: Any) -> None:
    told = ""
    try:
        from_document(Outer, document, source="a file")
    except ConfigError as error:
        told = str(error)
    assert "\n" not in told


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"kind": NaN}', b"[" * 100_000])
def test_a_file_that_is_no_json_is_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="^[^\n]*a.json[^\n]*$"):
        read_document(Outer, path)
    with pytest.raises(ConfigError, match="cannot read"):
        read_document(Outer, tmp_path / "none.json")


def test_a_number_that_is_none_is_not_written() -> None:
    with pytest.raises(MeasureError, match="parts.0.share came out as nan"):
        to_json_text(put(VALUE, "parts.0.share", float("nan")))
    assert to_document(Inner(name="x", share=np.float64(0.5))) == {"name": "x", "share": 0.5}


def test_an_audit_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    audit = make_audit()
    page = write_audit(audit, tmp_path)
    assert load_audit(tmp_path) == load_audit(tmp_path / "audit.json") == audit
    again = page.read_bytes()
    write_audit(load_audit(tmp_path), tmp_path)
    assert page.read_bytes() == again


def test_an_audit_of_another_format_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "audit.json"
    path.write_text(json.dumps({"format": 1, "spuriscope": "0.1.0", "dose_response": []}))
    with pytest.raises(ConfigError, match=r"audit\.json is an audit of format 1, and .* reads format 2; aud"):
        load_audit(tmp_path)
    write_audit(make_audit(), tmp_path)  # and may be replaced
    path.write_text(json.dumps(to_document(make_audit()) | {"membership": 3}))
    with pytest.raises(ConfigError, match=r"audit\.json: membership: expected a mapping"):
        load_audit(tmp_path)
    path.write_text("[]")
    with pytest.raises(ConfigError, match="is not an audit; give the folder"):
        load_audit(tmp_path)
    with pytest.raises(ConfigError, match="there is no audit in .*; `spuriscope audit --out"):
        load_audit(tmp_path / "nowhere")


def names_in(schema: dict[str, Any]) -> set[str]:
    """Every property that a schema names."""
    found = set(schema.get("properties", ()))
    for definition in schema.get("$defs", {}).values():
        found |= set(definition.get("properties", ()))
    return found


def test_the_schema_is_the_one_in_the_docs_and_every_key_is_explained() -> None:
    schema = document_schema(Audit)
    assert json.loads((DOCS / "audit.schema.json").read_text(encoding="utf-8")) == schema
    recipe = set(schema["$defs"]["Recipe"]["properties"]) | set(schema["$defs"]["Privacy"]["properties"])
    documented = set(re.findall(r"`([a-z_0-9]+)`", (DOCS / "audit-json.md").read_text(encoding="utf-8")))
    assert names_in(schema) - recipe <= documented
