"""JSON of frozen dataclasses: writing, reading with checks, and the JSON schema.

The annotations of the fields decide all three. They are built from `str` (one line), `int`,
`float`, `bool`, `None`, `object` (any value), `Literal`, `A | B`, `Mapping[K, V]`,
`tuple[T, ...]`, `tuple[A, B]`, `Annotated[T, Rule]` and dataclasses. Files may come from another
person: text has no control characters, numbers are finite, and nesting is limited.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from functools import cache, partial
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    Self,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from lico_bench.checks import Rule, is_single_line
from lico_bench.errors import BrokenFileError, escape_controls

REMEDY = "it is damaged or was not written by this version; start a new run"
MAX_TEXT_LENGTH = 20_000
MAX_NUMBER = 2**53  # JSON readers disagree on larger integers
MAX_DEPTH = 12  # nested levels of a value without declared fields
SHOWN_LENGTH = 60  # characters of a wrong value in a message
OTHER = "other"
OMITTED = "omitted"  # key in a field's metadata
# JSON type and rule of each plain annotation. True and False are no numbers.
_PLAIN: dict[Any, tuple[str, Rule]] = {
    str: ("string", Rule("a text", lambda value: isinstance(value, str))),
    int: ("integer", Rule("a whole number", lambda value: type(value) is int)),
    float: ("number", Rule("a number", lambda value: type(value) in (int, float))),
    bool: ("boolean", Rule("true or false", lambda value: isinstance(value, bool))),
    NoneType: ("null", Rule("nothing", lambda value: value is None)),
}
_ANY = Rule("a value", lambda _value: True)

JsonObject = dict[str, object]  # a JSON table; its values are checked before use

T = TypeVar("T")


class _FieldError(Exception):
    """A value that does not match the annotation of its field.

    Attributes:
        problem: expected and found value.
        where: path of the field below the checked value, such as `.cells[0].key`.
    """

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem, self.where = problem, ""

    def below(self, step: str) -> _FieldError:
        """Return this error with `step` before its path."""
        self.where = step + self.where
        return self


@dataclass(frozen=True, kw_only=True)
class Record:
    """Base class of records that keep the keys they do not declare.

    Attributes:
        other: values of keys without a field, such as those of newer versions; written back.
    """

    other: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def of(cls, values: Mapping[str, object]) -> Self:
        """Return the record with the given fields; names without a field go to `other`."""
        names = {f.name for f in fields(cls)}
        known: dict[str, Any] = {name: value for name, value in values.items() if name in names}
        return cls(**known, other={n: v for n, v in values.items() if n not in names})


def optional(default: Any = None) -> Any:
    """Return a dataclass field whose key is left out of the JSON while it has its default."""
    metadata = {OMITTED: True}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def encode(record: object) -> JsonObject:
    """Return a record as a JSON table."""
    if not is_dataclass(record):
        raise TypeError(f"expected a record, got {type(record).__name__}")
    own = {f.name: getattr(record, f.name) for f in fields(record) if not _is_omitted(record, f)}
    values: Mapping[str, object] = {**own.pop(OTHER, {}), **own}
    return {name: encode_value(value) for name, value in values.items()}


def encode_value(value: object) -> object:
    """Return `value` with records and mappings as `dict`, and tuples as `list`."""
    if is_dataclass(value):
        return encode(value)
    if isinstance(value, Mapping):
        return {name: encode_value(item) for name, item in value.items()}
    return [encode_value(item) for item in value] if isinstance(value, (list, tuple)) else value


def decode(kind: type[T], content: object, path: Path, *, remedy: str = REMEDY) -> T:
    """Return the record of class `kind` in `content`, the values of a JSON file.

    Missing keys get the defaults of their fields.

    Raises:
        BrokenFileError: naming `path` and the first field that does not match; it ends in `remedy`.
    """
    annotation: Any = kind
    try:
        record: T = _decoder(annotation)(content)
    except _FieldError as error:
        where = escape_controls(error.where[-SHOWN_LENGTH:].lstrip("."))
        problem = ": ".join(filter(None, (where, error.problem)))
        raise BrokenFileError(f"{path}: {problem}; {remedy}") from error
    return record


def json_schema(kind: Any) -> JsonObject:
    """Return the JSON schema (draft 2020-12) of a record class, or of an annotation."""
    origin, options = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return json_schema(options[0]) | {"description": options[1].expected}
    if origin in (Union, UnionType):
        return {"anyOf": [json_schema(option) for option in options]}
    if origin is Literal:
        return {"type": "string", "examples": list(options)}
    if origin is tuple and options[-1] is Ellipsis:
        return {"type": "array", "items": json_schema(options[0])}
    if origin is tuple:
        items = [json_schema(option) for option in options]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "items": False}
    if origin is not None:  # a mapping
        return {"type": "object", "additionalProperties": json_schema(options[1])}
    if is_dataclass(kind):
        annotations = get_type_hints(kind, include_extras=True)
        names = [f.name for f in fields(kind) if f.name != OTHER]
        return {
            "type": "object",
            "properties": {name: json_schema(annotations[name]) for name in names},
            "required": [f.name for f in fields(kind) if _is_required(f)],
        }
    return {} if kind is object else {"type": _PLAIN[kind][0]}


@cache
def _decoder(kind: Any) -> Callable[[Any], Any]:
    """Return the function that checks a value read from JSON and returns it as `kind`."""
    origin, options = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return partial(_decode_by_rule, options[1])
    if origin in (Union, UnionType):
        decoders = [_decoder(option) for option in options if option is not NoneType]
        is_optional = NoneType in options
        return partial(_decode_union, decoders, is_optional=is_optional, expected=_expected(kind))
    if origin is Literal:
        json_type: Any = type(options[0])
        return _decoder(json_type)  # a newer version may know more choices
    if origin is tuple and options[-1] is Ellipsis:
        return partial(_decode_list, _decoder(options[0]))
    if origin is tuple:
        return partial(_decode_entries, [_decoder(option) for option in options])
    if origin is not None:
        return partial(_decode_table, _decoder(options[0]), _decoder(options[1]))
    if is_dataclass(kind):
        annotations = get_type_hints(kind, include_extras=True)
        by_name = {f.name: _decoder(annotations[f.name]) for f in fields(kind)}
        required = [f.name for f in fields(kind) if _is_required(f)]
        return partial(_decode_record, kind, by_name, required)
    return partial(_decode_plain, _ANY if kind is object else _PLAIN[kind][1])


def _expected(kind: Any) -> str:
    """Return what a value of `kind` is, for messages."""
    origin, options = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return str(options[1].expected)
    if origin in (Union, UnionType):
        return " or ".join(_expected(option) for option in options)
    if kind in _PLAIN:
        return _PLAIN[kind][1].expected
    return "a list" if origin is tuple else "a table"


def _decode_by_rule(rule: Rule, value: Any) -> Any:
    return _checked(rule.is_valid(value), value, rule.expected)  # a rule checks the type as well


def _decode_plain(rule: Rule, value: Any) -> Any:
    _checked(rule.is_valid(value), value, rule.expected)
    _check_plain(value, 0)
    return value


def _decode_union(
    decoders: Sequence[Callable[[Any], Any]], value: Any, *, is_optional: bool, expected: str
) -> Any:
    if is_optional and value is None:
        return None
    if len(decoders) == 1:
        return decoders[0](value)  # its error is more precise than `expected`
    for decoder in decoders:
        with suppress(_FieldError):
            return decoder(value)
    return _checked(False, value, expected)


def _decode_list(decoder: Callable[[Any], Any], value: Any) -> tuple[Any, ...]:
    _checked(isinstance(value, list), value, "a list")
    return _decode_entries([decoder] * len(value), value)


def _decode_entries(decoders: Sequence[Callable[[Any], Any]], value: Any) -> tuple[Any, ...]:
    is_valid = isinstance(value, list) and len(value) == len(decoders)
    _checked(is_valid, value, f"a list of {len(decoders)}")
    entries = []
    for number, (decoder, item) in enumerate(zip(decoders, value, strict=True)):
        try:
            entries.append(decoder(item))
        except _FieldError as error:
            raise error.below(f"[{number}]") from None
    return tuple(entries)


def _decode_table(
    key_decoder: Callable[[Any], Any], decoder: Callable[[Any], Any], value: Any
) -> JsonObject:
    _checked(isinstance(value, dict), value, "a table")
    table: JsonObject = {}
    for name, item in value.items():
        try:
            key_decoder(name)
            table[name] = decoder(item)
        except _FieldError as error:
            raise error.below(f".{name}") from None
    return table


def _decode_record(
    kind: Any, decoders: Mapping[str, Callable[[Any], Any]], required: Sequence[str], value: Any
) -> Any:
    _checked(isinstance(value, dict), value, "a table")
    found: JsonObject = {}
    other: JsonObject = {}
    for name, item in value.items():
        try:
            if name in decoders and name != OTHER:
                found[name] = decoders[name](item)
            else:
                other |= _decode_plain(_ANY, {name: item})
        except _FieldError as error:
            raise error.below(f".{name}") from None
    for name in required:
        if name not in found:
            raise _FieldError("expected a value, got none").below(f".{name}")
    return kind(**found, **({OTHER: other} if OTHER in decoders else {}))


def _check_plain(value: Any, depth: int) -> None:
    """Raise for control characters, non-finite or too large numbers, and deep nesting."""
    if depth > MAX_DEPTH:
        raise _FieldError(f"expected at most {MAX_DEPTH} nested levels")
    if isinstance(value, dict):
        for name, item in value.items():
            _checked(_is_plain_text(name), name, "plain keys")
            _check_plain(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check_plain(item, depth + 1)
    elif isinstance(value, str):
        _checked(_is_plain_text(value), value, "text on one line")
    elif isinstance(value, float) and not math.isfinite(value):
        raise _FieldError(f"expected a finite number, got {value}")
    elif isinstance(value, int) and abs(value) > MAX_NUMBER:
        raise _FieldError(f"expected a number of at most {MAX_NUMBER:,}")


def _is_plain_text(value: Any) -> bool:
    return is_single_line(value) and len(value) <= MAX_TEXT_LENGTH


def _checked(is_valid: bool, value: Any, expected: str) -> Any:
    """Return `value` if it is valid, else raise."""
    if not is_valid:
        raise _FieldError(f"expected {expected}, got {shown(value)}")
    return value


def shown(value: Any) -> str:
    """Return a value of a file for a message: a text shortened, else its type."""
    text = value if isinstance(value, str) else type(value).__name__
    return f"'{escape_controls(text[:SHOWN_LENGTH])}'{'…' * (len(text) > SHOWN_LENGTH)}"


def _is_required(declared: Field[Any]) -> bool:
    return declared.default is MISSING and declared.default_factory is MISSING


def _is_omitted(record: Any, declared: Field[Any]) -> bool:
    if not declared.metadata.get(OMITTED):
        return False
    factory = declared.default_factory
    default = declared.default if factory is MISSING else factory()
    return bool(getattr(record, declared.name) == default)
