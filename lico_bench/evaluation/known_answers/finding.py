"""The result of one check (value, limit, margin, verdict), and comparisons of scores."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lico_bench.evaluation.known_answers.scene import Scene
from lico_bench.metrics import Metric, MetricInputs

RANDOM = "random_map"
Verdict = Literal["pass", "known", "FAIL"]


@dataclass(frozen=True)
class Finding:
    """The result of one check of a metric or method.

    Attributes:
        subject: name of the metric or method.
        check: description of the check.
        is_floor: whether `limit` is a minimum for `measured`; otherwise it is a maximum.
        detail: the hardest case, or the error.
        reason: declared explanation of an expected failure; empty if none is declared.
    """

    subject: str
    check: str
    measured: float
    limit: float
    is_floor: bool = True
    detail: str = ""
    reason: str = ""

    @property
    def margin(self) -> float:
        """Distance of `measured` from the limit; negative for a failure."""
        return self.measured - self.limit if self.is_floor else self.limit - self.measured

    @property
    def holds(self) -> bool:
        """Whether the limit holds; false for NaN."""
        return self.margin >= 0

    @property
    def verdict(self) -> Verdict:
        """`pass`, `known` for a failure with a declared reason, otherwise `FAIL`."""
        if self.holds:
            return "pass"
        return "known" if self.reason else "FAIL"


def at_least(
    subject: str, check: str, measured: float, limit: float, *, detail: str = "", reason: str = ""
) -> Finding:
    """Finding of a check with a minimum."""
    return Finding(subject, check, float(measured), limit, detail=detail, reason=reason)


def at_most(
    subject: str, check: str, measured: float, limit: float, *, detail: str = "", reason: str = ""
) -> Finding:
    """Finding of a check with a maximum."""
    return Finding(
        subject, check, float(measured), limit, is_floor=False, detail=detail, reason=reason
    )


def hardest(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Of one check repeated over many cases: all failures and the pass with the smallest margin."""
    ordered = sorted(findings, key=lambda finding: finding.margin)
    yield from (finding for finding in ordered if not finding.holds)
    yield from [finding for finding in ordered if finding.holds][:1]


def raised(subject: str, check: str, error: Exception) -> Finding:
    """Finding of a check that could not finish because the entry raised."""
    message = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return Finding(subject, check, math.nan, 0.0, detail=message)


def merit(metric: Metric, inputs: MetricInputs) -> Tensor:
    """Metric values (N,) float64, negated if lower is better; unchanged for descriptive metrics."""
    values = metric.apply(inputs).values.detach().double().cpu()
    return -values if metric.spec.higher_is_better is False else values


def effect_size(differences: Tensor) -> float:
    """Mean of the (N,) differences over their standard deviation, ignoring NaN.

    Infinite for equal non-zero differences; NaN if all are NaN.
    """
    defined = differences[~differences.isnan()]
    if len(defined) == 0:
        return float("nan")
    mean, spread = defined.mean(), defined.std(correction=0)
    if spread == 0:
        return float(torch.sign(mean) * torch.inf) if mean != 0 else 0.0
    return float(mean / spread)


def difference(values: Tensor, others: Tensor) -> float:
    """Largest difference, relative for values above 1; infinite if only one of a pair is NaN."""
    if not torch.equal(values.isnan(), others.isnan()):
        return float("inf")
    change = (values - others).abs() / values.abs().clamp_min(1)
    return float(change.nan_to_num().max())


@dataclass(frozen=True)
class MapScores:
    """Merit (N,) of the oracle and of the random map on one scene."""

    oracle: Tensor
    random: Tensor

    @classmethod
    def of(cls, metric: Metric, scene: Scene) -> MapScores:
        """Return the merits of the oracle and of the random map."""
        return cls(
            merit(metric, scene.cached_inputs("oracle map", lambda: scene.oracle)),
            merit(metric, scene.inputs_of(RANDOM)),
        )

    def above_random(self, values: Tensor) -> float:
        """Position of a mean merit: 0 for that of the random map, 1 for that of the oracle.

        Args:
            values: (N,) merits.
        """
        gap = float((self.oracle - self.random).nanmean())
        return float((values - self.random).nanmean()) / gap if gap else float("nan")
