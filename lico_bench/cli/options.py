"""Values of options: names, counts, settings, and the suite that the options of `run` describe.

Typed names are compared with the source files of the registries. The registries contain the same
names, but importing them takes seconds; a test compares both.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lico_bench.errors import InvalidInputError, UnknownNameError
from lico_bench.records import Option
from lico_bench.registry import parse_call, parse_value, registered_names

if TYPE_CHECKING:
    from lico_bench.bench import Suite

COPIED_FIELDS = ("seeds", "protocol", "data", "limit", "scorer", "profile", "as_published")
LIST_FIELDS = ("arms", "methods", "metrics")
SET_GROUPS = ("recipe", "objective")
RECIPE_FIELDS = ("backbone", "text_encoder", "precision")
# Kind of entry, as in messages -> packages below `lico_bench` that register such entries.
PACKAGES = {
    "saliency method": ("saliency",),
    "metric": ("metrics",),
    "metric or method": ("metrics", "saliency"),
    "arm": ("training.arms",),
    "backbone": ("models.backbones",),
    "text encoder": ("models.encoders",),
    "executor": ("bench.executors",),
}


def check_names(kind: str, names: Sequence[str]) -> None:
    """Raise for the first unknown name in `names`, which may be calls (`rise(num_masks=200)`).

    Args:
        kind: one of `PACKAGES`.

    Raises:
        UnknownNameError: with the nearest known name and all known names.
        InvalidInputError: for a text that is neither a name nor a call.
    """
    bare = [parse_call(text)[0] for text in names]
    if "torch" in sys.modules:
        return  # the registries are as fast now, and include entries added at run time
    known: list[str] = []
    for package in PACKAGES[kind]:
        written = registered_names(package)
        if written is None:
            return
        known += written
    for name in bare:
        if name not in known:
            raise UnknownNameError.of(kind, name, known)


def check_suite(suite: Suite, executor: str, root: Path | None) -> None:
    """Raise if `suite` is invalid, as far as this can be checked without importing torch.

    Raises:
        LicoBenchError: for an unknown name, an unreadable card, or a value outside its range.
    """
    from lico_bench.data import load_card
    from lico_bench.records import Recipe

    check_names("executor", [executor])
    check_names("saliency method", suite.methods)
    check_names("metric", suite.metrics)
    check_names("arm", suite.arms)
    suite.rules()
    for dataset in suite.datasets:
        card, changes = load_card(dataset, root), suite.changes_of(dataset)
        card.recipe(suite.profile, "real")
        recipe = Recipe(dataset, backbone="", arm="").with_options(changes)
        if "backbone" in changes:
            check_names("backbone", [recipe.backbone])
        if "text_encoder" in changes:
            check_names("text encoder", [recipe.text_encoder])


def build_suite(
    options: Mapping[str, Any], *, file: Path | None, typed: Collection[str], root: Path | None
) -> Suite:
    """Return the suite of the options, or the suite of `file` with the typed options on top.

    Args:
        options: values by parameter name of `run`; None if not set.
        typed: names of the options that were typed.
        root: data root, which may hold dataset cards.

    Raises:
        LicoBenchError: for an unknown name, an invalid value or an unreadable file.
    """
    from lico_bench.bench import PROFILES, Suite
    from lico_bench.bench.suite import read_suite

    used = {name: options[name] for name in options if file is None or name in typed}
    fields = _suite_fields(used, root)
    if file is None:
        if fields["profile"] not in PROFILES:
            raise UnknownNameError.of("profile", fields["profile"], PROFILES)
        profile = PROFILES[fields["profile"]]
        defaults = {
            name: getattr(profile, name) for name in ("seeds", "limit", "methods", "metrics")
        }
        return Suite(**{**defaults, **fields})
    suite = read_suite(file)
    if "datasets" in fields:
        suite = suite.only(*fields.pop("datasets"))
    # A typed option overrides the file for every dataset and every arm.
    of_dataset: dict[str, dict[str, Any]] = {}
    for dataset, settings in suite.of_dataset.items():
        kept = {k: v for k, v in settings.items() if k not in fields or k == "changes"}
        if "of_arm" in kept:
            kept["of_arm"] = _untyped(kept["of_arm"], fields)
        of_dataset[dataset] = kept
    suite = replace(suite, of_dataset=of_dataset, of_arm=_untyped(suite.of_arm, fields))
    for name in ("changes", "objective"):
        fields[name] = {**getattr(suite, name), **fields.get(name, {})}
    return replace(suite, **fields)


def _untyped(
    of_arm: Mapping[str, Mapping[str, Any]], typed: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Return the settings of single arms without options that were typed and arms that were not."""
    return {
        arm: {
            group: {n: v for n, v in values.items() if n not in typed.get(group, {})}
            for group, values in settings.items()
        }
        for arm, settings in of_arm.items()
        if arm in typed.get("arms", of_arm)
    }


def _suite_fields(options: Mapping[str, Any], root: Path | None) -> dict[str, Any]:
    """Return the fields of a suite that `options` set."""
    from lico_bench.data import card_names

    given = {name: value for name, value in options.items() if value is not None}
    fields = {name: given[name] for name in COPIED_FIELDS if name in given}
    fields |= {name: split_names(given[name]) for name in LIST_FIELDS if name in given}
    if "datasets" in options:
        is_all = options["datasets"] == "all"
        fields["datasets"] = card_names(root) if is_all else split_names(options["datasets"])
    recipe, objective = parse_settings(options.get("set_") or [])
    changes: dict[str, Any] = dict(recipe)
    if options.get("labels", "full") != "full":
        changes["labels"] = parse_labels(options["labels"])
    if options.get("skip_broken"):
        changes["skip_broken"] = True
    changes |= {name: given[name] for name in RECIPE_FIELDS if name in given}
    return {**fields, "changes": changes, "objective": objective}


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


def check_out_folder(folder: Path | None) -> None:
    """Raise unless `folder` is a folder or can be created; None (chosen later) passes.

    Raises:
        InvalidInputError: if it or one of its parents is a file.
    """
    if folder is None:
        return
    existing = next((path for path in (folder, *folder.parents) if path.exists()), None)
    if existing is not None and not existing.is_dir():
        raise InvalidInputError(
            f"{existing} is a file, so a folder cannot be written there; choose another --out"
        )
