"""Names that were typed, looked up in the source of their rooms: wrong ones are told at once.

The registries say the same, after imports that take seconds; a test holds the two together.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lico_bench.errors import UnknownNameError
from lico_bench.registry import parse_call, written_names

if TYPE_CHECKING:
    from lico_bench.bench import Suite

# What an entry is called in messages, and the rooms below `lico_bench` that register such.
ROOMS = {
    "saliency method": ("saliency",),
    "metric": ("metrics",),
    "metric or method": ("metrics", "saliency"),
    "arm": ("training.arms",),
    "backbone": ("models.backbones",),
    "text encoder": ("models.encoders",),
    "executor": ("bench.executors",),
}


def check_names(kind: str, names: Sequence[str]) -> None:
    """Raise for the first of `names`, or of calls such as `rise(num_masks=200)`, that is unknown.

    Args:
        kind: one of `ROOMS`.

    Raises:
        UnknownNameError: with the nearest known name and all of them.
        InvalidInputError: for a text that is neither name nor call.
    """
    bare = [parse_call(text)[0] for text in names]
    if "torch" in sys.modules:
        return  # the registries answer as fast, and know what was added by hand
    known: list[str] = []
    for room in ROOMS[kind]:
        written = written_names(room)
        if written is None:
            return
        known += written
    for name in bare:
        if name not in known:
            raise UnknownNameError.of(kind, name, known)


def check_suite(suite: Suite, executor: str, root: Path | None) -> None:
    """Raise for whatever of `suite` is wrong, as far as it can be told without torch.

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
