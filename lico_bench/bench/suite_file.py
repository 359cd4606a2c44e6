"""A suite as a TOML file, so that a study can be declared, published and run again.

    datasets = ["cifar10", "flowers"]
    arms = ["baseline", "lico"]
    seeds = 3
    methods = ["grad_cam", "rise(num_masks=100)", "random_map"]

    [recipe]
    epochs = 10

    [objective]
    alpha = 10.0

    [dataset.cifar10]
    seeds = 5
    recipe = { epochs = 20 }

    [dataset.flowers]
    arms = ["baseline"]

What is not named has the value that it has on the command line.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from lico_bench.bench.suite import PROFILES, Suite
from lico_bench.checks import check_choice
from lico_bench.errors import BrokenFileError, InvalidInputError, LicoBenchError, UnknownNameError

# In the file what is set by hand is called as in `--set recipe.NAME=VALUE`.
OF_FILE = {"recipe": "changes", "dataset": "of_dataset"}
LISTS = ("datasets", "arms", "methods", "metrics")
NUMBERS = ("seeds", "limit")
TABLES = ("recipe", "objective", "dataset")
ARMS = ("baseline", "lico")


def read_suite(path: Path) -> Suite:
    """The suite that the file at `path` declares.

    Raises:
        InvalidInputError: if it is not there, or a value is of another kind than expected.
        BrokenFileError: if it is no TOML.
        UnknownNameError: for a key that means nothing.
    """
    try:
        declared = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInputError(f"--suite {path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BrokenFileError(f"{path}: not TOML ({error})") from error
    try:
        return _suite(declared)
    except LicoBenchError as error:
        raise type(error)(f"{path}: {error}") from error


def _suite(declared: Mapping[str, Any]) -> Suite:
    names = {field.name for field in fields(Suite)} - set(OF_FILE.values()) | set(OF_FILE)
    for name, value in declared.items():
        if name not in names:
            raise UnknownNameError.of("setting", name, names)
        _check_kind(name, value)
    check_choice("profile", str(declared.get("profile", "quick")), tuple(PROFILES))
    size = PROFILES[str(declared.get("profile", "quick"))]
    known: dict[str, Any] = {
        "arms": ARMS, "seeds": size.seeds, "limit": size.limit, "methods": size.methods,
        "metrics": size.metrics,
    }  # fmt: skip
    known |= {OF_FILE.get(name, name): value for name, value in declared.items()}
    if "datasets" not in known:
        raise InvalidInputError("datasets: expected a list of names, got none")
    known |= {name: tuple(known[name]) for name in LISTS}
    known["of_dataset"] = {
        name: _of_dataset(name, own) for name, own in known.get("of_dataset", {}).items()
    }
    return Suite(**known)


def _of_dataset(dataset: str, own: Any) -> dict[str, Any]:
    _check_kind("recipe", own)
    _check_kind("recipe", own.get("recipe", {}))
    for name in ("seeds", "arms"):
        if name in own:
            _check_kind(name, own[name])
    return {("changes" if name == "recipe" else name): value for name, value in own.items()}


def _check_kind(name: str, value: Any) -> None:
    if name in LISTS:
        is_fine, wanted = _is_texts(value), 'a list of names such as ["cifar10"]'
    elif name in NUMBERS:
        is_fine, wanted = type(value) is int, "a whole number"
    elif name == "as_published":
        is_fine, wanted = isinstance(value, bool), "true or false"
    elif name in TABLES:
        is_fine, wanted = isinstance(value, dict), "a table"
    else:
        is_fine, wanted = isinstance(value, str), "a text"
    if not is_fine:
        raise InvalidInputError(f"{name}: expected {wanted}, got {value!r}")


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)
