"""Parsers of command-line values: lists of names, `--set` assignments, label budgets."""

from __future__ import annotations

import re

from lico_bench.errors import InvalidInputError
from lico_bench.records import Option
from lico_bench.registry import parse_value

SET_GROUPS = ("recipe", "objective")


def split_names(text: str) -> tuple[str, ...]:
    """Split at commas outside parentheses: `a,b, rise(num_masks=9, grid=8)` has three names."""
    names = re.split(r",(?![^(]*\))", text)
    return tuple(name.strip() for name in names if name.strip())


def parse_settings(settings: list[str]) -> tuple[dict[str, str], dict[str, Option]]:
    """Return changes of the recipe and of the objective from `recipe.epochs=5` and the like.

    Raises:
        InvalidInputError: if a setting is not GROUP.NAME=VALUE with a known group.
    """
    recipe: dict[str, str] = {}
    objective: dict[str, Option] = {}
    for setting in settings:
        path, equals, value = setting.partition("=")
        group, dot, name = path.strip().partition(".")
        if not (equals and dot and name) or group not in SET_GROUPS:
            raise InvalidInputError(
                f"--set {setting}: expected recipe.NAME=VALUE or objective.NAME=VALUE, "
                "such as recipe.epochs=5"
            )
        if group == "recipe":
            recipe[name] = value.strip()
        else:
            objective[name] = parse_value(value.strip())
    return recipe, objective


def parse_labels(text: str) -> str | int:
    """Return a label budget: `full` or a number of labelled images, >= 1.

    Raises:
        InvalidInputError: for any other text.
    """
    if text == "full":
        return text
    if not text.isdigit() or int(text) == 0:
        raise InvalidInputError(f"--labels: expected full or a number above 0, got '{text}'")
    return int(text)
