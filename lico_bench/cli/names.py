"""Check typed names against the source files of the registries, without importing them.

The registries contain the same names, but importing them takes seconds; a test compares both.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lico_bench.errors import UnknownNameError
from lico_bench.registry import parse_call, registered_names

if TYPE_CHECKING:
    from lico_bench.bench import Suite

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
