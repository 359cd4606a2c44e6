"""Published numbers and this run's as entries of one kind."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import pandas as pd

from lico_bench.claims.published import CONFIDENCES, UNCONFIRMED
from lico_bench.records import MetricSpec
from lico_bench.report import formatting
from lico_bench.report.content import Block, ReportContent
from lico_bench.report.layouts.records import Entry, LayoutCell
from lico_bench.report.layouts.table_specs import TOKENS, TableSpec, spec_of
from lico_bench.report.lookup import Row, rows_by_score

FILL_IN = "nobody could confirm this number; baselines/published/README.md tells how to fill it in"


def published_entries(numbers: pd.DataFrame, content: ReportContent) -> Iterator[Entry]:
    """The published numbers of one table."""
    names = ("dataset", "labels", "arm", "method", "metric", "setting")
    for row in numbers.to_dict("records"):
        where = {str(name): str(row[name]) for name in names}
        yield Entry(where, _publisher(row), _published_cell(row, spec_of(content, row["metric"])))


def user_entries(
    form: TableSpec, numbers: pd.DataFrame, fine: Collection[str], content: ReportContent
) -> Iterator[Entry]:
    """This run's numbers for a form, of real images alone.

    Args:
        form: to be filled.
        numbers: the published ones of this form: whose readings of LICO stand in it, and by which
            methods a form that does not list methods goes.
        fine: names of the fine-grained data sets.
        content: of the run.
    """
    if form.needs and not set(form.needs) & set(content.arms):
        return
    methods = _methods(form, numbers, content)
    for block in content.blocks:
        if block.is_standin or not _belongs(form, block, fine):
            continue
        scores = _Scores(block, rows_by_score(block.means), rows_by_score(block.differences))
        for arms in _shown_arms(form, numbers, content):
            for method in methods:
                for metric in form.metrics:
                    yield from _own(form, content, scores, arms, method, metric)


class _Scores(NamedTuple):
    """A block, with its means and differences by arm, method and metric."""

    block: Block
    means: dict[tuple[str, str, str], Row]
    differences: dict[tuple[str, str, str], Row]


def _publisher(row: dict[Any, Any]) -> str:
    is_open = row["confidence"] == UNCONFIRMED
    parts = (row["source"], "" if is_open else row["backbone"], row["pictures"])
    return ", ".join(filter(None, parts))


def _published_cell(row: dict[Any, Any], spec: MetricSpec) -> LayoutCell:
    if row["confidence"] == UNCONFIRMED:
        known = f" ({row['note']})" if row["note"] else ""
        note = f"{row['source']}, {row['locator']}: {FILL_IN}{known}."
        return LayoutCell(CONFIDENCES[UNCONFIRMED], "missing", note)
    message = [CONFIDENCES[row["confidence"]], *filter(None, [row["note"]])]
    note = f"{row['source']}, {row['locator']}: {'; '.join(message)}."
    return LayoutCell(_as_printed(row["value"], row["decimals"], spec), "published", note)


def _as_printed(value: float, decimals: int, spec: MetricSpec) -> str:
    """As many digits as the source has, in the unit that the other tables use."""
    if formatting.is_percent(spec):
        text = f"{100 * value:.{max(decimals - 2, 0)}f} %"
    else:
        text = f"{value:.{decimals}f}"
    return text.replace("-", formatting.MINUS)


def _methods(form: TableSpec, numbers: pd.DataFrame, content: ReportContent) -> list[str]:
    """Methods of the run that a form shows; a control is no saliency method."""
    if "method" in form.by and form.is_pair:
        return [method for method in content.methods() if not content.is_control(method)]
    listed = set(numbers["method"])
    found = [m for m in content.methods() if bare_name(m) in listed]
    return ["", *found] if form.metrics != ("accuracy",) else [""]


def _belongs(form: TableSpec, block: Block, fine: Collection[str]) -> bool:
    is_fine, is_full = block.dataset in fine, block.labels == "full"
    return {
        "any": True,
        "all_labels": is_full and not is_fine,
        "few_labels": not is_full,
        "fine_grained": is_full and is_fine,
    }[form.blocks]


def _shown_arms(
    form: TableSpec, numbers: pd.DataFrame, content: ReportContent
) -> list[dict[str, str]]:
    """Arms of the run by the arm whose column they fill, one dict per row.

    Each party's LICO is an arm of its own, compared with the same baseline.
    """
    if not form.is_pair:
        return [{arm: arm for arm in content.arms if arm in form.arms}]
    readings = {"lico", *numbers["reading"]} - {""}
    shown = [arm for arm in content.arms if arm in readings]
    reference = {"baseline": "baseline"} if "baseline" in content.arms else {}
    return [{**reference, arm: "lico"} for arm in shown] or [reference]


def _own(
    form: TableSpec,
    content: ReportContent,
    scores: _Scores,
    arms: dict[str, str],
    method: str,
    metric: str,
) -> Iterator[Entry]:
    block = scores.block
    for arm, column in arms.items():
        row = scores.means.get((arm, method, metric))
        if row is None:
            continue
        where = {
            "dataset": block.dataset, "labels": block.labels, "arm": column,
            "method": bare_name(method), "metric": metric,
            "setting": _setting(form, content, block, arm),
        }  # fmt: skip
        # In a pair the baseline too may be the better one.
        others = [other for other in arms if other != content.reference_arm] if form.is_pair else []
        compared = others if arm == content.reference_arm else [arm]
        pairs = [scores.differences.get((other, method, metric)) for other in compared]
        cell = _user_cell(row, list(filter(None, pairs)), spec_of(content, metric))
        yield Entry(where, _this_run(form, content, block, arms, method), cell)


def _user_cell(row: Row, pairs: list[Row], spec: MetricSpec) -> LayoutCell:
    """Mean and interval, and what the differences that it is part of say of it."""
    if not math.isfinite(row["mean"]):
        return LayoutCell(formatting.NOTHING, "empty", f"This run: {row['note']}.")
    notes = [
        f"This run: {formatting.plural(row['num_images'], 'image')}, "
        f"{formatting.plural(row['num_seeds'], 'seed')}"
    ]
    is_better = False
    for pair in pairs:
        word = formatting.effect(pair["low"], pair["high"], spec, pair["p_holm"])
        if pair["arm"] == row["arm"]:
            is_better |= word == "better"
            message = " ".join(
                formatting.difference(pair["difference"], pair["low"], pair["high"], spec)
            )
            p = formatting.p_value(pair["p_holm"])
            notes.append(f"difference to the baseline {message}, p (Holm) {p}: {word}")
        else:
            is_better |= word == "worse"
    text = formatting.value(row["mean"], spec)
    interval = formatting.mean_interval(row["low"], row["high"], spec)
    if interval != formatting.NOTHING:
        text = f"{text} {interval.replace(' %', '')}"  # the mean says the unit
    return LayoutCell(text, "ours", "; ".join(notes) + ".", is_better)


def _this_run(
    form: TableSpec, content: ReportContent, block: Block, arms: dict[str, str], method: str
) -> str:
    parts = ["This run", block.backbone]
    if block.labels != "full" and "labels" not in form.by:
        parts.append(f"{block.labels} labels")
    parts += list(filter(None, [method.removeprefix(bare_name(method)).strip("()")]))
    parts += [content.arm_title(arm) for arm, column in arms.items() if arm != column]
    return ", ".join(parts)


def _setting(form: TableSpec, content: ReportContent, block: Block, arm: str) -> str:
    if "setting" not in form.by:
        return ""
    for cell in content.manifest["cells"]:
        recipe = cell["recipe"]  # of an own model it names no backbone
        is_same = recipe["dataset"] == block.dataset and recipe.get("backbone") == block.backbone
        if is_same and recipe["arm"] == arm and TOKENS in cell.get("options", {}):
            return f"{TOKENS}={cell['options'][TOKENS]}"
    return ""


def bare_name(method: str) -> str:
    """`rise(num_masks=32)` without its options."""
    return method.partition("(")[0]
