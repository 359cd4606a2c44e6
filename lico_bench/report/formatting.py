"""Numbers and facts as the words that every table, plot and page uses for them."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from typing import Any

from lico_bench.records import MetricSpec

NOTHING = "–"
STANDIN = "STAND-IN"
MINUS = "−"
FINE_BELOW = 0.002  # differences below two of the usual last digits get two digits more
LONGEST_STEM = 120  # of a file; systems take 255 bytes with the suffix
SIGNIFICANT = 0.05  # after correction


def arrow(spec: MetricSpec) -> str:
    """↑ if higher is better, ↓ if lower is, nothing for a metric without merit."""
    return {True: "↑", False: "↓", None: ""}[spec.higher_is_better]


def is_percent(spec: MetricSpec) -> bool:
    """Whether the metric is a share of counted things, which people read in percent."""
    return spec.unit.startswith("share")


def value(number: float, spec: MetricSpec) -> str:
    """A mean: three digits of a probability, a percentage of a share."""
    if not math.isfinite(number):
        return NOTHING
    scale, digits, unit = (100, 1, " %") if is_percent(spec) else (1, 3, "")
    # Adding 0 takes the sign off a rounded zero.
    return f"{round(_steady(scale * number), digits) + 0.0:.{digits}f}{unit}".replace("-", MINUS)


def _steady(number: float) -> float:
    """Without the last digits, which the order of a sum decides: 61.75 is rounded one way only."""
    return round(number, 9)


def signed(number: float, spec: MetricSpec, *, is_fine: bool = False) -> str:
    """A difference with its sign; shares in percentage points, without the unit.

    `is_fine` gives two digits more, for what would otherwise read as zero.
    """
    if not math.isfinite(number):
        return NOTHING
    scale, digits = (100, 1) if is_percent(spec) else (1, 3)
    text = f"{_steady(scale * number):+.{digits + 2 * is_fine}f}"
    # A rounded zero has no sign.
    if not text.strip("+-0."):
        text = text.lstrip("+-")
    return text.replace("-", MINUS)


def difference(number: float, low: float, high: float, spec: MetricSpec) -> tuple[str, str]:
    """A difference and its `[low, high]`, with as many digits as they need."""
    is_fine = is_tiny(number, low, high)
    message = signed(number, spec, is_fine=is_fine)
    if not (math.isfinite(low) and math.isfinite(high)):
        return message, NOTHING
    ends = [signed(end, spec, is_fine=is_fine) for end in (low, high)]
    return message, f"[{ends[0]}, {ends[1]}]"


def is_tiny(*numbers: float) -> bool:
    """Whether differences would all read as zero, or nearly, with the usual digits."""
    sizes = [abs(number) for number in numbers if math.isfinite(number)]
    return bool(sizes) and 0 < max(sizes) < FINE_BELOW


def mean_interval(low: float, high: float, spec: MetricSpec) -> str:
    """`[low, high]` of a mean, cut at what the metric can be."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return NOTHING
    smallest, largest = spec.bounds
    low = low if smallest is None else max(low, smallest)
    high = high if largest is None else min(high, largest)
    return f"[{value(low, spec)}, {value(high, spec)}]"


def effect(low: float, high: float, spec: MetricSpec, p_holm: float | None = None) -> str:
    """What is known of a difference, in a word or two.

    `better` and `worse` are said where the interval leaves zero out and the p-value, corrected for
    all that is shown, is below 0.05; where the interval alone leaves zero out, or nothing was
    corrected, the difference `leans better` or `leans worse`.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return "no interval"
    if low <= 0 <= high:
        return "unclear"
    is_up = low > 0
    if spec.higher_is_better is None:
        return "higher" if is_up else "lower"
    word = "better" if is_up == spec.higher_is_better else "worse"
    return word if is_significant(p_holm) else f"leans {word}"


def is_significant(p_holm: float | None) -> bool:
    """Whether a corrected p-value is there and below 0.05."""
    return p_holm is not None and p_holm < SIGNIFICANT


def p_value(number: float) -> str:
    """A p-value: three digits, `< 0.001` below them."""
    if not math.isfinite(number):
        return NOTHING
    return "< 0.001" if number < 0.001 else f"{number:.3f}"


def title_with_arrow(spec: MetricSpec) -> str:
    """`Insertion ↑`."""
    return f"{spec.title} {arrow(spec)}".strip()


def dataset_title(facts: dict[str, Any] | None, name: str, source: str) -> str:
    """The dataset's name; a stand-in never bears it alone."""
    title = str((facts or {}).get("title") or name)
    if source != "standin":
        return title
    return title if "stand-in" in title.lower() else f"{title} stand-in"


