"""`lico-bench ls` lists names, `lico-bench doctor` describes this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lico_bench.cli import arguments
from lico_bench.cli.console import loading, new_console

if TYPE_CHECKING:
    from rich.table import Table

EXTRAS = {"ray": "--executor ray"}
AVAILABLE, MISSING = "ok", "--"


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
    from lico_bench.errors import UnknownNameError

    if kind not in TABLES:
        raise UnknownNameError.of("list", kind, TABLES)
    headings, rows = TABLES[kind]
    new_console().print(_table(rows(), headings))


def doctor(data_root: arguments.DataRoot = None) -> None:
    """Print versions, devices, text encoders and datasets found."""
    from lico_bench.runtime import data_root as find_data_root

    find_data_root(data_root)
    with loading("doctor", "torch"):
        import torch  # noqa: F401

    console = new_console()
    for title, rows in (
        ("machine", _machine()), ("packages", _packages()), ("text encoders", _found_encoders()),
        ("data", _found_data(data_root)),
    ):  # fmt: skip
        console.print(_table(rows, title=title))
        console.print()


def _table(
    rows: Iterable[tuple[str, ...]], headings: tuple[str, ...] = (), *, title: str | None = None
) -> Table:
    """Return a table without lines, whose long texts are folded."""
    from rich.markup import escape
    from rich.table import Column, Table

    columns = [Column(heading, overflow="fold") for heading in headings or ("",) * 3]
    table = Table(
        *columns, box=None, pad_edge=False, show_header=bool(headings), title=title,
        title_justify="left",
    )  # fmt: skip
    for row in rows:
        table.add_row(*map(escape, row))  # a user's dataset card may contain markup
    return table


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


def _machine() -> Iterator[tuple[str, str, str]]:
    import os

    import torch

    from lico_bench.runtime import native_precision, pick_device, versions

    version = versions()
    yield AVAILABLE, "platform", f"{version['platform']}, Python {version['python']}"
    yield AVAILABLE, "processor", f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"
    for number in range(torch.cuda.device_count()):
        memory = torch.cuda.get_device_properties(number).total_memory / 1e9
        yield AVAILABLE, f"cuda:{number}", f"{torch.cuda.get_device_name(number)}, {memory:.0f} GB"
    if not torch.cuda.device_count():
        yield MISSING, "cuda", f"torch {torch.__version__} finds no usable GPU"
    device = pick_device()
    yield AVAILABLE, "--device auto", f"selects {device}"
    precision = native_precision(device)
    yield AVAILABLE, "--precision auto", f"selects {precision.name}: {precision.reason}"


def _packages() -> Iterator[tuple[str, str, str]]:
    import importlib.metadata

    from lico_bench.runtime import versions

    for name, version in versions().items():
        if name not in ("python", "platform"):
            yield MISSING if version == "not installed" else AVAILABLE, name, version
    for name, use in EXTRAS.items():
        try:
            yield AVAILABLE, name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield MISSING, name, f"not installed; needed for {use}: install lico-bench[{name}]"


def _found_encoders() -> Iterator[tuple[str, str, str]]:
    from lico_bench.errors import LicoBenchError
    from lico_bench.models import ENCODERS

    for name in ENCODERS:
        try:
            identity = ENCODERS[name].identify()
        except LicoBenchError as error:
            yield MISSING, name, str(error)
        else:
            yield AVAILABLE, name, f"revision {identity.revision}, SHA-256 {identity.sha256[:12]}"


def _found_data(root: Path | None) -> Iterator[tuple[str, str, str]]:
    from lico_bench.data import card_names, describe_dataset
    from lico_bench.errors import LicoBenchError

    for name in card_names(root):
        try:
            facts = describe_dataset(name, root=root)
        except LicoBenchError as error:
            yield MISSING, name, str(error)
        else:
            summary = facts.summary().removeprefix(f"{name}: ")
            yield AVAILABLE if facts.source == "real" else MISSING, name, summary
