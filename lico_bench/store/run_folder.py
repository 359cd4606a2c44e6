"""The stable layout of a run folder: manifest, one folder per cell, report.

RUN/manifest.json       suite, recipes, data found, class names, versions, metrics, protocols
RUN/lock                held by the process that is using the folder
RUN/cells/<key>/        recipe.json model.safetensors (and .sha256) history.parquet findings.json
                        rows.parquet curves.parquet gallery.parquet
                        done.json (written last: facts, size and SHA-256 of each file)
RUN/cells/<key>/failed.json  why the last attempt failed; removed when the next one starts
RUN/cells/<key>/parts/  scores of image ranges while the cell is scored
RUN/cells/<key>/checkpoint.pt  and checkpoint.previous.pt, checkpoint.pt.sha256, while it is trained
RUN/damaged/            quarantined files, under their original names
RUN/report/             report.html verdicts.json tables/ figures/
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lico_bench.errors import BrokenFileError, MissingDataError, RunMismatchError
from lico_bench.records import CURVE_COLUMNS, ROW_COLUMNS
from lico_bench.store.cell_folder import EMPTY_COLUMNS, CellFolder
from lico_bench.store.codec import JsonObject, decode, encode
from lico_bench.store.files import (
    DAMAGED,
    MANIFEST,
    check_inside,
    check_is_run,
    quarantine,
    read_record,
    read_sealed,
    write_sealed,
)
from lico_bench.store.lock import LOCK
from lico_bench.store.run_records import Failure, Findings, Manifest
from lico_bench.store.tables import Where, join_rows, read_encoded, read_frame, with_images

FORMAT = 1
RUN_ENTRIES = (MANIFEST, LOCK, "cells", DAMAGED, "report")  # top-level entries of a run folder
_SUITE_KEY = re.compile(rb'"suite_key": "([0-9a-f]{12})"')


@dataclass(frozen=True)
class RunFolder:
    """The results of one suite."""

    path: Path

    @property
    def is_published(self) -> bool:
        """Whether this is a copy made by `publish`, without weights and images."""
        return "weights" in self.manifest().left_out

    def cell(self, key: str) -> CellFolder:
        """Return the folder of the cell `key`.

        Raises:
            BrokenFileError: if the path contains a link or leads out of the run.
        """
        cell = CellFolder(self.path / "cells" / key)
        check_inside(self.path, cell.parts)
        return cell

    @property
    def damaged(self) -> Path:
        """The folder of quarantined files."""
        return self.path / DAMAGED

    @property
    def manifest_path(self) -> Path:
        """Path of the manifest, which every run folder has."""
        return self.path / MANIFEST

    def manifest(self) -> Manifest:
        """Return the manifest.

        Raises:
            MissingDataError: if the folder holds no run.
            BrokenFileError: if the manifest is unreadable, damaged or of another format.
        """
        return _read_manifest(self.manifest_path)

    def check_for(self, manifest: Manifest) -> tuple[str, ...]:
        """Return the repairs that `open_for` would make; raises the same errors, writes nothing."""
        try:
            stored = self.manifest()
        except MissingDataError:
            return _check_without_manifest(self.path, manifest, "its manifest is missing")
        except BrokenFileError:
            if _is_of_other_version(self.manifest_path):
                raise
            return _check_without_manifest(self.path, manifest, "its manifest is damaged")
        if stored.suite_key != manifest.suite_key:
            raise RunMismatchError(
                f"{self.path} holds another suite ({_difference(stored, manifest)}); "
                "choose another --out, or repeat the command that made it"
            )
        return ()

    def open_for(self, manifest: Manifest) -> tuple[str, ...]:
        """Write `manifest`, or accept the stored one if it describes the same suite.

        A damaged or missing manifest is replaced if all other files belong to this suite. Needs
        the run's lock.

        Returns:
            Messages about the repairs.

        Raises:
            RunMismatchError: if the folder holds the run of another suite or other files.
            BrokenFileError: for a damaged manifest that cannot be replaced.
        """
        repaired = self.check_for(manifest)
        if repaired and not _recorded_suite_keys(self.path):
            # A cell key identifies the training but not the scoring; parts may be of other metrics.
            for cell in manifest.cells:
                quarantine(self.path, self.cell(cell.key).parts)
        if repaired:
            quarantine(self.path, self.manifest_path)
        if not self.manifest_path.exists():
            write_manifest(self.manifest_path, manifest)
        return repaired

    def rows(
        self, columns: Sequence[str] = ROW_COLUMNS, *, where: Where | None = None
    ) -> pd.DataFrame:
        """Return the rows of all finished cells; a row is one score of one image.

        Args:
            columns: columns to read; fewer columns take less time and memory.
            where: values to keep by column, such as `{"metric": {"deletion"}}`.

        Returns:
            Text columns are categoricals with sorted categories.

        Raises:
            MissingDataError: if no cell is finished.
            BrokenFileError: if a record or a table of a finished cell is damaged.
        """
        return self._join("rows", columns, self.finished(), where or {})

    def curves(self, cells: Collection[str] | None = None) -> pd.DataFrame:
        """Return the perturbation curves of finished cells; a row is one curve of one image.

        Args:
            cells: keys of the cells to read; all finished cells if None.

        Returns:
            Text columns are categoricals with sorted categories.
        """
        keys = [key for key in self.finished() if cells is None or key in cells]
        return self._join("curves", CURVE_COLUMNS, keys, {})

    def _join(
        self, name: str, columns: Sequence[str], keys: Sequence[str], where: Where
    ) -> pd.DataFrame:
        """Concatenate one table of the given cells; at most one column is held twice in memory."""
        self._check_found(keys)

        def tables() -> Iterator[Any]:
            for cell in map(self.cell, keys):
                cell.record()  # refuses the scores of a cell with a damaged record
                yield read_encoded(cell.table(name), name, columns, where=where)

        return join_rows(tables(), columns)

    def history(self) -> pd.DataFrame:
        """Return the training history of all finished cells: cell, epoch, quantity, value."""
        return self._gather("history", ("cell", "epoch", "quantity", "value"))

    def gallery(self, cells: Collection[str] | None = None) -> pd.DataFrame:
        """Return the stored example images and maps, one row per cell, method and image.

        Args:
            cells: keys of the cells to read; all finished cells if None.
        """
        if cells is not None and not any(key in cells for key in self.finished()):
            return pd.DataFrame(columns=list(EMPTY_COLUMNS["gallery"]))
        frame = self._gather("gallery", EMPTY_COLUMNS["gallery"], cells)
        return with_images(frame, self.path)

    def findings(self) -> dict[str, Findings]:
        """Return the findings of the trained objective of each finished cell, by cell key."""
        paths = {key: self.cell(key).path / "findings.json" for key in self.finished()}
        return {
            key: read_record(Findings, path) if path.is_file() else Findings()
            for key, path in paths.items()
        }

    def undefined(self) -> dict[str, tuple[str, ...]]:
        """Return the requested metrics without ground truth, by dataset."""
        datasets = {c.key: c.recipe.dataset for c in self.manifest().cells}
        undefined: dict[str, set[str]] = {}
        for key in self.finished():
            names = self.cell(key).record().undefined_metrics
            undefined.setdefault(datasets[key], set()).update(names)
        return {dataset: tuple(sorted(names)) for dataset, names in undefined.items() if names}

    def inference(self) -> pd.DataFrame:
        """Return the cost of a forward pass of each finished cell: cell, parameters, gigaflop.

        Cells stored before this cost was counted are left out.
        """
        columns = ("cell", "parameters", "gigaflop")
        records = []
        for key in self.finished():
            cost = self.cell(key).record().inference
            if cost is not None:
                records.append((key, cost.parameters, cost.gigaflop))
        return pd.DataFrame(records, columns=list(columns))

    def finished(self) -> list[str]:
        """Return the keys of the finished cells, in the manifest's order."""
        return [c.key for c in self.manifest().cells if self.cell(c.key).is_done]

    def failures(self) -> dict[str, Failure]:
        """Return the failure record of each cell whose last attempt failed, by cell key."""
        cells = {entry.key: self.cell(entry.key) for entry in self.manifest().cells}
        remedy = "remove it and repeat the command"
        return {
            key: read_record(Failure, cell.failure, remedy=remedy)
            for key, cell in cells.items()
            if cell.failed
        }

    def _gather(
        self, name: str, columns: tuple[str, ...], cells: Collection[str] | None = None
    ) -> pd.DataFrame:
        frames = []
        for key in self.finished():
            if cells is not None and key not in cells:
                continue
            frames.append(read_frame(self.cell(key).table(name), name, columns))
        self._check_found(frames)
        return pd.concat(frames, ignore_index=True)

    def _check_found(self, found: Sequence[Any]) -> None:
        if not found:
            raise MissingDataError(
                f"{self.path}: no finished cell yet; repeat `lico-bench run` to finish it"
            )


