"""The layout of a run folder (stable): manifest, one folder per cell, the report.

RUN/manifest.json       suite, recipes, data found, class names, versions, metrics, protocols
RUN/lock                held by the process that is at work here
RUN/cells/<key>/        recipe.json model.safetensors (and .sha256) history.parquet findings.json
                        rows.parquet curves.parquet gallery.parquet
                        done.json (last: the cell is whole; size and SHA-256 of each file)
RUN/cells/<key>/failed.json  why the last try failed; gone when a next one starts
RUN/cells/<key>/parts/  scores of ranges of images while the cell is scored
RUN/cells/<key>/checkpoint.pt  and checkpoint.previous.pt, checkpoint.pt.sha256, while it is trained
RUN/damaged/            what was set aside, under the names it had
RUN/report/             report.html verdicts.json tables/ figures/
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from lico_bench.errors import BrokenFileError, MissingDataError, RunMismatchError
from lico_bench.records import CURVE_COLUMNS, ROW_COLUMNS
from lico_bench.store.cell_folder import EMPTY, CellFolder
from lico_bench.store.files import read_arrow, read_json, read_parquet
from lico_bench.store.lock import LOCK
from lico_bench.store.manifests import (
    is_of_other_version,
    judge_unnamed,
    keys_message,
    read_manifest,
    write_manifest,
)
from lico_bench.store.quarantine import DAMAGED, quarantine
from lico_bench.store.row_tables import Where, join_rows, keep_rows
from lico_bench.store.run_location import MANIFEST
from lico_bench.store.stored_gallery import with_images
from lico_bench.store.untrusted import check_failure, check_findings, check_inside, check_texts

# Columns of rows and curves that hold texts; one that stands in many rows is read once.
TEXTS = (
    "pair", "cell", "dataset", "source", "backbone", "arm", "labels", "image_id", "method",
    "metric", "protocol", "curve", "flag",
)  # fmt: skip
NUMBERS = {"rows": ("value",), "history": ("epoch", "value")}  # columns that are counted with
LISTS = {"curves": ("fractions", "values"), "gallery": ("map",)}


@dataclass(frozen=True)
class RunFolder:
    """One suite's results."""

    path: Path

    @property
    def is_published(self) -> bool:
        """Whether this is a copy without weights and images, as `publish` makes it."""
        return "weights" in self.manifest().get("left_out", ())

    def cell(self, key: str) -> CellFolder:
        """The folder of the cell called `key`.

        Raises:
            BrokenFileError: if a link leads to it, or the name out of the run.
        """
        cell = CellFolder(self.path / "cells" / key)
        check_inside(self.path, cell.parts)
        return cell

    @property
    def damaged(self) -> Path:
        """Where damaged files are set aside, under the names they had."""
        return self.path / DAMAGED

    @property
    def manifest_path(self) -> Path:
        """Where the manifest is; a folder without one is no run."""
        return self.path / MANIFEST

    def manifest(self) -> dict[str, Any]:
        """What this run is.

        Raises:
            MissingDataError: if the folder holds no run.
            BrokenFileError: if the manifest is unreadable, not what was written, or of another
                format.
        """
        return read_manifest(self.manifest_path)

    def check_for(self, manifest: dict[str, Any]) -> tuple[str, ...]:
        """What `open_for` would mend, in sentences; it raises as that does, and writes nothing."""
        try:
            found = self.manifest()
        except MissingDataError:
            return judge_unnamed(self.path, manifest, "its manifest is missing")
        except BrokenFileError:
            if is_of_other_version(self.manifest_path):
                raise
            return judge_unnamed(self.path, manifest, "its manifest is damaged")
        if found["suite_key"] != manifest["suite_key"]:
            raise RunMismatchError(
                f"{self.path} holds another suite ({_difference(found, manifest)}); "
                "choose another --out, or repeat the command that made it"
            )
        return ()

    def open_for(self, manifest: dict[str, Any]) -> tuple[str, ...]:
        """Write `manifest`, or accept the one that is there if it is of the same suite.

        A damaged or lost one is written anew where all else in the folder is of this suite. Needs
        the run's lock.

        Returns:
            What was mended, in sentences.

        Raises:
            RunMismatchError: if the folder holds another suite's run or something else.
            BrokenFileError: for a damaged manifest that nothing here can replace.
        """
        repaired = self.check_for(manifest)
        if repaired and not keys_message(self.path):
            # A cell's name says how it was trained and not what it was asked.
            for cell in manifest["cells"]:
                quarantine(self.path, self.cell(cell["key"]).parts)
        if repaired:
            quarantine(self.path, self.manifest_path)
        if not self.manifest_path.exists():
            write_manifest(self.manifest_path, manifest)
        return repaired

    def rows(
        self, columns: Sequence[str] = ROW_COLUMNS, *, where: Where | None = None
    ) -> pd.DataFrame:
        """Rows of every finished cell, one score of one image each.

        Args:
            columns: what is read; fewer columns take less time and memory.
            where: texts by column, `{"metric": {"deletion"}}`; rows of others are left out.

        Returns:
            Texts as categoricals with sorted categories.
        """
        return self._join("rows", columns, self.finished(), where or {})

    def curves(self, cells: Collection[str] | None = None) -> pd.DataFrame:
        """Insertion and deletion curves of finished cells, one curve of one image each.

        Args:
            cells: keys of the cells to read; all that are finished if None.

        Returns:
            Texts as categoricals with sorted categories.
        """
        keys = [key for key in self.finished() if cells is None or key in cells]
        return self._join("curves", CURVE_COLUMNS, keys, {})

    def _join(
        self, name: str, columns: Sequence[str], keys: Sequence[str], where: Where
    ) -> pd.DataFrame:
        """The columns of one table of each cell; of all of them one at a time is held twice."""
        self._check_found(keys)
        read = list(dict.fromkeys([*columns, *where]))

        def tables() -> Iterator[Any]:
            for key in keys:
                path = self.cell(key).table(name)
                table = _message(path, lambda path: read_arrow(path, read, texts=TEXTS))
                _check_columns(path, read, table.column_names)
                _check_kinds(path, name, table.slice(0, 1).to_pandas())
                check_texts(path, table)
                yield keep_rows(table, where)

        return join_rows(tables(), columns)

    def history(self) -> pd.DataFrame:
        """Training history of every finished cell: cell, epoch, quantity, value."""
        return self._gather("history", ("cell", "epoch", "quantity", "value"))

    def gallery(self, cells: Collection[str] | None = None) -> pd.DataFrame:
        """Some images with their maps, a row per cell, method and image.

        Args:
            cells: keys of the cells to read; all that are finished if None.
        """
        if cells is not None and not any(key in cells for key in self.finished()):
            return pd.DataFrame(columns=list(EMPTY["gallery"]))
        frame = self._gather("gallery", EMPTY["gallery"], cells)
        return with_images(frame, self.path)

    def findings(self) -> dict[str, dict[str, Any]]:
        """What the trained objective of each finished cell says of itself, by cell."""
        message: dict[str, dict[str, Any]] = {}
        for key in self.finished():
            path = self.cell(key).path / "findings.json"
            message[key] = read_json(path) if path.is_file() else {}
            check_findings(message[key], path)
        return message

    def undefined(self) -> dict[str, tuple[str, ...]]:
        """Metrics asked for that a dataset has no ground truth for, by dataset."""
        cells = {c["key"]: c["recipe"]["dataset"] for c in self.manifest()["cells"]}
        lacking: dict[str, set[str]] = {}
        for key in self.finished():
            facts = self.cell(key).facts()
            lacking.setdefault(cells[key], set()).update(facts.get("undefined_metrics", ()))
        return {dataset: tuple(sorted(names)) for dataset, names in lacking.items() if names}

    def inference(self) -> pd.DataFrame:
        """What one forward of each finished cell's classifier takes: cell, parameters, gigaflop.

        Cells that were stored before this was counted are not in it.
        """
        columns = ("cell", "parameters", "gigaflop")
        records = []
        for key in self.finished():
            counted = self.cell(key).facts().get("inference")
            if counted is not None:
                records.append((key, counted["parameters"], counted["gigaflop"]))
        return pd.DataFrame(records, columns=list(columns))

    def finished(self) -> list[str]:
        """Keys of the finished cells, in the manifest's order."""
        return [c["key"] for c in self.manifest()["cells"] if self.cell(c["key"]).is_done]

    def failures(self) -> dict[str, dict[str, Any]]:
        """What went wrong with each cell whose last try failed, by its key."""
        message: dict[str, dict[str, Any]] = {}
        for entry in self.manifest()["cells"]:
            cell = self.cell(entry["key"])
            if cell.failed:
                message[entry["key"]] = read_json(cell.failure)
                check_failure(message[entry["key"]], cell.failure)
        return message

    def _gather(
        self, name: str, columns: tuple[str, ...], cells: Collection[str] | None = None
    ) -> pd.DataFrame:
        frames = []
        for key in self.finished():
            if cells is not None and key not in cells:
                continue
            path = self.cell(key).table(name)
            frame: pd.DataFrame = _message(path, read_parquet)
            _check_columns(path, columns, frame.columns)
            _check_kinds(path, name, frame)
            check_texts(path, frame)
            frames.append(frame)
        self._check_found(frames)
        return pd.concat(frames, ignore_index=True)

    def _check_found(self, found: Sequence[Any]) -> None:
        if not found:
            raise MissingDataError(
                f"{self.path}: no finished cell yet; repeat `lico-bench run` to finish it"
            )


