"""The plain classifier: cross-entropy and nothing else."""

from __future__ import annotations

from lico_bench.training.arms import ARMS, Arm, ArmOptions, Setting
from lico_bench.training.objective import Objective


def build_baseline(_setting: Setting, _options: ArmOptions) -> Objective:
    """An objective with the cross-entropy as its only term."""
    return Objective()


ARMS.add(
    "baseline",
    Arm(
        title="Baseline",
        summary="cross-entropy alone",
        source="the reference of every pair",
        build=build_baseline,
    ),
)
