"""Formatting of numbers and facts as text, shared by all tables, figures and pages."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from typing import Any

from lico_bench import number_text
from lico_bench.number_text import MINUS, drop_noise
from lico_bench.records import DatasetFacts, MetricSpec

NO_VALUE = "–"
STANDIN = "STAND-IN"
EXTRA_DIGITS_BELOW = 0.002  # smaller differences are shown with two more digits
MAX_STEM_LENGTH = 120  # characters; file systems allow 255 bytes with the suffix
SIGNIFICANT = 0.05  # after correction


def is_percent(spec: MetricSpec) -> bool:
    """Whether the metric is a share of a count, which is shown in percent."""
    return spec.unit.startswith("share")


def value(number: float, spec: MetricSpec) -> str:
    """Return a mean as text: a share in percent, other values with three decimals."""
    if not math.isfinite(number):
        return NO_VALUE
    scale, digits, unit = (100, 1, " %") if is_percent(spec) else (1, 3, "")
    # Adding 0.0 removes the sign of a rounded zero.
    return f"{round(drop_noise(scale * number), digits) + 0.0:.{digits}f}{unit}".replace("-", MINUS)


def signed(number: float, spec: MetricSpec, *, extra_digits: bool = False) -> str:
    """Return a signed difference as text; shares in percentage points, without the unit.

    `extra_digits` adds two decimals, for differences that would otherwise read as zero.
    """
    if not math.isfinite(number):
        return NO_VALUE
    scale, digits = (100, 1) if is_percent(spec) else (1, 3)
    return number_text.signed(scale * number, digits + 2 * extra_digits)


def difference(number: float, low: float, high: float, spec: MetricSpec) -> tuple[str, str]:
    """Return a difference and its interval `[low, high]` as text with the same number of digits."""
    extra_digits = is_tiny(number, low, high)
    text = signed(number, spec, extra_digits=extra_digits)
    if not (math.isfinite(low) and math.isfinite(high)):
        return text, NO_VALUE
    ends = [signed(end, spec, extra_digits=extra_digits) for end in (low, high)]
    return text, f"[{ends[0]}, {ends[1]}]"


def is_tiny(*numbers: float) -> bool:
    """Whether all differences would read as zero, or nearly so, with the usual digits."""
    sizes = [abs(number) for number in numbers if math.isfinite(number)]
    return bool(sizes) and 0 < max(sizes) < EXTRA_DIGITS_BELOW


def mean_interval(low: float, high: float, spec: MetricSpec) -> str:
    """Return the interval `[low, high]` of a mean as text, clipped to the metric's bounds."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return NO_VALUE
    smallest, largest = spec.bounds
    low = low if smallest is None else max(low, smallest)
    high = high if largest is None else min(high, largest)
    return f"[{value(low, spec)}, {value(high, spec)}]"


