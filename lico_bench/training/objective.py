"""What a training minimises: named terms, each saying what it must train."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    objective: Objective,
    values: Mapping[str, Tensor],
    classifier: nn.Module,
    backward: Callable[[Tensor], None],
) -> None:
    """Raise unless every declared term has a non-zero, finite gradient on all it must train.

    Args:
        backward: adds the gradient of a value to the parameters and keeps the graph.

    Raises:
        TrainingError: naming the term and the part, so that a loss that trains nothing is seen at
            the first step and not in the results.
    """
    parts: dict[str, Sequence[nn.Parameter]] = {
        name: list(module.parameters()) for name, module in classifier.named_children()
    }
    parts |= objective.parts()
    for term in objective.terms:
        _clear(classifier, objective)
        if values[term.name].requires_grad:
            backward(values[term.name])
        for part in term.trains:
            size = sum(float(p.grad.abs().sum()) for p in parts[part] if p.grad is not None)
            if not 0 < size < float("inf"):
                raise TrainingError(
                    f"loss term '{term.name}': its gradient on {part} is {size:g} at the first "
                    "step; the arm declares that it trains it, mend the objective"
                )
    _clear(classifier, objective)


def _clear(*modules: nn.Module) -> None:
    for module in modules:
        module.zero_grad(set_to_none=True)
