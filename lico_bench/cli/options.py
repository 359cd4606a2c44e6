"""Texts of the command line as values: lists of names, `--set` assignments."""

from __future__ import annotations

from lico_bench.errors import InvalidInputError
from lico_bench.records import Option

SET_GROUPS = ("recipe", "objective")


def split_names(text: str) -> tuple[str, ...]:
    """`a,b, c` as ("a", "b", "c")."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


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


def parse_value(text: str) -> Option:
    """A number or truth value where `text` is one, else the text."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def parse_labels(text: str) -> str | int:
    """`full` or a number of labelled pictures.

    Raises:
        InvalidInputError: for anything else.
    """
    if text == "full":
        return text
    if not text.isdigit() or int(text) == 0:
        raise InvalidInputError(f"--labels: expected full or a number above 0, got {text}")
    return int(text)