def effect(low: float, high: float, spec: MetricSpec, q_value: float | None = None) -> str:
    """Return the conclusion about a difference.

    `better` or `worse` if the interval excludes zero and the corrected p-value is below 0.05;
    `leans better` or `leans worse` if only the interval excludes zero; `higher` or `lower` for a
    metric without a direction; `unclear` if the interval includes zero; `no interval` without one.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return "no interval"
    if low <= 0 <= high:
        return "unclear"
    is_up = low > 0
    if spec.higher_is_better is None:
        return "higher" if is_up else "lower"
    word = "better" if is_up == spec.higher_is_better else "worse"
    return word if is_significant(q_value) else f"leans {word}"


def is_significant(q_value: float | None) -> bool:
    """Whether a corrected p-value exists and is below 0.05."""
    return q_value is not None and q_value < SIGNIFICANT


def p_value(number: float) -> str:
    """Return a p-value as text with three decimals, or `< 0.001`."""
    if not math.isfinite(number):
        return NO_VALUE
    return "< 0.001" if number < 0.001 else f"{number:.3f}"


def title_with_arrow(spec: MetricSpec) -> str:
    """Return title and direction of a metric, such as `Insertion ↑`: the better end, if any."""
    return spec.title + {True: " ↑", False: " ↓", None: ""}[spec.higher_is_better]


def truncated(text: str, max_chars: int) -> str:
    """Return `text`, shortened with an ellipsis if it has more than `max_chars` characters."""
    return text if len(text) <= max_chars else f"{text[: max_chars - 1]}…"


def dataset_title(facts: DatasetFacts | None, name: str, source: str) -> str:
    """Return the title of a dataset; the title of a stand-in always contains `stand-in`."""
    title = name if facts is None else facts.title
    if source != "standin":
        return title
    return title if "stand-in" in title.lower() else f"{title} stand-in"


def data_sentence(facts: DatasetFacts | None, source: str) -> str:
    """Return a description of the images used, with their number by split."""
    counts_by_split = {} if facts is None else facts.found
    counts = ", ".join(
        _count(split, *numbers) for split, numbers in sorted(counts_by_split.items())
    )
    if source == "standin":
        return f"synthetic images, not the real dataset ({counts or 'no counts'})"
    return f"real images ({counts or 'no counts'})"


def protocol_sentence(protocol_id: str, facts: Mapping[str, Any] | None) -> str:
    """Return id and rules of a protocol in one line; the id alone if its rules are unknown."""
    rules = ", ".join(
        f"{name.replace('_', ' ')} {_rule_text(rule)}"
        for name, rule in (facts or {}).items()
        if name not in ("name", "source")
    )
    return f"{protocol_id}: {rules}" if rules else protocol_id


def file_stem(method: str) -> str:
    """Return a method as part of a file name: `rise(num_masks=32)` gives `rise_num_masks_32`."""
    return re.sub(r"\W+", "_", method).strip("_") or "model"


def file_part(text: str) -> str:
    """Return `text` as a safe, unique file stem; ordinary names are unchanged."""
    if re.fullmatch(r"\w[\w.-]*", text) and len(text) <= MAX_STEM_LENGTH:
        return text
    kept = re.sub(r"[^\w.-]+", "_", text).strip("._-")[: MAX_STEM_LENGTH - 9]
    return f"{kept or 'table'}_{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def escape_csv_cell(text: str) -> str:
    """Return `text` as a CSV cell that no spreadsheet evaluates as a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text


def plural(count: int, noun: str) -> str:
    """Return a count with its noun: `1 seed`, `2 seeds`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def seeds_sentence(num_seeds: int) -> str:
    """Return a sentence on what intervals cover with this number of seeds."""
    if num_seeds == 1:
        return (
            "One seed: intervals cover the sampling of test images only, "
            "not the variation between training runs."
        )
    if num_seeds in (2, 3):
        return (
            f"{num_seeds} seeds say little about the spread between trainings: intervals are wide "
            "where the seeds differ, and a few more seeds would narrow them."
        )
    return "Intervals cover the sampling of seeds and of test images."


def correction(num_compared: Mapping[str, int]) -> str:
    """Return a description of the correction for multiple tests.

    Args:
        num_compared: number of tested differences by source, `real` or `standin`.
    """
    real, standin = (num_compared.get(source, 0) for source in ("real", "standin"))
    if real and standin:
        return (
            f"false-discovery rate over the {plural(real, 'difference')} on real images shown as "
            f"results, and separately over the {standin:,} on stand-ins"
        )
    return f"false-discovery rate over the {plural(real or standin, 'difference')} shown as results"


def family_sentence(num_compared: Mapping[str, int]) -> str:
    """Return a sentence that defines better, worse and leans, with the correction applied."""
    return (
        f"Better and worse: q < {SIGNIFICANT:g}, the {correction(num_compared)}; leans: the 95 % "
        f"interval excludes zero, but q is not below {SIGNIFICANT:g}. Verdicts on claims have a "
        "correction of their own."
    )


def _count(split: str, available: int, official: int | None = None) -> str:
    if official in (None, available):
        return f"{split} {available:,}"
    return f"{split} {available:,} of {official:,}"


def _rule_text(rule: Any) -> str:
    if isinstance(rule, list | tuple):
        return "(" + ", ".join(map(str, rule)) + ")"
    return str(rule).replace("_", " ")
