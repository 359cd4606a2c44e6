"""`lico-bench ls`: list datasets, arms, methods, metrics, protocols, backbones and encoders."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated

import typer

from lico_bench.cli.console import loading


def ls(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help="datasets, arms, methods, metrics, protocols, backbones or encoders.",
        ),
    ],
) -> None:
    """List the names that other commands accept, with their sources."""
    from rich.markup import escape
    from rich.table import Table

    from lico_bench.cli.console import new_console
    from lico_bench.errors import UnknownNameError

    if kind not in TABLES:
        raise UnknownNameError.of("list", kind, TABLES)
    headings, rows = TABLES[kind]
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows():
        table.add_row(*map(escape, row))  # a user's dataset card may contain markup
    new_console().print(table)


def _datasets() -> Iterator[tuple[str, ...]]:
    from lico_bench.data import card_names, load_card, locate_dataset

    for name in card_names():
        card, found = load_card(name), locate_dataset(name).copy
        location = "stand-in only" if found is None else str(found.folder)
        regions = ", ".join(card.ground_truth) or "none"
        yield name, card.title, str(len(card.class_names)), regions, location


def _arms() -> Iterator[tuple[str, ...]]:
    with loading("ls", "torch"):
        from lico_bench.training import ARMS

    for name in ARMS:
        yield name, ARMS[name].summary, ARMS[name].source


def _methods() -> Iterator[tuple[str, ...]]:
    from lico_bench.registry import keyword_defaults

    with loading("ls", "torch"):
        from lico_bench.saliency import SALIENCY

    for name in SALIENCY:
        entry = SALIENCY[name]
        defaults = keyword_defaults(entry.compute)
        options = ", ".join(f"{option}={value}" for option, value in defaults.items())
        yield name, entry.title, entry.family, options, entry.source


def _metrics() -> Iterator[tuple[str, ...]]:
    with loading("ls", "torch"):
        from lico_bench.metrics import METRICS

    better = {True: "higher is better", False: "lower is better", None: "descriptive"}
    for name in METRICS:
        spec = METRICS[name].spec
        yield (
            name, spec.category, better[spec.higher_is_better],
            f"{_interval(*spec.bounds)} {spec.unit}", ", ".join(spec.needs), spec.cost, spec.source,
        )  # fmt: skip


def _interval(low: float | None, high: float | None) -> str:
    start = "(-∞" if low is None else f"[{low:g}"
    return f"{start}, ∞)" if high is None else f"{start}, {high:g}]"


def _protocols() -> Iterator[tuple[str, ...]]:
    from lico_bench.metrics import PROTOCOLS

    for protocol in PROTOCOLS.values():
        steps = f"{protocol.steps} steps" if protocol.steps else f"{protocol.step_px} px per step"
        classes = f"{protocol.explained_class}, scored: {protocol.scored_class}"
        yield protocol.id, steps, classes, protocol.scorer, protocol.area, protocol.source


def _backbones() -> Iterator[tuple[str, ...]]:
    with loading("ls", "torch"):
        from lico_bench.models import BACKBONES

    for name in BACKBONES:
        entry = BACKBONES[name]
        yield name, entry.title, str(entry.channels), entry.source


def _encoders() -> Iterator[tuple[str, ...]]:
    with loading("ls", "torch"):
        from lico_bench.models import ENCODERS

    for name in ENCODERS:
        yield name, ENCODERS[name].title, ENCODERS[name].source


TABLES: dict[str, tuple[tuple[str, ...], Callable[[], Iterator[tuple[str, ...]]]]] = {
    "datasets": (("name", "title", "classes", "regions", "found"), _datasets),
    "arms": (("name", "summary", "source"), _arms),
    "methods": (("name", "title", "family", "options", "source"), _methods),
    "metrics": (("name", "category", "direction", "range", "needs", "cost", "source"), _metrics),
    "protocols": (("id", "steps", "explained class", "scorer", "area", "source"), _protocols),
    "backbones": (("name", "title", "channels", "source"), _backbones),
    "encoders": (("name", "title", "source"), _encoders),
}
