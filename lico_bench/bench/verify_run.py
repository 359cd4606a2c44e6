"""What is damaged in a run folder: manifest, files, tables, weights, report. Nothing is changed.

`repair` sets aside what was found, so that the command that made the run makes it anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from lico_bench.errors import BrokenFileError, MissingDataError
from lico_bench.store import CellFolder, Damage, RunFolder, RunLock, check_cell, quarantined
from lico_bench.store.integrity import MISSING, STRANGE
from lico_bench.store.lock import is_held
from lico_bench.store.quarantine import quarantine
from lico_bench.store.report_folder import check_report
from lico_bench.store.schema import check_tables

Progress = Callable[[int, int], None]


@dataclass
class Findings:
    """What was looked at, and what is wrong with it.

    Attributes:
        cells: finished ones that were checked.
        num_files, num_bytes: that were read.
        unchecked: finished cells that were stored before checksums were.
        unfinished: cells that are not finished, whose files were checked as far as they go.
        busy: who is at work on the run; empty if nobody is.
    """

    cells: int = 0
    num_files: int = 0
    num_bytes: int = 0
    damages: list[Damage] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    busy: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether nothing is wrong."""
        return not self.damages


def verify_run(run: RunFolder, *, progress: Progress | None = None) -> Findings:
    """Check every file of a run against its checksum, and what the tables and weights say."""
    found = Findings(busy=is_held(run.path))
    cells = _cells(run, found)
    for number, (cell, entry) in enumerate(cells):
        _look_at(cell, entry, found)
        if progress is not None:
            progress(number + 1, len(cells))
    found.damages += check_report(run)
    return found


def repair(run: RunFolder, findings: Findings) -> dict[Path, Path]:
    """Set aside what was found damaged: where each file was, and where it is now.

    A damaged manifest stays: the command that made the run writes it anew.

    Raises:
        RunBusyError: if another process is at work on the run.
    """
    places: dict[Path, Path] = {}
    report = run.path / "report"
    with RunLock(run.path):
        for damage in findings.damages:
            if report in damage.file.parents:
                places[damage.file] = quarantine(run.path, report)
            elif damage.file != run.manifest_path:
                places[damage.file] = quarantined(run, damage)
    return places


def _cells(run: RunFolder, found: Findings) -> list[tuple[CellFolder, dict[str, Any]]]:
    """The cells that the manifest names; without one, those that are there."""
    folder = run.path / "cells"
    there = [path.name for path in sorted(folder.iterdir())] if folder.is_dir() else []
    there = [name for name in there if not name.startswith(".")]
    try:
        entries = {entry["key"]: entry for entry in run.manifest()["cells"]}
    except (BrokenFileError, MissingDataError) as error:
        is_there = run.manifest_path.exists()
        problem = _without_path(error, run.manifest_path) if is_there else MISSING
        found.damages.append(Damage(run.manifest_path, problem))
        entries = {name: {} for name in there}
    strange = [folder / name for name in there if name not in entries]
    found.damages += [Damage(path, STRANGE) for path in strange]
    cells = []
    for key, entry in entries.items():
        try:
            cells.append((run.cell(key), entry))
        except BrokenFileError as error:
            found.damages.append(Damage(folder / key, _without_path(error, folder / key)))
    return cells


def _look_at(cell: CellFolder, entry: dict[str, Any], found: Findings) -> None:
    damages = check_cell(cell)
    if cell.is_done:
        found.cells += 1
        files = {} if damages and damages[0].file == cell.done else cell.facts().get("files", {})
        found.num_files += len(files)
        found.num_bytes += sum(fact["bytes"] for fact in files.values())
        if not files and not damages:
            found.unchecked.append(cell.path.name)
        if not damages:
            damages = (*check_tables(cell, pair=entry.get("pair")), *_check_weights(cell))
    else:
        found.unfinished.append(cell.path.name)
    found.damages += damages


def _check_weights(cell: CellFolder) -> Iterator[Damage]:
    """Whether the weights can be read; a cell of own models has none."""
    if not cell.model.is_file():
        return
    try:
        with safe_open(cell.model, framework="pt") as weights:
            is_empty = not weights.keys()
    except (SafetensorError, OSError) as error:
        yield Damage(cell.model, f"not readable as weights ({error})")
    else:
        if is_empty:
            yield Damage(cell.model, "holds no weights")


def _without_path(error: Exception, path: Path) -> str:
    return str(error).removeprefix(f"{path}: ")
