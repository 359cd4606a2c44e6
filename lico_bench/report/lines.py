"""The numbers of a run as text, one line per score and arm; page, LaTeX and terminal show them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from lico_bench.number_text import signed
from lico_bench.records import MetricSpec
from lico_bench.report import formatting

if TYPE_CHECKING:
    from lico_bench.report.content import ReportContent

BAR_WIDTH = 120  # of an interval bar, in SVG view-box units
BAR_MARGIN = 5
ALL, BOTH_CORRECT = "all", "both correct"


class Bar(NamedTuple):
    """Horizontal positions of an interval and its point estimate; zero is at half of `BAR_WIDTH`.

    `band` is half the width of the equivalence band, 0 if none is declared.
    """

    low: float
    high: float
    point: float
    band: float = 0.0


@dataclass(frozen=True)
class Line:
    """A formatted mean or difference; fields that do not apply are empty.

    Attributes:
        block: index of the block in `ReportContent.blocks`.
        within: the smallest effect of interest if the difference is shown to be inside it.
    """

    block: int
    method: str
    metric: str
    arm: str
    subset: str
    unit: str
    is_percent: bool
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
    effect: str = ""
    p_holm: str = ""
    p_images: str = ""
    p_mcnemar: str = ""
    effect_size: str = ""
    equivalent: str = ""
    within: str = ""
    is_significant: bool = False
    bar: Bar | None = None


def all_lines(content: ReportContent) -> Iterator[Line]:
    """Yield the differences of each block, or its means if it has none, in the order of its scores.

    The differences on images that both models classify correctly follow, without scores of the
    model itself.
    """
    for number, block in enumerate(content.blocks):
        scores = [(method, spec.name) for method, spec in content.each_score(block)]
        order = {score: rank for rank, score in enumerate(scores)}
        frame = block.means if block.differences.empty else block.differences
        of_maps = block.both_correct[block.both_correct["method"] != ""]
        for part in (frame, of_maps):
            rows = part.to_dict("records")
            rows.sort(key=lambda row: order[row["method"], row["metric"]])
            ranges = _bar_ranges(content, rows)
            for row in rows:
                spec = content.specs[row["metric"]]
                yield _line(number, row, spec, ranges[formatting.is_percent(spec)])


def place_bar(
    low: float, high: float, point: float, *, largest: float, band: float = 0.0
) -> Bar | None:
    """Return the bar of an interval; `largest` is the largest absolute value on the same scale."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return None
    scale = (BAR_WIDTH / 2 - BAR_MARGIN) / largest
    positions = [round(BAR_WIDTH / 2 + scale * value, 1) for value in (low, high, point)]
    return Bar(positions[0], positions[1], positions[2], round(scale * band, 1))


def _line(block: int, row: dict[Any, Any], spec: MetricSpec, largest: float) -> Line:
    shared: dict[str, Any] = {
        "block": block,
        "method": str(row["method"]),
        "metric": spec.name,
        "arm": str(row["arm"]),
        "subset": BOTH_CORRECT if row.get("subset") == "both_correct" else ALL,
        "unit": spec.unit,
        "is_percent": formatting.is_percent(spec),
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
    return Line(**shared, **_difference(row, spec, largest))


def _difference(row: dict[Any, Any], spec: MetricSpec, largest: float) -> dict[str, Any]:
    """Return the fields that only a difference has."""
    text, interval = formatting.difference(row["difference"], row["low"], row["high"], spec)
    p_mcnemar = row["p_mcnemar"]
    return {
        "reference": formatting.value(row["mean_reference"], spec),
        "difference": text,
        "interval": interval,
        "per_seed": _per_seed(row["per_seed"], spec),
        "effect": formatting.effect(row["low"], row["high"], spec, row["p_holm"]),
        "p_holm": formatting.p_value(row["p_holm"]),
        "p_images": formatting.p_value(row["p_images"]),
        "p_mcnemar": formatting.p_value(p_mcnemar) if math.isfinite(p_mcnemar) else "",
        "effect_size": (
            signed(row["effect_size"], 2)
            if math.isfinite(row["effect_size"])
            else formatting.NO_VALUE
        ),
        **_equivalence(row, spec),
        "is_significant": formatting.is_significant(row["p_holm"]),
        "bar": place_bar(row["low"], row["high"], row["difference"], largest=largest),
    }


def _equivalence(row: dict[Any, Any], spec: MetricSpec) -> dict[str, str]:
    """Return the result of the equivalence test (two one-sided tests); empty if none was made."""
    if not math.isfinite(row["p_equivalent"]):
        return {}
    size = f"±{formatting.signed(row['smallest_effect'], spec).lstrip('+')}"
    is_shown = formatting.is_significant(row["p_equivalent"])
    test = f"({size}, p {_relation(row['p_equivalent'])})"
    return {
        "equivalent": f"{'yes' if is_shown else 'not shown'} {test}",
        "within": size if is_shown else "",
    }


def _relation(number: float) -> str:
    text = formatting.p_value(number)
    return text if text.startswith("<") else f"= {text}"


def _spread(number: float, spec: MetricSpec) -> str:
    if not math.isfinite(number):
        return formatting.NO_VALUE
    return formatting.signed(number, spec, extra_digits=formatting.is_tiny(number)).lstrip("+")


def _per_seed(numbers: Sequence[float], spec: MetricSpec) -> str:
    extra_digits = formatting.is_tiny(*numbers)
    return ", ".join(
        formatting.signed(number, spec, extra_digits=extra_digits) for number in numbers
    )


def _bar_ranges(content: ReportContent, rows: list[dict[Any, Any]]) -> dict[bool, float]:
    """Return the largest absolute interval end of shares (True) and of other metrics (False)."""
    ranges = {False: 1e-9, True: 1e-9}
    for row in rows:
        ends = [abs(row[end]) for end in ("low", "high", "difference") if end in row]
        is_percent = formatting.is_percent(content.specs[row["metric"]])
        finite = (end for end in ends if math.isfinite(end))
        ranges[is_percent] = max([ranges[is_percent], *finite])
    return ranges
