"""One check with its answer: what was expected, what was measured, how far apart they are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["pass", "known", "FAIL"]


@dataclass(frozen=True)
class Finding:
    """What one check of one entry found.

    Attributes:
        subject: name of the metric or method.
        check: what was asked, in words.
        limit: what `measured` is held against.
        is_floor: whether `measured` must reach the limit, or else must not pass it.
        detail: which case was the hardest, or what went wrong.
        reason: why a failure is no surprise; empty where none is declared.
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
        """How far `measured` lies on the right side of the limit; below zero is a failure."""
        return self.measured - self.limit if self.is_floor else self.limit - self.measured

    @property
    def holds(self) -> bool:
        """Whether the answer is the expected one; a NaN is not."""
        return self.margin >= 0

    @property
    def verdict(self) -> Verdict:
        """`pass`; `known` for a failure that is declared with its reason; else `FAIL`."""
        if self.holds:
            return "pass"
        return "known" if self.reason else "FAIL"


def at_least(
    subject: str, check: str, measured: float, limit: float, *, detail: str = "", reason: str = ""
) -> Finding:
    """A finding that wants `measured` at or above `limit`."""
    return Finding(subject, check, float(measured), limit, detail=detail, reason=reason)


def at_most(
    subject: str, check: str, measured: float, limit: float, *, detail: str = "", reason: str = ""
) -> Finding:
    """A finding that wants `measured` at or below `limit`."""
    return Finding(
        subject, check, float(measured), limit, is_floor=False, detail=detail, reason=reason
    )


def hardest(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Of one question asked many times: every failure, and of the rest the one closest to it."""
    ordered = sorted(findings, key=lambda finding: finding.margin)
    yield from (finding for finding in ordered if not finding.holds)
    yield from [finding for finding in ordered if finding.holds][:1]


def raised(subject: str, check: str, error: Exception) -> Finding:
    """The finding of a check that could not be made because the entry raised."""
    message = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return Finding(subject, check, math.nan, 0.0, detail=message)
