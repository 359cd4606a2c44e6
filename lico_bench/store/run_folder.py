"""The layout of a run folder (stable): manifest, one folder per cell, the report.

RUN/manifest.json       suite, recipes, data found, class names, versions, metrics, protocols
RUN/cells/<key>/        recipe.json model.safetensors history.parquet findings.json rows.parquet
                        curves.parquet gallery.parquet done.json (last: the cell is whole)
RUN/cells/<key>/parts/  scores of ranges of pictures while the cell is scored
RUN/report/             report.html verdicts.json tables/ figures/
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from lico_bench.errors import BrokenFileError, MissingDataError, RunMismatchError
from lico_bench.records import CURVE_COLUMNS, ROW_COLUMNS
from lico_bench.store.files import merge_parquet, read_json, read_parquet, write_json, write_parquet
from lico_bench.store.stored_gallery import with_pictures

FORMAT = 1
SCORE_TABLES = ("rows", "curves", "gallery")
NUMBERS = {"rows": ("value",), "history": ("epoch", "value")}  # columns that are counted with
LISTS = {"curves": ("fractions", "values"), "gallery": ("map",)}
EMPTY = {"rows": ROW_COLUMNS, "curves": CURVE_COLUMNS, "gallery": ("cell", "image_id", "method")}


@dataclass(frozen=True)
class CellFolder:
    """The files of one trained model and its scores."""

    path: Path

    @property
    def is_done(self) -> bool:
        """Whether everything of this cell was written."""
        return (self.path / "done.json").is_file()

    @property
    def model(self) -> Path:
        """Weights of the classifier alone, safetensors."""
        return self.path / "model.safetensors"

    @property
    def checkpoint(self) -> Path:
        """State of an unfinished training; gone when the training is done."""
        return self.path / "checkpoint.pt"

    def table(self, name: str) -> Path:
        """Path of `rows`, `curves`, `history` or `gallery`."""
        return self.path / f"{name}.parquet"

    @property
    def parts(self) -> Path:
        """Where the scores of ranges of pictures lie until the cell is whole."""
        return self.path / "parts"

    def part_rows(self, part: str) -> pd.DataFrame | None:
        """The rows of a stored part; None if it is not there."""
        path = self.parts / f"{part}.rows.parquet"
        return read_parquet(path) if path.is_file() else None

    def write_part(self, part: str, tables: Mapping[str, pd.DataFrame]) -> None:
        """Store the tables of a part; its rows come last: where they are, it is whole."""
        for name in SCORE_TABLES[::-1]:
            if not tables[name].empty:
                write_parquet(self.parts / f"{part}.{name}.parquet", tables[name])

    def join_parts(self, *, without: Sequence[str] = ()) -> int:
        """Make the cell's tables of its parts, in bounded memory; the number of rows.

        Args:
            without: metrics whose rows are left out.
        """
        counts = {}
        for name in SCORE_TABLES:
            found = sorted(self.parts.glob(f"*.{name}.parquet"))
            if found:
                dropped = without if name == "rows" else ()
                counts[name] = merge_parquet(found, self.table(name), without=dropped)
            else:
                write_parquet(self.table(name), pd.DataFrame(columns=list(EMPTY[name])))
        return counts["rows"]

    def drop_parts(self) -> None:
        """Remove the parts; what they hold is in the tables."""
        shutil.rmtree(self.parts, ignore_errors=True)


@dataclass(frozen=True)
class RunFolder:
    """One suite's results."""

    path: Path

    def cell(self, key: str) -> CellFolder:
        """The folder of the cell called `key`."""
        return CellFolder(self.path / "cells" / key)

    @property
    def manifest_path(self) -> Path:
        """Where the manifest is; a folder without one is no run."""
        return self.path / "manifest.json"

    def manifest(self) -> dict[str, Any]:
        """What this run is.

        Raises:
            MissingDataError: if the folder holds no run.
            BrokenFileError: if the manifest is unreadable or of another format.
        """
        if not self.manifest_path.is_file():
            raise MissingDataError(
                f"{self.path} is not a run folder (no manifest.json); "
                "name one that `lico-bench run` made"
            )
        manifest = read_json(self.manifest_path)
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            raise BrokenFileError(
                f"{self.manifest_path}: expected a manifest of format {FORMAT}; "
                "it was written by another version, start a new run with another --out"
            )
        return manifest

    def open_for(self, manifest: dict[str, Any]) -> None:
        """Write `manifest`, or accept the one that is there if it is of the same suite.

        Raises:
            RunMismatchError: if the folder holds another suite's run or something else.
        """
        if self.manifest_path.exists():
            found = self.manifest()
            if found["suite_key"] != manifest["suite_key"]:
                raise RunMismatchError(
                    f"{self.path} holds another suite ({_difference(found, manifest)}); "
                    "choose another --out, or repeat the command that made it"
                )
            return
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise RunMismatchError(
                f"{self.path} exists and is not a run folder; choose another --out"
            )
        write_json(self.manifest_path, {"format": FORMAT, **manifest})

    def rows(self) -> pd.DataFrame:
        """Rows of every finished cell, one score of one image each."""
        return self._gather("rows", ROW_COLUMNS)

    def curves(self) -> pd.DataFrame:
        """Insertion and deletion curves of every finished cell, one curve of one image each."""
        return self._gather("curves", CURVE_COLUMNS)

    def history(self) -> pd.DataFrame:
        """Training history of every finished cell: cell, epoch, quantity, value."""
        return self._gather("history", ("cell", "epoch", "quantity", "value"))

    def gallery(self, cells: Collection[str] | None = None) -> pd.DataFrame:
        """Some pictures with their maps, a row per cell, method and picture.

        Args:
            cells: keys of the cells to read; all that are finished if None.
        """
        if cells is not None and not any(key in cells for key in self.finished()):
            return pd.DataFrame(columns=list(EMPTY["gallery"]))
        frame = self._gather("gallery", EMPTY["gallery"], cells)
        return with_pictures(frame, self.path)

    def findings(self) -> dict[str, dict[str, Any]]:
        """What the trained objective of each finished cell says of itself, by cell."""
        told = {key: self.cell(key).path / "findings.json" for key in self.finished()}
        return {key: read_json(path) if path.is_file() else {} for key, path in told.items()}

    def undefined(self) -> dict[str, tuple[str, ...]]:
        """Metrics asked for that a dataset has no ground truth for, by dataset."""
        cells = {c["key"]: c["recipe"]["dataset"] for c in self.manifest()["cells"]}
        lacking: dict[str, set[str]] = {}
        for key in self.finished():
            facts = read_json(self.cell(key).path / "done.json")
            lacking.setdefault(cells[key], set()).update(facts.get("undefined_metrics", ()))
        return {dataset: tuple(sorted(names)) for dataset, names in lacking.items() if names}

    def inference(self) -> pd.DataFrame:
        """What one forward of each finished cell's classifier takes: cell, parameters, gigaflop.

        Cells that were stored before this was counted are not in it.
        """
        columns = ("cell", "parameters", "gigaflop")
        records = []
        for key in self.finished():
            counted = read_json(self.cell(key).path / "done.json").get("inference")
            if counted is not None:
                records.append((key, counted["parameters"], counted["gigaflop"]))
        return pd.DataFrame(records, columns=list(columns))

    def finished(self) -> list[str]:
        """Keys of the finished cells, in the manifest's order."""
        return [c["key"] for c in self.manifest()["cells"] if self.cell(c["key"]).is_done]

    def _gather(
        self, name: str, columns: tuple[str, ...], cells: Collection[str] | None = None
    ) -> pd.DataFrame:
        frames = []
        for key in self.finished():
            if cells is not None and key not in cells:
                continue
            path = self.cell(key).table(name)
            frame = _read_table(path)
            missing = [column for column in columns if column not in frame.columns]
            if missing:
                raise BrokenFileError(
                    f"{path}: columns missing: {', '.join(missing)}; "
                    "it was not written by this version, start a new run"
                )
            _check_kinds(path, name, frame)
            frames.append(frame)
        if not frames:
            raise MissingDataError(
                f"{self.path}: no finished cell yet; repeat `lico-bench run` to finish it"
            )
        return pd.concat(frames, ignore_index=True)


