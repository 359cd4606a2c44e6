"""Publication of a run: a small copy with the data behind its tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd

from lico_bench.errors import InvalidInputError, MissingDataError
from lico_bench.store.cell_folder import EMPTY_COLUMNS, CellFolder
from lico_bench.store.files import pack_parquet, write_bytes, write_json, write_parquet
from lico_bench.store.integrity import check_cell, seal_cell
from lico_bench.store.manifests import RUN_ENTRIES, write_manifest
from lico_bench.store.run_folder import RunFolder

LEFT_OUT = ("curves", "gallery")  # per-image tables that no number of a report depends on
KEPT_FILES = ("recipe.json", "findings.json")
KEPT_TABLES = ("history", "rows")


def publish(run: RunFolder, folder: Path) -> RunFolder:
    """Copy the data behind the reported numbers of `run` into `folder`; return the copy.

    Rows and histories are copied with stronger compression. Weights, curves and images are left
    out, so the copy cannot be scored again and its report has no curves and no gallery.

    Raises:
        MissingDataError: if no cell of the run is finished.
        InvalidInputError: if `folder` already holds a run, or a file of the run is damaged.
    """
    manifest, keys = run.manifest(), run.finished()
    if not keys:
        raise MissingDataError(f"{run.path}: no cell is finished; finish the run first")
    existing = next((folder / name for name in RUN_ENTRIES if (folder / name).exists()), None)
    if existing is not None:
        raise InvalidInputError(f"{existing} exists; remove it, or name another folder")
    for key in keys:
        for damage in check_cell(run.cell(key)):
            raise InvalidInputError(f"{damage}; `lico-bench verify --repair` quarantines it")
    copy = RunFolder(folder)
    write_manifest(copy.manifest_path, replace(manifest, left_out=("weights", *LEFT_OUT)))
    for key in keys:
        _copy_cell(run.cell(key), copy.cell(key))
        seal_cell(copy, key, run.cell(key).record())
    for key, failure in run.failures().items():
        write_json(copy.cell(key).failure, failure)
    return copy


def _copy_cell(cell: CellFolder, copy: CellFolder) -> None:
    for name in KEPT_FILES:
        if (cell.path / name).is_file():
            write_bytes(copy.path / name, (cell.path / name).read_bytes())
    for name in KEPT_TABLES:
        pack_parquet(cell.table(name), copy.table(name))
    for name in LEFT_OUT:
        write_parquet(copy.table(name), pd.DataFrame(columns=list(EMPTY_COLUMNS[name])))
