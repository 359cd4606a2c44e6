"""Learning-rate schedules, as a factor on the recipe's learning rate at each step."""

from __future__ import annotations

import math

from lico_bench.errors import InvalidInputError
from lico_bench.records import SCHEDULES

WARM_START = 1 / 25


def rate_factor(schedule: str, step: int, num_steps: int, *, warmup_frac: float = 0.3) -> float:
    """Return the factor in (0, 1] on the learning rate at `step` (from 0) of `num_steps`.

    `constant`: 1. `cosine`: (1 + cos(π k / K)) / 2. `cosine_7_16`: cos(7 π k / 16 K), which ends at
    0.195 (the paper's). `one_cycle`: linear from 1/25 to 1 over the first `warmup_frac`, then a
    cosine to 0 (after Smith & Topin, 2018, with 30 % warm-up).
    """
    position = step / num_steps
    if schedule == "constant":
        return 1.0
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * position))
    if schedule == "cosine_7_16":
        return math.cos(7 * math.pi * position / 16)
    if schedule == "one_cycle":
        if position < warmup_frac:
            return WARM_START + (1 - WARM_START) * position / warmup_frac
        return 0.5 * (1 + math.cos(math.pi * (position - warmup_frac) / (1 - warmup_frac)))
    raise InvalidInputError(f"schedule: expected one of {', '.join(SCHEDULES)}, got '{schedule}'")
