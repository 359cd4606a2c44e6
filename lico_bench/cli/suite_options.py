"""Suite of `run` from its options, a suite file, or both."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lico_bench.cli.options import parse_labels, parse_settings, split_names

if TYPE_CHECKING:
    from lico_bench.bench import Suite

COPIED_FIELDS = ("seeds", "protocol", "data", "limit", "scorer", "profile", "as_published")
LIST_FIELDS = ("arms", "methods", "metrics")
RECIPE_FIELDS = ("backbone", "text_encoder", "precision")


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
    from lico_bench.bench.suite_file import read_suite
    from lico_bench.errors import UnknownNameError

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
    of_dataset = {
        name: {
            key: value for key, value in settings.items() if key not in fields or key == "changes"
        }
        for name, settings in suite.of_dataset.items()
    }  # a typed option overrides the file for every dataset
    suite = replace(suite, of_dataset=of_dataset)
    for name in ("changes", "objective"):
        fields[name] = {**getattr(suite, name), **fields.get(name, {})}
    return replace(suite, **fields)


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
