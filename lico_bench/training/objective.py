"""What a training minimises: named terms, each saying what it must train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lico_bench.errors import TrainingError
from lico_bench.records import Output


@dataclass(frozen=True)
class Term:
    """One part of a loss.

    Attributes:
        weight: its factor in the sum.
        trains: the parts it must have a gradient on: `features` and `head` of the classifier, or
            parts of the objective itself. A run asserts it at its first step.
    """

    name: str
    weight: float
    trains: tuple[str, ...]


CROSS_ENTROPY = Term("cross_entropy", 1.0, ("features", "head"))


class Objective(nn.Module):
    """A weighted sum of terms, with parameters of its own where a method has them.

    A subclass declares `terms` and returns the value of each from `forward`; draws come from the
    generator it was given, never from the global state.
    """

    terms: tuple[Term, ...] = (CROSS_ENTROPY,)

    def forward(self, output: Output, labels: Tensor) -> dict[str, Tensor]:
        """Unweighted value () of each declared term."""
        return {"cross_entropy": F.cross_entropy(output.logits, labels)}

    def total(self, values: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum, ()."""
        return torch.stack([term.weight * values[term.name] for term in self.terms]).sum()

    def parts(self) -> dict[str, Sequence[nn.Parameter]]:
        """Own parameters by the names that terms use."""
        return {}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Own parameters for the optimiser, with settings that differ from the recipe's."""
        return []

    def diagnostics(self) -> dict[str, float]:
        """Numbers of the last step worth a line in the history."""
        return {}


def assert_terms_train(
    objective: Objective, values: Mapping[str, Tensor], classifier: nn.Module
) -> None:
    """Raise unless every declared term has a non-zero, finite gradient on all it must train.

    Raises:
        TrainingError: naming the term and the part, so that a loss that trains nothing is seen at
            the first step and not in the results.
    """
    parts: dict[str, Sequence[nn.Parameter]] = {
        name: list(module.parameters()) for name, module in classifier.named_children()
    }
    parts |= objective.parts()
    for term in objective.terms:
        for part in term.trains:
            value = values[term.name]
            total = _gradient_size(value, parts[part]) if value.requires_grad else 0.0
            if not 0 < total < float("inf"):
                raise TrainingError(
                    f"loss term '{term.name}': its gradient on {part} is {total:g} at the first "
                    "step; the arm declares that it trains it, mend the objective"
                )


def _gradient_size(value: Tensor, parameters: Sequence[nn.Parameter]) -> float:
    gradients = torch.autograd.grad(value, list(parameters), retain_graph=True, allow_unused=True)
    return sum(float(g.detach().abs().sum()) for g in gradients if g is not None)
