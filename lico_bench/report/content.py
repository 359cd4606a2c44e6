"""What a report shows: the statistics of a run by dataset, and its numbers as text.

`gather` computes it once from a run folder; page, tables, figures and terminal are rendered from
it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import pandas as pd

from lico_bench.claims import ClaimVerdict
from lico_bench.number_text import signed
from lico_bench.records import MetricSpec
from lico_bench.report import formatting
from lico_bench.store import RunFolder
from lico_bench.store.run_records import Manifest

SETTING = ("dataset", "source", "backbone", "labels")
# Shown as context for the scores; reported as results only if the suite lists them.
AUXILIARY_METRICS = (
    "brier",
    "score_whole",
    "score_blurred",
    "score_emptied",
    "flat_map",
    "tied_ranks",
)
BAR_WIDTH = 120  # of an interval bar, in SVG view-box units
BAR_MARGIN = 5
ALL, BOTH_CORRECT = "all", "both correct"


@dataclass(frozen=True)
class Block:
    """Statistics of one dataset, backbone and label budget of a run.

    Attributes:
        means: rows of `stats.arm_means`.
        differences: rows of `stats.paired_differences` over all images, with `q_value`: the p-value
            corrected over all differences reported as results, NaN for the others. Stand-ins form
            a separate family, so that they do not weaken the tests on real images.
        both_correct: the same on images that both models of a pair classify correctly; not
            corrected (`q_value` is NaN).
    """

    dataset: str
    source: str
    backbone: str
    labels: str
    title: str
    data: str
    means: pd.DataFrame
    differences: pd.DataFrame
    both_correct: pd.DataFrame

    @property
    def is_standin(self) -> bool:
        """Whether the images are synthetic."""
        return self.source == "standin"

    @property
    def setting(self) -> tuple[str, ...]:
        """Values of the columns `SETTING`, which identify the block."""
        return self.dataset, self.source, self.backbone, self.labels

    @property
    def key(self) -> str:
        """Name for files and anchors."""
        budget = "" if self.labels == "full" else f"_{self.labels}_labels"
        return f"{self.dataset}{'_standin' if self.is_standin else ''}_{self.backbone}{budget}"

    @property
    def budget(self) -> str:
        """Label budget as the end of a title, `, 400 labels`; empty for all labels."""
        return "" if self.labels == "full" else f", {self.labels} labels"

    @property
    def num_seeds(self) -> int:
        """Largest number of seeds of any mean."""
        return int(self.means["num_seeds"].max())


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
    q_value: str = ""
    p_images: str = ""
    p_mcnemar: str = ""
    effect_size: str = ""
    equivalent: str = ""
    within: str = ""
    is_significant: bool = False
    bar: Bar | None = None


@dataclass(frozen=True)
class ReportContent:
    """Everything a report shows.

    Attributes:
        arms: in the order of the suite, the reference arm first.
        specs: by metric name, model scores included.
        claims: the verdict on each declared claim.
        num_compared: number of differences in each corrected family, by source.
        notes: sentences about missing or incomplete results.
        headlines: warnings shown before any number: collapsed channels, changed loss weights.
    """

    run: RunFolder
    manifest: Manifest
    rows: pd.DataFrame
    blocks: tuple[Block, ...]
    arms: tuple[str, ...]
    specs: dict[str, MetricSpec]
    claims: tuple[ClaimVerdict, ...]
    num_compared: Mapping[str, int]
    notes: tuple[str, ...]
    headlines: tuple[str, ...]

    @property
    def reference_arm(self) -> str:
        """Arm that the others are compared with."""
        return self.arms[0]

    @property
    def has_standins(self) -> bool:
        """Whether any number comes from a stand-in."""
        return any(block.is_standin for block in self.blocks)

    @cached_property
    def cells(self) -> pd.DataFrame:
        """One row per model: cell, arm, seed and setting."""
        return self.rows.loc[~self.rows["cell"].duplicated(), ["cell", "arm", "seed", *SETTING]]

    @cached_property
    def lines(self) -> tuple[Line, ...]:
        """The numbers as text, block by block; see `_all_lines`."""
        return tuple(_all_lines(self))

    @cached_property
    def _method_protocols(self) -> pd.DataFrame:
        """Each method with each protocol under which it was scored."""
        return self.rows[["method", "protocol"]].drop_duplicates()

    def arm_title(self, arm: str) -> str:
        """Return the display name of an arm."""
        return self.manifest.arm_title(arm)

    def method_title(self, method: str) -> str:
        """Return the display name of a method; `Model` for model scores, whose method is empty."""
        if not method:
            return "Model"
        return self.manifest.method_title(method)

    def dataset_title(self, dataset: str, source: str) -> str:
        """Return the display name of a dataset; that of a stand-in always contains `stand-in`."""
        return formatting.dataset_title(self.manifest.datasets.get(dataset), dataset, source)

    def is_control(self, method: str) -> bool:
        """Whether a method ignores the model."""
        return self.manifest.is_control(method)

    def setting_title(self, block: Block) -> str:
        """Return the dataset title, with backbone and label budget where needed to be unique."""
        backbones = {other.backbone for other in self.blocks if other.title == block.title}
        backbone = f", {block.backbone}" if len(backbones) > 1 else ""
        return f"{block.title}{backbone}{block.budget}"

    def methods(self) -> list[str]:
        """Return the methods in the order of the suite, controls last."""
        requested = self.manifest.suite.methods
        scored = {str(name) for name in self._method_protocols["method"] if name}
        order = [name for name in requested if name in scored]
        order += sorted(scored - set(order))
        return sorted(order, key=self.is_control)

    @cached_property
    def protocols(self) -> list[str]:
        """Names of the protocols of the scores, sorted."""
        return sorted(name for name in self._method_protocols["protocol"].unique() if name)

    def protocol_sentence(self, protocol: str) -> str:
        """Return name and rules of a protocol in one line; the name alone if nothing is known."""
        return formatting.protocol_sentence(protocol, self.manifest.protocols.get(protocol))

    def is_auxiliary(self, metric: str) -> bool:
        """Whether a metric is only context for the scores: the suite does not list it."""
        requested = self.manifest.suite.metrics
        return metric in AUXILIARY_METRICS and metric not in requested

    def result_lines(self, block: int) -> list[Line]:
        """Return the lines of a block that are results: all images, no auxiliary metrics.

        Args:
            block: index in `blocks`.
        """
        return [
            line
            for line in self.lines
            if line.block == block and line.subset == ALL and not self.is_auxiliary(line.metric)
        ]

    def each_score(self, block: Block) -> Iterator[tuple[str, MetricSpec]]:
        """Yield method and metric of each score of a block: model scores first, controls last."""
        scores = set(zip(block.means["method"], block.means["metric"], strict=True))
        for method in ("", *self.methods()):
            for metric, spec in self.specs.items():
                if (method, metric) in scores:
                    yield method, spec


def rows_of(frame: pd.DataFrame, setting: tuple[str, ...]) -> pd.DataFrame:
    """Select the rows of a dataset, source, backbone and label budget."""
    is_selected = pd.Series(True, index=frame.index)
    for name, value in zip(SETTING, setting, strict=True):
        is_selected &= frame[name] == value
    return frame[is_selected]


def _all_lines(content: ReportContent) -> Iterator[Line]:
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
    if not all(map(math.isfinite, (low, high, point))):
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
        "effect": formatting.effect(row["low"], row["high"], spec, row["q_value"]),
        "q_value": formatting.p_value(row["q_value"]),
        "p_images": formatting.p_value(row["p_images"]),
        "p_mcnemar": formatting.p_value(p_mcnemar) if math.isfinite(p_mcnemar) else "",
        "effect_size": (
            signed(row["effect_size"], 2)
            if math.isfinite(row["effect_size"])
            else formatting.NO_VALUE
        ),
        **_equivalence(row, spec),
        "is_significant": formatting.is_significant(row["q_value"]),
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
