"""Estimate the seconds of a run on this machine, by cell and by stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lico_bench.bench.calibration import Calibration
from lico_bench.bench.plan import Plan
from lico_bench.bench.units import STAGES, work_items

CELL_STAGES = ("training", "scoring", "storing")


@dataclass(frozen=True)
class TimeEstimate:
    """Remaining seconds of a run, report included, with cells run one after the other.

    Attributes:
        by_stage: seconds of `loading`, `training`, `scoring`, `storing`, `report`.
        by_cell: seconds of each unfinished cell, by key.
        timed_share: share of the seconds based on units timed on this machine, in [0, 1].
        took_s: seconds spent on timing for this estimate; 0 if stored timings sufficed.
    """

    by_stage: Mapping[str, float]
    by_cell: Mapping[str, float]
    timed_share: float
    took_s: float = 0.0

    @property
    def seconds(self) -> float:
        """Total seconds."""
        return sum(self.by_stage.values())


def estimate_time(
    plan: Plan, remaining: Mapping[str, float], known: Calibration, *, took_s: float = 0.0
) -> TimeEstimate:
    """Estimate the remaining seconds of a run.

    Args:
        remaining: see `units.remaining_training`.
        took_s: see `TimeEstimate`.
    """
    by_stage = dict.fromkeys(STAGES.values(), 0.0)
    by_cell = dict.fromkeys(remaining, 0.0)
    timed = 0.0
    for item in work_items(plan, remaining):
        seconds, stage = known.seconds(item), STAGES[item.unit.kind]
        by_stage[stage] += seconds
        if stage in CELL_STAGES:
            by_cell[item.cell.key] += seconds
        timed += seconds * known.has_timing(item.unit)
    return TimeEstimate(by_stage, by_cell, timed / max(1e-9, sum(by_stage.values())), took_s)
