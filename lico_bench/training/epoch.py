"""What an unfinished epoch has seen: enough to go on inside it and end with the same bits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass
class EpochSoFar:
    """An epoch under way.

    Attributes:
        draws: state of each generator that draws ahead of the updates, at the epoch's start; the
            draws of finished updates are made again from there.
        seen: detached () tensors of each finished update, by name.
        diagnostics: numbers of the objective after each finished update.
        elapsed_s: of the stretches before this one.
    """

    draws: dict[str, Tensor]
    seen: list[dict[str, Tensor]] = field(default_factory=list)
    diagnostics: list[dict[str, float]] = field(default_factory=list)
    elapsed_s: float = 0.0

    @property
    def num_updates(self) -> int:
        """Finished updates."""
        return len(self.seen)

    def state(self) -> dict[str, Any]:
        """All but the draws, as plain values; one tensor per quantity, not one per update."""
        names = self.seen[0] if self.seen else {}
        return {
            "seen": {name: torch.stack([values[name] for values in self.seen]) for name in names},
            "diagnostics": [dict(numbers) for numbers in self.diagnostics],
            "elapsed_s": self.elapsed_s,
        }

    @classmethod
    def from_state(
        cls, state: dict[str, Any], draws: dict[str, Tensor], device: torch.device
    ) -> EpochSoFar:
        """What `state` gave, with the seen values on `device`."""
        columns = {name: values.to(device).unbind() for name, values in state["seen"].items()}
        rows = zip(*columns.values(), strict=True)
        return cls(
            draws=draws,
            seen=[dict(zip(columns, row, strict=True)) for row in rows],
            diagnostics=[dict(numbers) for numbers in state["diagnostics"]],
            elapsed_s=float(state["elapsed_s"]),
        )