def _read_table(path: Path) -> pd.DataFrame:
    """A table of a finished cell; where it is damaged, what makes it anew."""
    remedy = f"delete {path.parent / 'done.json'} and repeat the same `lico-bench run`"
    try:
        return read_parquet(path)
    except MissingDataError as error:
        raise MissingDataError(f"{path} of a finished cell is missing; {remedy}") from error
    except BrokenFileError as error:
        raise BrokenFileError(f"{path}: not a whole Parquet file; {remedy}") from error


def _check_kinds(path: Path, name: str, frame: pd.DataFrame) -> None:
    """Raise unless the columns that are computed with hold numbers, or lists of them."""
    if frame.empty:
        return
    wrong = [c for c in NUMBERS.get(name, ()) if not is_numeric_dtype(frame[c])]
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

    Raises:
        MissingDataError: if there is none.
    """
    manifests = list(results.glob("*/manifest.json")) if results.is_dir() else []

    def changed(path: Path) -> float:
        return max(found.stat().st_mtime for found in path.parent.rglob("*"))

    for path in sorted(manifests, key=changed, reverse=True):
        run = read_run(path.parent)
        if accept(run):
            return run
    raise MissingDataError(f"no run under {results}/; make one with `lico-bench run`")


def _difference(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    here, there = found.get("suite", {}), wanted["suite"]
    changed = [n for n in there if n != "name" and here.get(n) != there[n]]
    return f"differs in: {', '.join(changed)}" if changed else "differs in data or code"
