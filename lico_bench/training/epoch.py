"""Within a training: the state of an unfinished epoch, and the learning rate of each update."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lico_bench.errors import InvalidInputError
from lico_bench.records import SCHEDULES

WARM_START = 1 / 25  # of the learning rate, at the first update of `one_cycle`


@dataclass
class PartialEpoch:
    """Measurements of the finished updates of an epoch, from which it resumes with the same bits.

    Attributes:
        draws: state of each generator at the start of the epoch. Generators draw ahead of the
            updates, so a resumed epoch repeats the draws of finished updates.
        seen: detached () tensors of each finished update, by name.
        diagnostics: numbers of the objective after each finished update.
        elapsed_s: training time of the finished updates.
    """

    draws: dict[str, Tensor]
    seen: list[dict[str, Tensor]] = field(default_factory=list)
    diagnostics: list[dict[str, float]] = field(default_factory=list)
    elapsed_s: float = 0.0

    @property
    def num_updates(self) -> int:
        """Number of finished updates."""
        return len(self.seen)

    def state(self) -> dict[str, Any]:
        """Return everything but `draws`, with one tensor per quantity instead of one per update."""
        names = self.seen[0] if self.seen else {}
        return {
            "seen": {name: torch.stack([values[name] for values in self.seen]) for name in names},
            "diagnostics": [dict(numbers) for numbers in self.diagnostics],
            "elapsed_s": self.elapsed_s,
        }

    @classmethod
    def from_state(
        cls, state: dict[str, Any], draws: dict[str, Tensor], device: torch.device
    ) -> PartialEpoch:
        """Restore the result of `state`, with the values of `seen` on `device`."""
        columns = {name: values.to(device).unbind() for name, values in state["seen"].items()}
        rows = zip(*columns.values(), strict=True)
        return cls(
            draws=draws,
            seen=[dict(zip(columns, row, strict=True)) for row in rows],
            diagnostics=[dict(numbers) for numbers in state["diagnostics"]],
            elapsed_s=float(state["elapsed_s"]),
        )


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
