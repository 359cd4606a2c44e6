from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lico_bench.checks import Count, Name, Rule, is_single_line
from lico_bench.errors import BrokenFileError
from lico_bench.store.codec import Record, decode, encode, json_schema, optional

FILE = Path("run/file.json")


@dataclass(frozen=True)
class Size:
    height: int
    width: int = 7


@dataclass(frozen=True, kw_only=True)
class Picture(Record):
    name: Name
    size: Size
    sizes: Mapping[Name, Size] = field(default_factory=dict)
    weight: float | None = None
    labels: int | str = "full"
    kind: Literal["real", "drawn"] = "real"
    bounds: tuple[float | None, float | None] = (None, None)
    parts: tuple[tuple[Name, Count], ...] = ()
    even: Annotated[int, Rule("an even number", lambda value: value in range(0, 100, 2))] = 0
    is_new: bool = optional(False)
    notes: Mapping[str, object] | None = optional()


WHOLE = {
    "name": "a", "size": {"height": 1, "width": 2}, "sizes": {"b": {"height": 3, "width": 7}},
    "weight": 0.5, "labels": 3, "kind": "drawn", "bounds": [0, None], "parts": [["c", 1]],
    "even": 4, "is_new": True, "notes": {"deep": [1, {"x": None}]}, "later": [1, 2],
}  # fmt: skip


def test_json_becomes_a_record_and_the_same_json_again():
    picture = decode(Picture, WHOLE, FILE)
    assert picture.sizes["b"] == Size(3)
    assert picture.parts == (("c", 1),)
    assert picture.other == {"later": [1, 2]}
    assert encode(picture) == WHOLE


def test_missing_keys_get_the_defaults_and_optional_ones_stay_away():
    picture = decode(Picture, {"name": "a", "size": {"height": 1}}, FILE)
    assert picture == Picture(name="a", size=Size(1, 7))
    assert {"is_new", "notes", "other"} & set(encode(picture)) == set()
    assert encode(picture)["weight"] is None


def test_record_of_fields_keeps_the_others():
    picture = Picture.of({"name": "a", "size": Size(1), "depth": (1, 2)})
    assert encode(picture)["depth"] == [1, 2]
    assert picture.name == "a"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"name": None}, "name: expected a name (letters, digits, no slash), got 'NoneType'"),
        ({"name": "../x"}, "name: expected a name (letters, digits, no slash), got '../x'"),
        ({"size": {}}, "size.height: expected a value, got none"),
        ({"size": {"height": True}}, "size.height: expected a whole number, got 'bool'"),
        ({"size": [1, 2]}, "size: expected a table, got 'list'"),
        ({"sizes": {"b": {"height": 1.5}}}, "sizes.b.height: expected a whole number, got 'float'"),
        ({"sizes": {"/b": {"height": 1}}}, "sizes./b: expected a name"),
        ({"weight": "x"}, "weight: expected a number, got 'x'"),
        ({"weight": math.inf}, "weight: expected a finite number, got inf"),
        ({"weight": 10**300}, "weight: expected a number of at most"),
        ({"labels": [1]}, "labels: expected a whole number or a text, got 'list'"),
        ({"kind": 1}, "kind: expected a text, got 'int'"),
        ({"bounds": [1]}, "bounds: expected a list of 2, got 'list'"),
        ({"parts": [["a", 1], ["b", -1]]}, "parts[1][1]: expected a count, got 'int'"),
        ({"even": 3}, "even: expected an even number, got 'int'"),
        ({"is_new": 1}, "is_new: expected true or false, got 'int'"),
        ({"notes": {"a\x1b": 1}}, "notes.a\\x1b: expected text on one line, got 'a\\x1b'"),
        ({"notes": {"a": "b\nc"}}, "notes.a: expected text on one line, got 'b c'"),
        ({"later": "x" * 30_000}, "later: expected text on one line, got 'xxx"),
        ({"later": json.loads("[" * 40 + "]" * 40)}, "later: expected at most 12 nested levels"),
    ],
)
def test_wrong_value_is_one_sentence_with_file_and_field(change, sentence):
    with pytest.raises(BrokenFileError) as caught:
        decode(Picture, WHOLE | change, FILE, remedy="start again")
    assert str(caught.value).startswith(f"{FILE}: {sentence}")
    assert str(caught.value).endswith("; start again")
    assert is_single_line(str(caught.value))


def test_content_that_is_no_table_is_named_without_a_field():
    with pytest.raises(BrokenFileError, match=r"^run/file.json: expected a table, got 'list';"):
        decode(Picture, [], FILE)


def test_newer_choice_of_a_literal_is_read():
    assert decode(Picture, WHOLE | {"kind": "dreamt"}, FILE).kind == "dreamt"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
)


@settings(max_examples=50)
@given(st.sampled_from(sorted(WHOLE)), VALUES)
def test_any_value_in_any_field_is_read_back_or_is_one_sentence(name, value):
    try:
        picture = decode(Picture, WHOLE | {name: value}, FILE)
    except BrokenFileError as error:
        assert is_single_line(str(error))  # noqa: PT017, most values are refused
        return
    # Keys that `Size` does not declare are dropped.
    assert decode(Picture, encode(picture), FILE) == picture
    jsonschema.validate(encode(picture), json_schema(Picture))
