"""A run as published evidence: what its tables are made of, without what makes it large."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lico_bench.errors import InvalidInputError, MissingDataError
from lico_bench.store.cell_folder import EMPTY, CellFolder
from lico_bench.store.files import pack_parquet, write_bytes, write_json, write_parquet
from lico_bench.store.integrity import check_cell, seal_cell
from lico_bench.store.manifests import OURS, write_manifest
from lico_bench.store.run_folder import RunFolder

LEFT_OUT = ("curves", "gallery")  # tables of single images that no number of a report rests on
KEPT_FILES = ("recipe.json", "findings.json")
KEPT_TABLES = ("history", "rows")


def publish(run: RunFolder, folder: Path) -> RunFolder:
    """Copy into `folder`, which holds no run, all that the numbers of `run` rest on.

    Rows and histories are the run's own, packed tighter. Weights, curves and images are left out:
    the copy cannot be scored again, and its report has no curves and no gallery.

    Raises:
        MissingDataError: if no cell of the run is finished.
        InvalidInputError: if `folder` holds a run already, or a file of the run is damaged.
    """
    manifest, keys = run.manifest(), run.finished()
    if not keys:
        raise MissingDataError(f"{run.path}: no cell is finished; run it first")
    taken = next((folder / name for name in OURS if (folder / name).exists()), None)
    if taken is not None:
        raise InvalidInputError(f"{taken} exists; remove it, or name another folder")
    for key in keys:
        for damage in check_cell(run.cell(key)):
            raise InvalidInputError(f"{damage}; `lico-bench verify --repair` sets it aside")
    copy = RunFolder(folder)
    write_manifest(copy.manifest_path, {**manifest, "left_out": ["weights", *LEFT_OUT]})
    for key in keys:
        _copy_cell(run.cell(key), copy.cell(key))
        seal_cell(copy, key, run.cell(key).facts())
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
        write_parquet(copy.table(name), pd.DataFrame(columns=list(EMPTY[name])))