def data_sentence(facts: dict[str, Any] | None, source: str) -> str:
    """Which images were used, and how many of the official ones."""
    found = (facts or {}).get("found") or {}
    counts = ", ".join(_count(split, *numbers) for split, numbers in sorted(found.items()))
    if source == "standin":
        return f"drawn scenes, not the real data set ({counts or 'no counts'})"
    return f"real images ({counts or 'no counts'})"


def protocol_sentence(protocol_id: str, facts: dict[str, Any] | None) -> str:
    """The rules of a protocol in one line; an id without rules for itself."""
    rules = ", ".join(
        f"{name.replace('_', ' ')} {_plain(rule)}"
        for name, rule in (facts or {}).items()
        if name not in ("name", "source")
    )
    return f"{protocol_id}: {rules}" if rules else protocol_id


def file_stem(method: str) -> str:
    """A method as part of a file name: `rise(num_masks=32)` gives `rise_num_masks_32`."""
    return re.sub(r"\W+", "_", method).strip("_") or "model"


def file_part(text: str) -> str:
    """`text` as the stem of a file in one folder, whatever it holds; usual names stay."""
    if re.fullmatch(r"\w[\w.-]*", text) and len(text) <= LONGEST_STEM:
        return text
    kept = re.sub(r"[^\w.-]+", "_", text).strip("._-")[: LONGEST_STEM - 9]
    return f"{kept or 'table'}_{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def inert_cell(text: str) -> str:
    """A name of a folder as a cell of a CSV file: a spreadsheet takes none for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text


def plural(count: int, noun: str) -> str:
    """`1 seed`, `2 seeds`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def seeds_sentence(num_seeds: int) -> str:
    """What the number of seeds does to an interval."""
    if num_seeds == 1:
        return (
            "One seed: intervals cover the choice of test images only, "
            "not what another training would have given."
        )
    if num_seeds in (2, 3):
        return (
            f"{num_seeds} seeds say little about the spread between trainings: intervals are wide "
            "where the seeds differ, and a few more seeds would narrow them."
        )
    return "Intervals cover another choice of seeds and of test images."


def correction(num_compared: Mapping[str, int]) -> str:
    """What p-values were corrected for.

    Args:
        num_compared: differences by source, `real` or `standin`.
    """
    real, drawn = (num_compared.get(source, 0) for source in ("real", "standin"))
    if real and drawn:
        return (
            f"Holm's correction for the {plural(real, 'difference')} on real images shown as "
            f"results, and apart for the {drawn:,} on stand-ins"
        )
    count = real or drawn
    return f"Holm's correction for the {plural(count, 'difference')} shown as results"


def family_sentence(num_compared: Mapping[str, int]) -> str:
    """What better and worse mean, and among how many differences they were picked."""
    return (
        f"Better and worse: p < {SIGNIFICANT:g} after {correction(num_compared)}; leans: the 95 % "
        "interval leaves zero out, the corrected p-value does not bear it out."
    )


def _count(split: str, found: int, official: int | None = None) -> str:
    if official in (None, found):
        return f"{split} {found:,}"
    return f"{split} {found:,} of {official:,}"


def _plain(rule: Any) -> str:
    if isinstance(rule, list | tuple):
        return "(" + ", ".join(map(str, rule)) + ")"
    return str(rule).replace("_", " ")
