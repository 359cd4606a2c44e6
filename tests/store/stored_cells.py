"""Run folders with real files and invented content, without a training."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lico_bench.records import CURVE_COLUMNS, ROW_COLUMNS
from lico_bench.store import CellFolder, RunFolder, seal_cell, write_json, write_parquet
from lico_bench.store.run_records import CellRecord, Manifest
from tests.manifests import manifest_from

SUITE_KEY = "0123456789ab"
PARTS = ("classified-00000000-00000004", "scored-00000000-00000002", "scored-00000002-00000004")


def manifest_of(*cells: str, key: str = SUITE_KEY) -> Manifest:
    return manifest_from(
        {
            "suite_key": key,
            "suite": {"name": "invented", "salt": key},
            "cells": [
                {"key": cell, "pair": "p", "recipe": {"dataset": "d", "arm": "lico", "seed": 0}}
                for cell in cells
            ],
        }
    )


def new_run(path, *cells: str) -> RunFolder:
    run = RunFolder(path)
    run.open_for(manifest_of(*cells))
    return run


def tables_of(cell: str, part: str) -> dict[str, pd.DataFrame]:
    """Return the tables of a part: two images, one of them in the gallery."""
    base = dict.fromkeys(ROW_COLUMNS, "x") | {"cell": cell, "pair": "p", "metric": "insertion"}
    images = [f"{part} {i}" for i in range(2)]
    rows = [base | {"image_id": image, "value": 0.5} for image in images]
    if part.startswith("classified"):
        empty = pd.DataFrame()
        return {"rows": pd.DataFrame(rows), "curves": empty, "gallery": empty}
    curve = dict.fromkeys(CURVE_COLUMNS, "x") | {"cell": cell, "pair": "p", "curve": "insertion"}
    numbers = {"fractions": np.linspace(0, 1, 3), "values": np.linspace(1, 0, 3)}
    curves = [curve | {"image_id": image} | numbers for image in images]
    gallery = [{"cell": cell, "image_id": images[0], "method": "m", "map": np.zeros(4)}]
    frames = {"rows": rows, "curves": curves, "gallery": gallery}
    return {name: pd.DataFrame(records) for name, records in frames.items()}


def train(run: RunFolder, key: str) -> CellFolder:
    """Return a trained cell."""
    cell = run.cell(key)
    entry = next(entry for entry in run.manifest().cells if entry.key == key)
    write_json(cell.recipe, entry)
    write_parquet(cell.table("history"), pd.DataFrame({"cell": [key], "value": [1.0]}))
    write_json(cell.path / "findings.json", {})
    cell.write_weights(f"weights of {key}".encode())
    return cell


def score(run: RunFolder, key: str) -> CellFolder:
    """Return a cell with scored parts."""
    cell = run.cell(key)
    for part in PARTS:
        cell.write_part(part, tables_of(key, part))
    return cell


def finish(run: RunFolder, key: str) -> CellFolder:
    """Return a finished cell."""
    train(run, key)
    cell = score(run, key)
    seal_cell(run, key, CellRecord(rows=cell.merge_parts()))
    return cell
