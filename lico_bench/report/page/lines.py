"""One number with all that belongs to it, in words: what the tables of the page are made of."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from lico_bench.records import MetricSpec
from lico_bench.report import formatting
from lico_bench.report.content import Block, ReportContent

BAR_WIDTH = 120  # of the drawn intervals, in units of their view box
BAR_MARGIN = 5
ALL, BOTH_CORRECT = "all", "both correct"


class Bar(NamedTuple):
    """Places of the ends and of the point of an interval on a line whose middle is zero.

    `band` is half the width of what is too small to matter, 0 where nobody said so.
    """

    low: float
    high: float
    point: float
    band: float = 0.0


@dataclass(frozen=True)
class Line:
    """A mean or a difference; texts are ready to be shown, empty where there is nothing to say.

    `within` is the smallest effect of interest where the difference is shown to be inside it.
    """

    method: str
    metric: str
    arm: str
    subset: str
    unit: str
    score: str
    mean: str
    interval: str
    num_images: int
    num_seeds: int
    num_skipped: int
    seed_part: str
    image_part: str
    per_seed: str
    protocol: str
    note: str
    reference: str = ""
    difference: str = ""
    word: str = ""
    p_holm: str = ""
    p_images: str = ""
    p_mcnemar: str = ""
    effect_size: str = ""
    equivalent: str = ""
    within: str = ""
    is_significant: bool = False
    bar: Bar | None = None


def each_line(
    content: ReportContent, block: Block, frame: pd.DataFrame, *, maps_only: bool = False
) -> Iterator[Line]:
    """The rows of a frame of means or differences, in the order of the block's scores."""
    order = {
        (method, spec.name): place for place, (method, spec) in enumerate(content.each_score(block))
    }
    rows = frame.to_dict("records")
    rows.sort(key=lambda row: order[row["method"], row["metric"]])
    reaches = _reaches(content, rows)
    for row in rows:
        if row["method"] or not maps_only:
            spec = content.specs[row["metric"]]
            yield _line(row, spec, reaches[formatting.is_percent(spec)])


def place_bar(
    low: float, high: float, point: float, *, reach: float, band: float = 0.0
) -> Bar | None:
    """The bar of an interval, where `reach` is the farthest that any bar of its kind goes."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return None
    scale = (BAR_WIDTH / 2 - BAR_MARGIN) / reach
    places = [round(BAR_WIDTH / 2 + scale * end, 1) for end in (low, high, point)]
    return Bar(places[0], places[1], places[2], round(scale * band, 1))


def _line(row: dict[Any, Any], spec: MetricSpec, reach: float) -> Line:
    shared: dict[str, Any] = {
        "method": str(row["method"]),
        "metric": spec.name,
        "arm": str(row["arm"]),
        "subset": BOTH_CORRECT if row.get("subset") == "both_correct" else ALL,
        "unit": spec.unit,
        "score": formatting.title_with_arrow(spec),
        "mean": formatting.value(row["mean"], spec),
        "num_images": int(row["num_images"]),
        "num_seeds": int(row["num_seeds"]),
        "num_skipped": int(row["num_skipped"]),
        "seed_part": _spread(row["seed_part"], spec),
        "image_part": _spread(row["image_part"], spec),
        "protocol": str(row["protocol"] or ""),
        "note": str(row["note"]),
    }
    if "difference" not in row:
        interval = formatting.mean_interval(row["low"], row["high"], spec)
        per_seed = ", ".join(formatting.value(number, spec) for number in row["per_seed"])
        return Line(**shared, interval=interval, per_seed=per_seed)
    return Line(**shared, **_difference(row, spec, reach))


def _difference(row: dict[Any, Any], spec: MetricSpec, reach: float) -> dict[str, Any]:
    """The fields that only a difference has."""
    message, interval = formatting.difference(row["difference"], row["low"], row["high"], spec)
    return {
        "reference": formatting.value(row["mean_reference"], spec),
        "difference": message,
        "interval": interval,
        "per_seed": _per_seed(row["per_seed"], spec),
        "word": formatting.effect(row["low"], row["high"], spec, row["p_holm"]),
        "p_holm": formatting.p_value(row["p_holm"]),
        "p_images": formatting.p_value(row["p_images"]),
        "p_mcnemar": _if_any(formatting.p_value(row["p_mcnemar"])),
        "effect_size": _two_digits(row["effect_size"]),
        **_equivalence(row, spec),
        "is_significant": formatting.is_significant(row["p_holm"]),
        "bar": place_bar(row["low"], row["high"], row["difference"], reach=reach),
    }


def _equivalence(row: dict[Any, Any], spec: MetricSpec) -> dict[str, str]:
    """Whether two one-sided tests put the difference inside what matters; empty if not asked."""
    if not math.isfinite(row["p_equivalent"]):
        return {}
    size = f"±{formatting.signed(row['smallest_effect'], spec).lstrip('+')}"
    is_shown = formatting.is_significant(row["p_equivalent"])
    message = f"({size}, p {_relation(row['p_equivalent'])})"
    return {
        "equivalent": f"{'yes' if is_shown else 'not shown'} {message}",
        "within": size if is_shown else "",
    }


def _relation(number: float) -> str:
    message = formatting.p_value(number)
    return message if message.startswith("<") else f"= {message}"


def _if_any(message: str) -> str:
    return "" if message == formatting.NOTHING else message


def _spread(number: float, spec: MetricSpec) -> str:
    if not math.isfinite(number):
        return formatting.NOTHING
    return formatting.signed(number, spec, is_fine=formatting.is_tiny(number)).lstrip("+")


def _per_seed(numbers: Sequence[float], spec: MetricSpec) -> str:
    is_fine = formatting.is_tiny(*numbers)
    return ", ".join(formatting.signed(number, spec, is_fine=is_fine) for number in numbers)


def _two_digits(number: float) -> str:
    if not math.isfinite(number):
        return formatting.NOTHING
    message = f"{number:+.2f}"
    return message[1:] if float(message) == 0 else message.replace("-", formatting.MINUS)


def _reaches(content: ReportContent, rows: list[dict[Any, Any]]) -> dict[bool, float]:
    """The farthest end of an interval, for shares and for probabilities: one scale for each."""
    reaches = {False: 1e-9, True: 1e-9}
    for row in rows:
        ends = [abs(row[end]) for end in ("low", "high", "difference") if end in row]
        kind = formatting.is_percent(content.specs[row["metric"]])
        reaches[kind] = max([reaches[kind], *(end for end in ends if math.isfinite(end))])
    return reaches
