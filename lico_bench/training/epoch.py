"""State of an unfinished epoch, from which training resumes and ends with the same bits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass
class PartialEpoch:
    """Measurements of the finished updates of an epoch.

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
