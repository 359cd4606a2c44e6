"""The baseline arm: cross-entropy only."""

from __future__ import annotations

from lico_bench.training.arms import ARMS, Arm, ArmOptions, ObjectiveInputs
from lico_bench.training.objective import Objective


def build_baseline(_inputs: ObjectiveInputs, _options: ArmOptions) -> Objective:
    """Build an objective with cross-entropy as its only term."""
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
