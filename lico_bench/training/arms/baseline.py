"""The baseline arm: cross-entropy only."""

from __future__ import annotations

from lico_bench.training.arms import ARMS, Arm
from lico_bench.training.objective import Objective

ARMS.add(
    "baseline",
    Arm(
        title="Baseline",
        summary="cross-entropy alone",
        source="the reference of every pair",
        build=lambda _inputs, _options: Objective(),
    ),
)