def _message(path: Path, read: Callable[[Path], Any]) -> Any:
    """A table of a finished cell; where it is damaged, what makes it anew."""
    remedy = f"delete {path.parent / 'done.json'} and repeat the same `lico-bench run`"
    try:
        return read(path)
    except MissingDataError as error:
        raise MissingDataError(f"{path} of a finished cell is missing; {remedy}") from error
    except BrokenFileError as error:
        raise BrokenFileError(f"{path}: not a whole Parquet file; {remedy}") from error


def _check_columns(path: Path, wanted: Collection[str], found: Collection[str]) -> None:
    missing = [column for column in wanted if column not in found]
    if missing:
        raise BrokenFileError(
            f"{path}: columns missing: {', '.join(missing)}; "
            "it was not written by this version, start a new run"
        )


def _check_kinds(path: Path, name: str, frame: pd.DataFrame) -> None:
    """Raise unless the columns that are computed with hold numbers, or lists of them."""
    if frame.empty:
        return
    numbers = [column for column in NUMBERS.get(name, ()) if column in frame]
    wrong = [column for column in numbers if not is_numeric_dtype(frame[column])]
    wrong += [c for c in LISTS.get(name, ()) if not _holds_lists(frame, c)]
    if wrong:
        got = f"{frame[wrong[0]].iloc[0]!r:.40}"
        raise BrokenFileError(
            f"{path}: expected numbers in the column {wrong[0]}, got {got}; it was "
            "not written by this version, start a new run"
        )


