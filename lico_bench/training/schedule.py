"""Learning-rate schedules: the share of the recipe's rate at each step."""

from __future__ import annotations

import math

from lico_bench.errors import InvalidInputError

WARM_SHARE = 0.3
WARM_START = 1 / 25


def rate_share(schedule: str, step: int, num_steps: int) -> float:
    """Share in (0, 1] of the learning rate at `step`, counted from 0, of `num_steps`.

    `constant`: 1. `cosine`: (1 + cos(π k / K)) / 2. `cosine_7_16`: cos(7 π k / 16 K), which ends at
    0.195 (the paper's). `one_cycle`: linear from 1/25 to 1 over the first 30 %, then a cosine to 0
    (after Smith & Topin, 2018).
    """
    position = step / num_steps
    if schedule == "constant":
        return 1.0
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * position))
    if schedule == "cosine_7_16":
        return math.cos(7 * math.pi * position / 16)
    if schedule == "one_cycle":
        if position < WARM_SHARE:
            return WARM_START + (1 - WARM_START) * position / WARM_SHARE
        return 0.5 * (1 + math.cos(math.pi * (position - WARM_SHARE) / (1 - WARM_SHARE)))
    raise InvalidInputError(f"schedule: unknown '{schedule}'")
