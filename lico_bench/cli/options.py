"""Texts of the command line as values: lists of names, `--set` assignments."""

from __future__ import annotations

import re

from lico_bench.errors import InvalidInputError
from lico_bench.records import Option
from lico_bench.registry import parse_value

SET_GROUPS = ("recipe", "objective")


def split_names(text: str) -> tuple[str, ...]:
    """`a,b, rise(num_masks=9, grid=8)` as three names: commas within brackets do not part."""
    names = re.split(r",(?![^(]*\))", text)
    return tuple(name.strip() for name in names if name.strip())


def parse_settings(settings: list[str]) -> tuple[dict[str, str], dict[str, Option]]:
    """`recipe.epochs=5` and `objective.alpha=2` as the changes to recipe and objective.

    Raises:
        InvalidInputError: for anything that is not GROUP.NAME=VALUE.
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
    """`full` or a number of labelled images.

    Raises:
        InvalidInputError: for anything else.
    """
    if text == "full":
        return text
    if not text.isdigit() or int(text) == 0:
        raise InvalidInputError(f"--labels: expected full or a number above 0, got {text}")
    return int(text)
