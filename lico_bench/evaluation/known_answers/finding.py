"""The result of one check: measured value, limit, margin and verdict."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

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
