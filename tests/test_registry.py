"""Names with options, the same text everywhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lico_bench.cli.options import split_names
from lico_bench.errors import InvalidInputError, UnknownNameError
from lico_bench.metrics import METRICS, resolve_metric
from lico_bench.registry import (
    Registry,
    format_call,
    keyword_defaults,
    parse_call,
    registered_names,
)
from lico_bench.saliency import SALIENCY, resolve_method

NAMES = st.from_regex(r"[a-z][a-z_0-9]{0,8}", fullmatch=True).filter(
    lambda name: name not in ("inf", "nan", "infinity", "true", "false")
)
VALUES = st.one_of(
    st.integers(-999, 999), st.booleans(), st.floats(-10, 10, allow_nan=False), NAMES
)


@given(name=NAMES, options=st.dictionaries(NAMES, VALUES, max_size=4))
def test_what_is_written_is_read_back(name: str, options):
    assert parse_call(format_call(name, options)) == (name, options)


def test_spaces_and_order_do_not_make_another_name():
    assert resolve_method(" rise( seed = 3,num_masks=20 )")[0] == "rise(num_masks=20, seed=3)"


@pytest.mark.parametrize("text", ["rise(", "rise(num_masks)", "rise(=3)", "two words", ""])
def test_what_is_no_call_is_refused(text: str):
    with pytest.raises(InvalidInputError, match="expected"):
        parse_call(text)


def test_an_unknown_option_names_those_there_are():
    with pytest.raises(UnknownNameError, match=r"option of method 'rise' 'masks'.*num_masks"):
        resolve_method("rise(masks=20)")
    with pytest.raises(UnknownNameError, match=r"option of metric 'pointing_game'.*tolerance_frac"):
        resolve_metric("pointing_game(tolerance=1)")


def test_commas_in_brackets_do_not_part_names():
    assert split_names("grad_cam, rise(num_masks=9, seed=1) ,x") == (
        "grad_cam",
        "rise(num_masks=9, seed=1)",
        "x",
    )


def test_another_rule_is_another_protocol_and_another_name():
    plain, wide = resolve_metric("pointing_game"), resolve_metric("pointing_game(tolerance_frac=1)")
    assert plain.spec.protocol != wide.spec.protocol
    assert wide.spec.name == "pointing_game(tolerance_frac=1)"
    assert "tolerance_frac=1" in wide.spec.title
    assert wide.rules["tolerance_frac"] == 1


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ('REGISTRY.add("b", 1)\nREGISTRY.add("a", 2)', ("a", "b")),
        ('@REGISTRY.register("a")\ndef compute():\n    seen.add(x)', ("a",)),
        ('for n, x in (("a", 1), ("b", 2)):\n    REGISTRY.add(n, x)', ("a", "b")),
        ('for n, x in {"a": 1}.items():\n    REGISTRY.add(n, x)', ("a",)),
        (
            'ROWS = (Row("a", 1), Row(name="b"))\nfor row in ROWS:\n    REGISTRY.add(row.n)',
            ("a", "b"),
        ),
        ('NAME = "a"\nREGISTRY.add(NAME, 1)', ("a",)),
        ('def _add(name):\n    REGISTRY.add(name, 1)\n\n_add("a")', ("a",)),
        ("x = 1", ()),
        ('REGISTRY.add(f"wrn_{1}", 1)', None),
        ('for n in names():\n    REGISTRY.add(n, "x")', None),
    ],
)
def test_names_are_read_where_they_are_written_out(tmp_path, monkeypatch, source: str, names):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "entry.py").write_text(source)
    monkeypatch.setattr("lico_bench.registry.__file__", str(tmp_path / "registry.py"))
    assert registered_names("package") == names


@pytest.fixture
def numbers(tmp_path, monkeypatch) -> Iterator[Registry[str]]:
    """Registry of a package with one literal name in each of two modules and a computed one."""
    package = tmp_path / "own_numbers"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from lico_bench.registry import Registry\nNUMBERS = Registry('number', __name__)\n"
    )
    for module, name in (("one", "'one'"), ("two", "'two'"), ("three", "'th' + 'ree'")):
        (package / f"{module}.py").write_text(
            f"from own_numbers import NUMBERS\nNUMBERS.add({name}, '{module}')\n"
        )
    monkeypatch.syspath_prepend(tmp_path)
    yield __import__("own_numbers").NUMBERS
    for name in [name for name in sys.modules if name.startswith("own_numbers")]:
        del sys.modules[name]


def test_a_name_imports_its_module_and_those_whose_names_are_no_literals(numbers):
    assert numbers["one"] == "one"
    assert "own_numbers.two" not in sys.modules
    assert numbers["three"] == "three"
    assert "own_numbers.two" not in sys.modules
    assert numbers.names() == ("one", "three", "two")


def test_an_unknown_name_is_told_with_all_known_ones(numbers):
    with pytest.raises(UnknownNameError, match=r"number 'ton'.*one, three, two"):
        numbers["ton"]


def test_an_entry_cannot_hide_one_that_is_not_yet_imported(numbers):
    numbers.add("two", "hidden")
    with pytest.raises(InvalidInputError, match="already registered"):
        numbers["two"]


@pytest.mark.parametrize("registry", [SALIENCY, METRICS], ids=["methods", "metrics"])
def test_every_option_has_a_plain_default(registry):
    for name in registry:
        for option, value in keyword_defaults(registry[name].compute).items():
            plain = (int, float, str, bool, tuple, type(None))
            assert isinstance(value, plain), f"{name}: {option} has no plain default"
