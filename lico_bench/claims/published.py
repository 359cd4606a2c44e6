"""Reading and validation of published numbers in `baselines/published/*.csv`.

The README of that folder describes the columns.
"""

from __future__ import annotations

import csv
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
    "", "baseline", "cgc", "lico", "lico_as_published", "lico_authors_code", "lico_bartak", "lico_fletcher",
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
_NAME = "a name of lower-case letters, digits and underscores"
# Column, pattern of its text and what that is.
TEXTS = (
    ("source", ".+", "where the number is printed"),
    ("locator", ".+", "where the number is printed"),
    ("dataset", "[a-z0-9_]+", _NAME),
    ("backbone", "[a-z0-9_]*", _NAME),
    ("labels", r"full|[1-9]\d*", "full or a whole number"),
)


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
        problem, row = "", {}
        if None in cells or None in cells.values():
            problem = (
                f"expected {len(PUBLISHED_COLUMNS)} cells, got another number; quote texts that "
                "contain a comma"
            )
        else:
            row = {name: cells[name].strip() for name in PUBLISHED_COLUMNS}
            problem = _problem(row)
        key = tuple(row.get(name, "") for name in KEY_COLUMNS)
        first = first_lines.setdefault(key, reader.line_num)
        if not problem and first != reader.line_num:
            entry = ", ".join(filter(None, key))
            problem = f"same entry as in line {first} ({entry}); remove one"
        if problem:
            raise BrokenFileError(f"{path}, line {reader.line_num}: {problem}")
        value = float(row["value"] or "nan")
        decimals = len(row["value"].partition(".")[2])
        yield {**row, "value": value, "decimals": decimals, "file": path.stem}


def _problem(row: dict[str, str]) -> str:
    """Return what is wrong with the cells of a row, or ""."""
    for name, known in CHOICES.items():
        if row[name] not in known:
            return f"{name}: expected one of {', '.join(filter(None, known))}, got '{row[name]}'"
    for name, pattern, expected in TEXTS:
        if not re.fullmatch(pattern, row[name]):
            return f"{name}: expected {expected}, got '{row[name]}'"
    is_unconfirmed = row["confidence"] == UNCONFIRMED
    if is_unconfirmed != (row["value"] == ""):
        got = "a value that is 'unconfirmed'" if is_unconfirmed else "no value"
        confirmed = ", ".join(name for name in CONFIDENCES if name != UNCONFIRMED)
        return (
            "value: expected a number, or none and the confidence 'unconfirmed', "
            f"got {got}; give a value together with one of {confirmed}"
        )
    low, high = BOUNDS[row["metric"]]
    is_number = re.fullmatch(r"-?\d+(\.\d+)?", row["value"])
    if not is_unconfirmed and not (is_number and low <= float(row["value"]) <= high):
        return (
            f"value: expected a number in [{low:g}, {high:g}] (a fraction, not percent), "
            f"got '{row['value']}'"
        )
    return ""
