"""Values in the paper's tables: published ones and those of a run, as entries with keys.

The structure of the tables and the display names of published values are read from `paper.toml`.
Values of a run bring their own names. This package must not import the registries and dataset
cards; tests check that the names agree with them.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from lico_bench.claims.published import CONFIDENCES, UNCONFIRMED
from lico_bench.number_text import MINUS
from lico_bench.records import MetricSpec
from lico_bench.report import formatting
from lico_bench.report.content import Block, ReportContent
from lico_bench.report.tables import Cell
from lico_bench.stats import MODEL_SCORES
from lico_bench.store.codec import decode

Score = dict[str, Any]

PAIR = ("baseline", "lico")
TOKENS = "num_context"  # option of LICO, as in `--set objective.NAME=VALUE`
FILL_IN = "this value is not confirmed; see baselines/published/README.md to fill it in"


@dataclass(frozen=True)
class TableSpec:
    """Structure of a table of the paper; the fields are described in `paper.toml`."""

    name: str
    title: str
    caption: str
    by: tuple[str, ...]
    across: tuple[str, ...]
    metrics: tuple[str, ...]
    arms: tuple[str, ...] = PAIR
    needs: tuple[str, ...] = ()
    blocks: str = "any"
    per_dataset: bool = False

    @property
    def is_pair(self) -> bool:
        """Whether the table compares LICO (any variant) with the baseline."""
        return self.arms == PAIR


PAPER_FILE = Path(__file__).parent / "paper.toml"
_PAPER: dict[str, Any] = tomllib.loads(PAPER_FILE.read_text(encoding="utf-8"))
TABLE_SPECS = tuple(decode(TableSpec, facts, PAPER_FILE) for facts in _PAPER["table"])
HEADERS: dict[str, str] = _PAPER["headers"]
ARMS: dict[str, str] = _PAPER["arms"]
METHODS: dict[str, str] = _PAPER["methods"]
DATASETS: dict[str, str] = _PAPER["datasets"]
SPECS = {"accuracy": MODEL_SCORES["accuracy"]} | {
    name: decode(MetricSpec, {"name": name, "source": "", **facts}, PAPER_FILE)
    for name, facts in _PAPER["metrics"].items()
}


@dataclass(frozen=True)
class Entry:
    """One value of a source; `keys` holds dataset, labels, arm, method, metric and setting."""

    keys: Mapping[str, str]
    source: str
    cell: Cell


def spec_of(content: ReportContent, metric: str) -> MetricSpec:
    """Return the spec of a metric from the run, or the default spec if it was not measured."""
    return content.specs.get(metric) or SPECS[metric]


def dataset_title(content: ReportContent, dataset: str) -> str:
    """Return the display name of a real dataset."""
    return DATASETS.get(dataset) or content.dataset_title(dataset, "real")


def published_entries(published: pd.DataFrame, content: ReportContent) -> Iterator[Entry]:
    """Yield the published values of one table."""
    names = ("dataset", "labels", "arm", "method", "metric", "setting")
    for row in published.to_dict("records"):
        keys = {str(name): str(row[name]) for name in names}
        yield Entry(keys, _source(row), _published_cell(row, spec_of(content, row["metric"])))


def run_entries(
    table: TableSpec, published: pd.DataFrame, fine_grained: Collection[str], content: ReportContent
) -> Iterator[Entry]:
    """Yield the values of this run on real images for one table.

    Args:
        table: the table to fill.
        published: published values of this table; they determine which variants of LICO it shows,
            and the methods of a table without a method column.
        fine_grained: names of the fine-grained datasets.
        content: content of the report of the run.
    """
    if table.needs and not set(table.needs) & set(content.arms):
        return
    rows = _shown_arms(table, published, content)
    methods = _methods(table, published, content)
    for block in content.blocks:
        if block.is_standin or not _belongs(table, block, fine_grained):
            continue
        means, differences = _by_score(block.means), _by_score(block.differences)
        for columns, method, metric in product(rows, methods, table.metrics):
            source = _run_source(table, content, block, columns, method)
            for arm in columns:
                score = means.get((arm, method, metric))
                if score is None:
                    continue
                compared = _compared(table, content, columns, arm)
                pairs = (differences.get((name, method, metric)) for name in compared)
                cell = _run_cell(score, list(filter(None, pairs)), spec_of(content, metric))
                yield Entry(
                    {"dataset": block.dataset, "labels": block.labels, "arm": columns[arm],
                     "method": _bare_name(method), "metric": metric,
                     "setting": _setting(table, content, block, arm)},
                    source,
                    cell,
                )  # fmt: skip


def _by_score(frame: pd.DataFrame) -> dict[tuple[str, str, str], Score]:
    """Return the rows of a frame by arm, method and metric."""
    rows: list[Score] = frame.to_dict("records")  # type: ignore[assignment]  # columns are text
    return {(row["arm"], row["method"], row["metric"]): row for row in rows}


def _compared(
    table: TableSpec, content: ReportContent, columns: Mapping[str, str], arm: str
) -> list[str]:
    """Return the arms whose differences to the reference arm say whether `arm` is better."""
    if arm != content.reference_arm:
        return [arm]
    # In a pair, the baseline can be the better arm too.
    return [name for name in columns if name != arm] if table.is_pair else []


def _source(row: dict[Any, Any]) -> str:
    is_unconfirmed = row["confidence"] == UNCONFIRMED
    parts = (row["source"], "" if is_unconfirmed else row["backbone"], row["pictures"])
    return ", ".join(filter(None, parts))


def _published_cell(row: dict[Any, Any], spec: MetricSpec) -> Cell:
    if row["confidence"] == UNCONFIRMED:
        details = f" ({row['note']})" if row["note"] else ""
        note = f"{row['source']}, {row['locator']}: {FILL_IN}{details}."
        return Cell(CONFIDENCES[UNCONFIRMED], "missing", note)
    parts = [CONFIDENCES[row["confidence"]], *filter(None, [row["note"]])]
    note = f"{row['source']}, {row['locator']}: {'; '.join(parts)}."
    return Cell(_as_printed(row["value"], row["decimals"], spec), "published", note)


def _as_printed(value: float, decimals: int, spec: MetricSpec) -> str:
    """Format a value with the digits of its source and the unit of the other tables."""
    if formatting.is_percent(spec):
        text = f"{100 * value:.{max(decimals - 2, 0)}f} %"
    else:
        text = f"{value:.{decimals}f}"
    return text.replace("-", MINUS)


def _methods(table: TableSpec, published: pd.DataFrame, content: ReportContent) -> list[str]:
    """Return the methods of the run that a table shows, without controls."""
    if "method" in table.by and table.is_pair:
        return [method for method in content.methods() if not content.is_control(method)]
    listed = set(published["method"])
    methods = [method for method in content.methods() if _bare_name(method) in listed]
    return ["", *methods] if table.metrics != ("accuracy",) else [""]


def _belongs(table: TableSpec, block: Block, fine_grained: Collection[str]) -> bool:
    is_fine, is_full = block.dataset in fine_grained, block.labels == "full"
    return {
        "any": True,
        "all_labels": is_full and not is_fine,
        "few_labels": not is_full,
        "fine_grained": is_full and is_fine,
    }[table.blocks]


def _shown_arms(
    table: TableSpec, published: pd.DataFrame, content: ReportContent
) -> list[dict[str, str]]:
    """Return, per table row, the arms of the run with the column that each fills.

    Each variant of LICO is a separate arm, compared with the same baseline.
    """
    if not table.is_pair:
        return [{arm: arm for arm in content.arms if arm in table.arms}]
    variants = {"lico", *published["reading"]} - {""}
    shown = [arm for arm in content.arms if arm in variants]
    reference = {"baseline": "baseline"} if "baseline" in content.arms else {}
    return [{**reference, arm: "lico"} for arm in shown] or [reference]


def _run_cell(row: Score, pairs: list[Score], spec: MetricSpec) -> Cell:
    """Return mean and interval; the note and significance come from the paired differences."""
    if not math.isfinite(row["mean"]):
        return Cell(formatting.NO_VALUE, "empty", f"This run: {row['note']}.")
    notes = [
        f"This run: {formatting.plural(row['num_images'], 'image')}, "
        f"{formatting.plural(row['num_seeds'], 'seed')}"
    ]
    is_better = False
    for pair in pairs:
        effect = formatting.effect(pair["low"], pair["high"], spec, pair["q_value"])
        if pair["arm"] == row["arm"]:
            is_better |= effect == "better"
            numbers = (pair["difference"], pair["low"], pair["high"])
            difference = " ".join(formatting.difference(*numbers, spec))
            p = formatting.p_value(pair["q_value"])
            notes.append(f"difference to the baseline {difference}, q {p}: {effect}")
        else:
            is_better |= effect == "worse"
    text = formatting.value(row["mean"], spec)
    interval = formatting.mean_interval(row["low"], row["high"], spec)
    if interval != formatting.NO_VALUE:
        text = f"{text} {interval.replace(' %', '')}"  # the mean shows the unit
    return Cell(text, "ours", "; ".join(notes) + ".", is_better)


def _run_source(
    table: TableSpec, content: ReportContent, block: Block, columns: Mapping[str, str], method: str
) -> str:
    parts = ["This run", block.backbone]
    if block.labels != "full" and "labels" not in table.by:
        parts.append(f"{block.labels} labels")
    parts += list(filter(None, [method.removeprefix(_bare_name(method)).strip("()")]))
    parts += [content.arm_title(arm) for arm, column in columns.items() if arm != column]
    return ", ".join(parts)


def _setting(table: TableSpec, content: ReportContent, block: Block, arm: str) -> str:
    if "setting" not in table.by:
        return ""
    for cell in content.manifest.cells:
        recipe = cell.recipe  # that of a user model has no backbone
        is_same = recipe.dataset == block.dataset and recipe.backbone == block.backbone
        if is_same and recipe.arm == arm and TOKENS in (cell.options or {}):
            return f"{TOKENS}={(cell.options or {})[TOKENS]}"
    return ""


def _bare_name(method: str) -> str:
    """Return a method name without its options, such as `rise` for `rise(num_masks=32)`."""
    return method.partition("(")[0]
