"""`lico-bench doctor`: what is here, what is missing, and what a run would be made of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from lico_bench.cli.loading import loading

EXTRAS = {"ray": "--executor ray"}
CHECK, CROSS = "ok", "--"


def doctor(
    data_root: Annotated[
        Path | None, typer.Option(help="Folder with the datasets; else LICO_BENCH_DATA.")
    ] = None,
) -> None:
    """Tell versions, devices, text encoders and data found, and what `run` would use."""
    from lico_bench.runtime import data_root as find_data_root

    find_data_root(data_root)
    with loading("doctor", "torch"):
        import torch  # noqa: F401  # what follows needs it

    from rich.markup import escape
    from rich.table import Table

    from lico_bench.cli.console import new_console

    console = new_console()
    for title, rows in (
        ("machine", _machine()), ("packages", _packages()), ("text encoders", _encoders()),
        ("data", _data(data_root)),
    ):  # fmt: skip
        table = Table(box=None, pad_edge=False, title=title, title_justify="left")
        for _ in range(3):
            table.add_column(overflow="fold")
        for row in rows:
            table.add_row(*map(escape, row))
        table.show_header = False
        console.print(table)
        console.print()


def _machine() -> Iterator[tuple[str, str, str]]:
    import os

    import torch

    from lico_bench.runtime import native_precision, pick_device, versions

    known = versions()
    yield CHECK, "platform", f"{known['platform']}, Python {known['python']}"
    yield CHECK, "processor", f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"
    for number in range(torch.cuda.device_count()):
        memory = torch.cuda.get_device_properties(number).total_memory / 1e9
        yield CHECK, f"cuda:{number}", f"{torch.cuda.get_device_name(number)}, {memory:.0f} GB"
    if not torch.cuda.device_count():
        yield CROSS, "cuda", f"no GPU that torch {torch.__version__} can use"
    device = pick_device()
    yield CHECK, "--device auto", f"takes {device}"
    precision = native_precision(device)
    yield CHECK, "--precision auto", f"takes {precision.name}: {precision.reason}"


def _packages() -> Iterator[tuple[str, str, str]]:
    import importlib.metadata

    from lico_bench.runtime import versions

    for name, version in versions().items():
        if name not in ("python", "platform"):
            yield CROSS if version == "not installed" else CHECK, name, version
    for name, use in EXTRAS.items():
        try:
            yield CHECK, name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield CROSS, name, f"not installed; only {use} needs it: lico-bench[{name}]"


def _encoders() -> Iterator[tuple[str, str, str]]:
    from lico_bench.errors import LicoBenchError
    from lico_bench.models import ENCODERS

    for name in ENCODERS:
        try:
            identity = ENCODERS[name].identify()
        except LicoBenchError as error:
            yield CROSS, name, str(error)
        else:
            yield CHECK, name, f"revision {identity.revision}, SHA-256 {identity.sha256[:12]}"


def _data(root: Path | None) -> Iterator[tuple[str, str, str]]:
    from lico_bench.data import card_names, describe_dataset
    from lico_bench.errors import LicoBenchError

    for name in card_names(root):
        try:
            facts = describe_dataset(name, root=root)
        except LicoBenchError as error:
            yield CROSS, name, str(error)
        else:
            message = facts.summary().removeprefix(f"{name}: ")
            yield CHECK if facts.source == "real" else CROSS, name, message
