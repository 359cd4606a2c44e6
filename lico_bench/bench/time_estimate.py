"""What a run takes on this machine: seconds by model and by stage, from its parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lico_bench.bench.calibration import Calibration
from lico_bench.bench.plan import Plan
from lico_bench.bench.units import STAGES, parts_of

OF_CELLS = ("training", "scoring", "storing")


@dataclass(frozen=True)
class TimeEstimate:
    """Seconds from here to the report, one model after the other.

    Attributes:
        by_stage: `loading`, `training`, `scoring`, `storing`, `report`.
        by_cell: of each model that is left, by its key.
        timed_share: of all, those of units that were timed on this machine, in [0, 1].
        took_s: that the timing took just now; 0 where all was known.
    """

    by_stage: Mapping[str, float]
    by_cell: Mapping[str, float]
    timed_share: float
    took_s: float = 0.0

    @property
    def seconds(self) -> float:
        """In all."""
        return sum(self.by_stage.values())


def estimate_time(
    plan: Plan, left: Mapping[str, float], known: Calibration, *, took_s: float = 0.0
) -> TimeEstimate:
    """What is left of a run takes.

    Args:
        left: see `units.training_left`.
        took_s: see `TimeEstimate`.
    """
    by_stage = dict.fromkeys(STAGES.values(), 0.0)
    by_cell = dict.fromkeys(left, 0.0)
    timed = 0.0
    for part in parts_of(plan, left):
        seconds, stage = known.seconds(part), STAGES[part.unit.kind]
        by_stage[stage] += seconds
        if stage in OF_CELLS:
            by_cell[part.cell.key] += seconds
        timed += seconds * known.knows(part.unit)
    return TimeEstimate(by_stage, by_cell, timed / max(1e-9, sum(by_stage.values())), took_s)
