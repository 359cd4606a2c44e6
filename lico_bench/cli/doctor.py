"""`lico-bench doctor`: report the machine, packages, text encoders and datasets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from lico_bench.cli.console import loading

EXTRAS = {"ray": "--executor ray"}
AVAILABLE, MISSING = "ok", "--"


def doctor(
    data_root: Annotated[
        Path | None, typer.Option(help="Folder of the datasets. Default: LICO_BENCH_DATA.")
    ] = None,
) -> None:
    """Print versions, devices, text encoders and datasets found."""
    from lico_bench.runtime import data_root as find_data_root

    find_data_root(data_root)
    with loading("doctor", "torch"):
        import torch  # noqa: F401

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


def _encoders() -> Iterator[tuple[str, str, str]]:
    from lico_bench.errors import LicoBenchError
    from lico_bench.models import ENCODERS

    for name in ENCODERS:
        try:
            identity = ENCODERS[name].identify()
        except LicoBenchError as error:
            yield MISSING, name, str(error)
        else:
            yield AVAILABLE, name, f"revision {identity.revision}, SHA-256 {identity.sha256[:12]}"


def _data(root: Path | None) -> Iterator[tuple[str, str, str]]:
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
