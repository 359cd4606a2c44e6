"""Read a suite from a TOML file.

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

Settings that are not named have the defaults of the command line.
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

# The file uses the names of the option `--set recipe.NAME=VALUE`.
FIELD_OF_KEY = {"recipe": "changes", "dataset": "of_dataset"}
LISTS = ("datasets", "arms", "methods", "metrics")
NUMBERS = ("seeds", "limit")
TABLES = ("recipe", "objective", "dataset")
ARMS = ("baseline", "lico")


def read_suite(path: Path) -> Suite:
    """Read the suite in the file at `path`.

    Raises:
        InvalidInputError: if the file is missing, or a value has another type than expected.
        BrokenFileError: if the file is not valid TOML.
        UnknownNameError: for an unknown key.
    """
    try:
        declared = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInputError(
            f"--suite {path}: cannot be read ({error.strerror}); correct the path"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BrokenFileError(f"{path}: not TOML ({error}); correct the file") from error
    try:
        return _suite(declared)
    except LicoBenchError as error:
        raise type(error)(f"{path}: {error}") from error


def _suite(declared: Mapping[str, Any]) -> Suite:
    names = {field.name for field in fields(Suite)} - set(FIELD_OF_KEY.values()) | set(FIELD_OF_KEY)
    for name, value in declared.items():
        if name not in names:
            raise UnknownNameError.of("setting", name, names)
        _check_type(name, value)
    check_choice("profile", str(declared.get("profile", "quick")), tuple(PROFILES))
    profile = PROFILES[str(declared.get("profile", "quick"))]
    values: dict[str, Any] = {
        "arms": ARMS, "seeds": profile.seeds, "limit": profile.limit, "methods": profile.methods,
        "metrics": profile.metrics,
    }  # fmt: skip
    values |= {FIELD_OF_KEY.get(name, name): value for name, value in declared.items()}
    if "datasets" not in values:
        raise InvalidInputError("datasets: expected a list of names, got none")
    values |= {name: tuple(values[name]) for name in LISTS}
    values["of_dataset"] = {
        name: _dataset_settings(settings) for name, settings in values.get("of_dataset", {}).items()
    }
    return Suite(**values)


def _dataset_settings(settings: Any) -> dict[str, Any]:
    _check_type("recipe", settings)
    _check_type("recipe", settings.get("recipe", {}))
    for name in ("seeds", "arms"):
        if name in settings:
            _check_type(name, settings[name])
    return {("changes" if name == "recipe" else name): value for name, value in settings.items()}


def _check_type(name: str, value: Any) -> None:
    if name in LISTS:
        is_valid = isinstance(value, list) and all(isinstance(item, str) for item in value)
        expected = 'a list of names such as ["cifar10"]'
    elif name in NUMBERS:
        is_valid, expected = type(value) is int, "a whole number"
    elif name == "as_published":
        is_valid, expected = isinstance(value, bool), "true or false"
    elif name in TABLES:
        is_valid, expected = isinstance(value, dict), "a table"
    else:
        is_valid, expected = isinstance(value, str), "a string"
    if not is_valid:
        raise InvalidInputError(f"{name}: expected {expected}, got {value!r}")