def read_run(path: str | Path) -> RunFolder:
    """Return the run at `path`.

    Raises:
        MissingDataError: if the folder holds no run.
        BrokenFileError: if its manifest is damaged.
    """
    folder = RunFolder(Path(path))
    folder.manifest()
    return folder


def newest_run(
    results: Path = Path("results"), *, accept: Callable[[RunFolder], bool] = lambda _run: True
) -> RunFolder:
    """Return the last changed run under `results` that `accept` returns True for.

    Published copies are skipped; a fresh checkout would make them the newest.

    Raises:
        MissingDataError: if there is no such run.
    """
    manifests = list(results.glob(f"*/{MANIFEST}")) if results.is_dir() else []

    def changed(path: Path) -> float:
        # A run that finds nothing to do still touches the lock.
        files = (file for file in path.parent.rglob("*") if file.name != LOCK)
        return max(file.stat().st_mtime for file in files)

    for path in sorted(manifests, key=changed, reverse=True):
        run = read_run(path.parent)
        if not run.is_published and accept(run):
            return run
    raise MissingDataError(f"no run under {results}/; make one with `lico-bench run`")


def _difference(stored: Manifest, manifest: Manifest) -> str:
    old, new = encode(stored.suite), encode(manifest.suite)
    changed = [name for name in new if name != "name" and old.get(name) != new[name]]
    return f"differs in: {', '.join(changed)}" if changed else "differs in data or code"


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write the manifest with its format and seal."""
    write_sealed(path, {"format": FORMAT, **encode(manifest)})


def _read_manifest(path: Path) -> Manifest:
    """Return the manifest at `path`.

    Raises:
        MissingDataError: if there is none.
        BrokenFileError: if it is unreadable, damaged, of another format, or against the schema.
    """
    check_is_run(path.parent)
    content = _manifest_values(path)
    if content.pop("format") != FORMAT:
        raise BrokenFileError(
            f"{path}: expected a manifest of format {FORMAT}; "
            "it was written by another version, start a new run with another --out"
        )
    return decode(Manifest, content, path)


def _is_of_other_version(path: Path) -> bool:
    """Return whether an unusable manifest is intact and of another format."""
    try:
        return _manifest_values(path)["format"] != FORMAT
    except (BrokenFileError, MissingDataError):
        return False


def _manifest_values(path: Path) -> JsonObject:
    """Return the values of an intact manifest of any format."""
    remedy = (
        "repeat the command that made this run, which quarantines the manifest and writes it again"
    )
    content = read_sealed(path, remedy=remedy)
    if "format" not in content:
        raise BrokenFileError(f"{path}: does not match its checksum; {remedy}")
    return content


def _check_without_manifest(root: Path, manifest: Manifest, problem: str) -> tuple[str, ...]:
    """Check a folder without a usable manifest and return the repairs it needs, as messages.

    Empty for a missing or empty folder.

    Args:
        manifest: of the suite that is to run in `root`.
        problem: what is wrong with the stored manifest.

    Raises:
        RunMismatchError: if the folder holds other files or cells of another suite.
        BrokenFileError: if the suite of its finished cells cannot be determined.
    """
    if not root.exists() or (root.is_dir() and all(p.name == LOCK for p in root.iterdir())):
        return ()
    path = root / MANIFEST
    if not path.exists() and (not (root / "cells").is_dir() or not _has_only_run_entries(root)):
        raise RunMismatchError(f"{root} exists and is not a run folder; choose another --out")
    found, wanted = _recorded_suite_keys(root), {cell.key for cell in manifest.cells}
    cells = _cells(root)
    if found - {manifest.suite_key} or any(cell.path.name not in wanted for cell in cells):
        raise RunMismatchError(
            f"{root}: {problem}, and it holds another suite; choose another --out, or repeat the "
            "command that made it"
        )
    if not found and any(cell.is_done for cell in cells):
        raise BrokenFileError(
            f"{root}: {problem}, and no file records the suite of its finished cells; "
            "restore the manifest, or start a new run with another --out"
        )
    return (f"{path}: {problem}; all other files belong to this suite, so it is written again",)


def _recorded_suite_keys(root: Path) -> set[str]:
    """Return the suite keys found in a damaged manifest and in the records of finished cells."""
    manifest = root / MANIFEST
    in_manifest = _SUITE_KEY.findall(manifest.read_bytes()) if manifest.is_file() else []
    return {key.decode() for key in in_manifest} | {
        key for cell in _cells(root) if (key := _suite_key(cell)) is not None
    }


def _has_only_run_entries(root: Path) -> bool:
    return all(path.name in RUN_ENTRIES or path.name[0] == "." for path in root.iterdir())


def _cells(root: Path) -> list[CellFolder]:
    cells = root / "cells"
    return [CellFolder(path) for path in sorted(cells.iterdir())] if cells.is_dir() else []


def _suite_key(cell: CellFolder) -> str | None:
    """Return the suite key that a cell records; None if it is unfinished, damaged or old."""
    try:
        return cell.record().suite_key
    except (BrokenFileError, MissingDataError):
        return None