def _holds_lists(frame: pd.DataFrame, column: str) -> bool:
    if column not in frame:  # told by who reads the table
        return True
    first = frame[column].iloc[0]
    return isinstance(first, np.ndarray) and is_numeric_dtype(first.dtype)


def read_run(path: str | Path) -> RunFolder:
    """The run at `path`, checked to be one."""
    folder = RunFolder(Path(path))
    folder.manifest()
    return folder


def newest_run(
    results: Path = Path("results"), *, accept: Callable[[RunFolder], bool] = lambda _run: True
) -> RunFolder:
    """The run under `results` whose manifest or cells changed last, of those that `accept` takes.

    A published copy is never meant unless it is named: a checkout alone would make it the newest.

    Raises:
        MissingDataError: if there is none.
    """
    manifests = list(results.glob(f"*/{MANIFEST}")) if results.is_dir() else []

    def changed(path: Path) -> float:
        # The lock is touched by who looks whether there is something to do.
        found = (one for one in path.parent.rglob("*") if one.name != LOCK)
        return max(one.stat().st_mtime for one in found)

    for path in sorted(manifests, key=changed, reverse=True):
        run = read_run(path.parent)
        if not run.is_published and accept(run):
            return run
    raise MissingDataError(f"no run under {results}/; make one with `lico-bench run`")


def _difference(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    here, there = found.get("suite", {}), wanted["suite"]
    changed = [n for n in there if n != "name" and here.get(n) != there[n]]
    return f"differs in: {', '.join(changed)}" if changed else "differs in data or code"
