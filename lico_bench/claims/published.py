"""Reading and validation of published numbers in `baselines/published/*.csv`.

The README of that folder describes the columns.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType

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
# Names in the registries, which this package may not import; tests compare the two.
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
    """Return the published numbers, one per row, in the order of the file names.

    Args:
        folder: folder of CSV files; None reads the files shipped with the package.

    Returns:
        Columns `PUBLISHED_COLUMNS`, `decimals` (printed decimals of `value`; 0 without a value) and
        `file` (file stem). `value` is in the unit of the metric, probabilities and shares in
        [0, 1]; it is NaN exactly where `confidence` is `unconfirmed`. All other columns are text,
        empty where the source does not state them.

    Raises:
        MissingDataError: if the folder is missing or holds no CSV file.
        BrokenFileError: for an invalid file; the message names file and line.
    """
    source = shipped("baselines") / "published" if folder is None else Path(folder)
    paths = sorted(source.glob("*.csv"))
    if not paths:
        raise MissingDataError(
            f"no published numbers in {source}: expected a folder with CSV files; name another"
        )
    rows = [row for path in paths for row in _rows(path)]
    return pd.DataFrame(rows, columns=[*PUBLISHED_COLUMNS, "decimals", "file"])


def _rows(path: Path) -> Iterator[dict[str, object]]:
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
            f"{path}: columns missing: {', '.join(missing)}; name all columns in the first line"
        )
    first_lines: dict[tuple[str, ...], int] = {}
    for cells in reader:
        where = f"{path}, line {reader.line_num}"
        if None in cells or None in cells.values():
            raise BrokenFileError(
                f"{where}: expected {len(PUBLISHED_COLUMNS)} cells, got another number; quote "
                "texts that contain a comma"
            )
        row = {name: cells[name].strip() for name in PUBLISHED_COLUMNS}
        _check_texts(row, where)
        value, decimals = _number(row, where)
        key = tuple(row[name] for name in KEY_COLUMNS)
        if key in first_lines:
            raise BrokenFileError(
                f"{where}: same entry as in line {first_lines[key]} "
                f"({', '.join(filter(None, key))}); remove one"
            )
        first_lines[key] = reader.line_num
        yield {**row, "value": value, "decimals": decimals, "file": path.stem}


def _check_texts(row: dict[str, str], where: str) -> None:
    for name, known in CHOICES.items():
        if row[name] not in known:
            raise BrokenFileError(
                f"{where}: {name}: expected one of {', '.join(filter(None, known))}, "
                f"got '{row[name]}'"
            )
    for name in ("source", "locator"):
        if not row[name]:
            raise BrokenFileError(
                f"{where}: {name}: expected where the number is printed, got nothing"
            )
    for name in ("dataset", "backbone"):
        if not NAME.fullmatch(row[name] or ("x" if name == "backbone" else "")):
            raise BrokenFileError(
                f"{where}: {name}: expected a name of lower-case letters, digits and underscores, "
                f"got '{row[name]}'"
            )
    if row["labels"] != "full" and not re.fullmatch(r"[1-9]\d*", row["labels"]):
        raise BrokenFileError(
            f"{where}: labels: expected full or a whole number, got '{row['labels']}'"
        )


def _number(row: dict[str, str], where: str) -> tuple[float, int]:
    """Return value and printed decimals; only an unconfirmed number has no value."""
    is_unconfirmed = row["confidence"] == UNCONFIRMED
    if is_unconfirmed != (row["value"] == ""):
        got = "a value that is 'unconfirmed'" if is_unconfirmed else "no value"
        raise BrokenFileError(
            f"{where}: value: expected a number, or none and the confidence 'unconfirmed', "
            f"got {got}; give a value together with one of "
            f"{', '.join(name for name in CONFIDENCES if name != UNCONFIRMED)}"
        )
    if is_unconfirmed:
        return math.nan, 0
    matched = re.fullmatch(r"-?\d+(?:\.(\d+))?", row["value"])
    low, high = BOUNDS[row["metric"]]
    if matched is None or not low <= float(row["value"]) <= high:
        raise BrokenFileError(
            f"{where}: value: expected a number in [{low:g}, {high:g}] (a fraction, not percent), "
            f"got '{row['value']}'"
        )
    return float(row["value"]), len(matched[1] or "")
