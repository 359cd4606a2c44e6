"""What `run` was asked to do, from its options, a suite file, or both."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lico_bench.cli.options import parse_labels, parse_settings, split_names

if TYPE_CHECKING:
    from lico_bench.bench import Suite

AS_THEY_ARE = ("seeds", "protocol", "data", "limit", "scorer", "profile", "as_published")
LISTS = ("arms", "methods", "metrics")
OF_RECIPE = ("backbone", "text_encoder", "precision")


def suite_of(
    options: Mapping[str, Any], *, file: Path | None, given: Collection[str], root: Path | None
) -> Suite:
    """The suite that the options declare, or that `file` does, with what was typed beside it.

    Args:
        options: values by the names that `run` has for them; None where nothing was said.
        given: names of those that were typed.
        root: where cards of the user's own may lie.

    Raises:
        LicoBenchError: for a name or value that means nothing, or a file that cannot be read.
    """
    from lico_bench.bench import PROFILES, Suite
    from lico_bench.bench.suite_file import read_suite
    from lico_bench.errors import UnknownNameError

    said = {name: options[name] for name in options if file is None or name in given}
    message = _fields(said, root)
    if file is None:
        if message["profile"] not in PROFILES:
            raise UnknownNameError.of("profile", message["profile"], PROFILES)
        size = PROFILES[message["profile"]]
        usual = {name: getattr(size, name) for name in ("seeds", "limit", "methods", "metrics")}
        return Suite(**{**usual, **message})
    declared = read_suite(file)
    if "datasets" in message:
        declared = declared.only(*message.pop("datasets"))
    own = {
        name: {
            key: value for key, value in settings.items() if key not in message or key == "changes"
        }
        for name, settings in declared.of_dataset.items()
    }  # what is said here holds for every dataset
    declared = replace(declared, of_dataset=own)
    for name in ("changes", "objective"):
        message[name] = {**getattr(declared, name), **message.get(name, {})}
    return replace(declared, **message)


def _fields(said: Mapping[str, Any], root: Path | None) -> dict[str, Any]:
    """Fields of a suite, of those options that say something."""
    from lico_bench.data import card_names

    found = {name: said[name] for name in AS_THEY_ARE if said.get(name) is not None}
    found |= {name: split_names(said[name]) for name in LISTS if said.get(name) is not None}
    if "datasets" in said:
        everything = said["datasets"] == "all"
        found["datasets"] = card_names(root) if everything else split_names(said["datasets"])
    recipe, objective = parse_settings(said.get("set_") or [])
    changes: dict[str, Any] = dict(recipe)
    if said.get("labels", "full") != "full":
        changes["labels"] = parse_labels(said["labels"])
    if said.get("skip_broken"):
        changes["skip_broken"] = True
    changes |= {name: said[name] for name in OF_RECIPE if said.get(name) is not None}
    return {**found, "changes": changes, "objective": objective}
