"""Verify the manifest, files, tables, weights and report of a run folder without changing it.

`repair` quarantines damaged files, so that the command of the run computes them again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open

from lico_bench.errors import BrokenFileError, MissingDataError
from lico_bench.store import CellFolder, Damage, RunFolder, RunLock, check_cell, quarantine_damage
from lico_bench.store.files import quarantine
from lico_bench.store.integrity import FOREIGN_CELL, MISSING
from lico_bench.store.lock import lock_holder
from lico_bench.store.outputs import check_report
from lico_bench.store.tables import check_tables

Progress = Callable[[int, int], None]


@dataclass
class Findings:
    """Result of a verification.

    Attributes:
        cells: number of finished cells that were checked.
        num_files, num_bytes: number and size of the files that were read.
        damages: damaged, missing and unexpected files.
        unchecked: finished cells stored by a version without checksums.
        unfinished: unfinished cells; their existing files were checked.
        busy: process that holds the run's lock; empty if none.
    """

    cells: int = 0
    num_files: int = 0
    num_bytes: int = 0
    damages: list[Damage] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    busy: str = ""

    @property
    def is_intact(self) -> bool:
        """Whether no damage was found."""
        return not self.damages


def verify_run(run: RunFolder, *, progress: Progress | None = None) -> Findings:
    """Check every file of a run against its checksum, and the content of tables and weights."""
    found = Findings(busy=lock_holder(run.path))
    cells = _cells(run, found)
    for number, (cell, pair) in enumerate(cells):
        _check(cell, pair, found)
        if progress is not None:
            progress(number + 1, len(cells))
    found.damages += check_report(run)
    return found


def repair(run: RunFolder, findings: Findings) -> dict[Path, Path]:
    """Quarantine the damaged files; return the new path of each.

    A damaged manifest stays in place; the command of the run writes it again.

    Raises:
        RunBusyError: if another process holds the run's lock.
    """
    moved: dict[Path, Path] = {}
    report = run.path / "report"
    with RunLock(run.path):
        for damage in findings.damages:
            if report in damage.file.parents:
                moved[damage.file] = quarantine(run.path, report)
            elif damage.file != run.manifest_path:
                moved[damage.file] = quarantine_damage(run, damage)
    return moved


def _cells(run: RunFolder, found: Findings) -> list[tuple[CellFolder, str | None]]:
    """Return the cells in the manifest with their pairs; without one, the existing folders."""
    folder = run.path / "cells"
    names = [path.name for path in sorted(folder.iterdir())] if folder.is_dir() else []
    names = [name for name in names if not name.startswith(".")]
    try:
        pairs = {entry.key: entry.pair for entry in run.manifest().cells}
    except (BrokenFileError, MissingDataError) as error:
        exists = run.manifest_path.exists()
        problem = _without_path(error, run.manifest_path) if exists else MISSING
        found.damages.append(Damage(run.manifest_path, problem))
        pairs = dict.fromkeys(names)
    unexpected = [folder / name for name in names if name not in pairs]
    found.damages += [Damage(path, FOREIGN_CELL) for path in unexpected]
    cells = []
    for key, pair in pairs.items():
        try:
            cells.append((run.cell(key), pair))
        except BrokenFileError as error:
            found.damages.append(Damage(folder / key, _without_path(error, folder / key)))
    return cells


def _check(cell: CellFolder, pair: str | None, found: Findings) -> None:
    damages = check_cell(cell)
    if cell.is_done:
        found.cells += 1
        is_readable = not (damages and damages[0].file == cell.done)
        files = (cell.record().files if is_readable else None) or {}
        found.num_files += len(files)
        found.num_bytes += sum(facts.bytes for facts in files.values())
        if not files and not damages:
            found.unchecked.append(cell.path.name)
        if not damages:
            damages = (*check_tables(cell, pair=pair), *_check_weights(cell))
    else:
        found.unfinished.append(cell.path.name)
    found.damages += damages


def _check_weights(cell: CellFolder) -> Iterator[Damage]:
    """Yield the damage if the weights cannot be read; cells of user models have none."""
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
