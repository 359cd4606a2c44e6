"""The numbers that others published, read from `baselines/published/*.csv` and checked.

What each column means and how a number is filled in stands in the README of that folder.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from lico_bench.errors import BrokenFileError, MissingDataError
from lico_bench.runtime import shipped

PUBLISHED_COLUMNS = (
    "source", "table", "locator", "dataset", "backbone", "labels", "arm", "reading", "method",
    "metric", "setting", "pictures", "protocol", "value", "confidence", "note",
)  # fmt: skip
KEY_COLUMNS = (
    "source", "table", "dataset", "backbone", "labels", "arm", "method", "metric", "setting",
    "pictures",
)  # fmt: skip
UNCONFIRMED = "unconfirmed"
CONFIDENCES = MappingProxyType(
    {
        "read": "read in the source itself",
        "recomputed": "recomputed from numbers read in the source",
        "second_hand": "second hand, quoted by others",
        UNCONFIRMED: "not confirmed",
    }
)
TABLES = (
    "insertion_deletion", "pointing_game", "accuracy", "limited_labels", "fine_grained",
    "ablation", "tokens", "other",
)  # fmt: skip
# Names of the registries, which this room may not open; tests hold the two together.
ARMS = (
    "", "baseline", "cgc", "lico", "lico_authors_code", "lico_bartak", "lico_fletcher",
    "lico_fletcher_january", "lico_mm", "lico_ot", "lico_random_text", "lico_response",
    "lico_shuffled_names",
)  # fmt: skip
METHODS = (
    "", "ablation_cam", "eigen_cam", "grad_cam", "grad_cam_plus_plus", "gradient", "group_cam",
    "guided_backprop", "hires_cam", "integrated_gradients", "layer_cam", "occlusion", "rise",
    "score_cam", "smooth_grad", "xgrad_cam",
)  # fmt: skip
PROTOCOLS = (
    "", "authors_figure_2023", "bartak_2024", "fletcher_2024", "fletcher_2024_large",
    "lico_bench_1", "rise_2018",
)  # fmt: skip
BOUNDS = MappingProxyType(
    {
        "accuracy": (0.0, 1.0), "insertion": (0.0, 1.0), "deletion": (0.0, 1.0),
        "overall": (-1.0, 1.0), "pointing_game": (0.0, 1.0), "ses": (-1.0, 1.0), "sch": (0.0, 1.0),
    }
)  # fmt: skip
CHOICES = MappingProxyType(
    {
        "table": TABLES, "arm": ARMS, "reading": ARMS, "method": METHODS, "metric": tuple(BOUNDS),
        "protocol": PROTOCOLS, "confidence": tuple(CONFIDENCES),
    }
)  # fmt: skip
NAME = re.compile(r"[a-z0-9_]+")


def read_published(folder: str | Path | None = None) -> pd.DataFrame:
    """Every published number, one row each, in the order of the files' names.

    Args:
        folder: with the CSV files; None takes the ones that come with lico-bench.

    Returns:
        Columns `PUBLISHED_COLUMNS`, `decimals` (of `value`, as printed; 0 where there is none) and
        `file` (its stem). `value` is in the metric's own unit, probabilities and shares in [0, 1];
        it is NaN where `confidence` is `unconfirmed` and nowhere else. All other columns are text,
        empty where the source does not tell.

    Raises:
        MissingDataError: if the folder is missing or holds no CSV file.
        BrokenFileError: for a file that is no such table; the sentence names file and line.
    """
    place = shipped("baselines") / "published" if folder is None else Path(folder)
    paths = sorted(place.glob("*.csv"))
    if not paths:
        raise MissingDataError(
            f"no published numbers in {place}: expected a folder with CSV files; name another"
        )
    rows = [row for path in paths for row in _rows(path)]
    return pd.DataFrame(rows, columns=[*PUBLISHED_COLUMNS, "decimals", "file"])


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BrokenFileError(
            f"{path}: not readable as UTF-8 text ({error}); restore it from version control"
        ) from error
    reader = csv.DictReader(text.splitlines())
    missing = [name for name in PUBLISHED_COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise BrokenFileError(
            f"{path}: columns missing: {', '.join(missing)}; its first line names the columns"
        )
    first_lines: dict[tuple[str, ...], int] = {}
    for cells in reader:
        where = f"{path}, line {reader.line_num}"
        if None in cells or None in cells.values():
            raise BrokenFileError(
                f"{where}: expected {len(PUBLISHED_COLUMNS)} cells, got another number; put a text "
                "that holds a comma into quotation marks"
            )
        row = _checked({name: cells[name].strip() for name in PUBLISHED_COLUMNS}, where)
        key = tuple(row[name] for name in KEY_COLUMNS)
        if key in first_lines:
            raise BrokenFileError(
                f"{where}: the same number as in line {first_lines[key]} "
                f"({', '.join(filter(None, key))}); remove one"
            )
        first_lines[key] = reader.line_num
        yield {**row, "file": path.stem}


def _checked(row: dict[str, str], where: str) -> dict[str, Any]:
    for name, known in CHOICES.items():
        if row[name] not in known:
            raise BrokenFileError(
                f"{where}: {name}: expected one of {', '.join(filter(None, known))}, "
                f"got '{row[name]}'"
            )
    for name in ("source", "locator"):
        if not row[name]:
            raise BrokenFileError(f"{where}: {name}: expected where the number stands, got nothing")
    for name in ("dataset", "backbone"):
        if not NAME.fullmatch(row[name] or ("x" if name == "backbone" else "")):
            raise BrokenFileError(
                f"{where}: {name}: expected a name of small letters, digits and underscores, "
                f"got '{row[name]}'"
            )
    if row["labels"] != "full" and not re.fullmatch(r"[1-9]\d*", row["labels"]):
        raise BrokenFileError(
            f"{where}: labels: expected full or a whole number, got '{row['labels']}'"
        )
    return {**row, **_number(row, where)}


def _number(row: dict[str, str], where: str) -> dict[str, Any]:
    """Value and printed decimals; there is none exactly where nobody confirmed the number."""
    is_open = row["confidence"] == UNCONFIRMED
    if is_open != (row["value"] == ""):
        message = "a value that is 'unconfirmed'" if is_open else "no value"
        raise BrokenFileError(
            f"{where}: value: expected a number, or none and the confidence 'unconfirmed', "
            f"got {message}; write a value together with how it is known: "
            f"{', '.join(name for name in CONFIDENCES if name != UNCONFIRMED)}"
        )
    if is_open:
        return {"value": math.nan, "decimals": 0}
    matched = re.fullmatch(r"-?\d+(?:\.(\d+))?", row["value"])
    low, high = BOUNDS[row["metric"]]
    if matched is None or not low <= float(row["value"]) <= high:
        raise BrokenFileError(
            f"{where}: value: expected a number in [{low:g}, {high:g}], a share and not percent, "
            f"got '{row['value']}'"
        )
    return {"value": float(row["value"]), "decimals": len(matched[1] or "")}
