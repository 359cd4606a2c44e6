"""What a training minimises: named terms, each saying what it must train."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lico_bench.errors import TrainingError
from lico_bench.records import Output
from lico_bench.training.distributed import ALONE, Peers


class Batch(NamedTuple):
    """What an objective sees of one step.

    Where several processes train together, this is one part of a batch. The mean over samples is
    taken over the part; what compares samples with each other goes through `peers.gather`, and
    what is drawn is drawn for the whole batch, of which `peers.part` is used.

    Attributes:
        images: (B, 3, H, W) in [0, 1], augmented.
        labels: (B,) int64.
        output: of the classifier for `images`; logits, in single precision, are a function of
            `output.features`, which are in that of the training.
        classifier: for an objective that needs further forwards, in the precision of the training.
        peers: the processes that hold the other parts.
        whole_labels: of the whole batch; None where this is the whole.
    """

    images: Tensor
    labels: Tensor
    output: Output
    classifier: Callable[[Tensor], Output]
    peers: Peers = ALONE
    whole_labels: Tensor | None = None

    @property
    def all_labels(self) -> Tensor:
        """The labels of the whole batch."""
        return self.labels if self.whole_labels is None else self.whole_labels


@dataclass(frozen=True)
class Term:
    """One part of a loss.

    Attributes:
        weight: its factor in the sum.
        trains: the parts it must have a gradient on: `features` and `head` of the classifier, or
            parts of the objective itself. A run asserts it at its first step. Empty for a term that
            is a constant in the reading that it reproduces.
    """

    name: str
    weight: float
    trains: tuple[str, ...]


CROSS_ENTROPY = Term("cross_entropy", 1.0, ("features", "head"))


class Objective(nn.Module):
    """A weighted sum of terms, with parameters of its own where a method has them.

    A subclass declares `terms` and returns the value of each from `forward`.

    Args:
        generator: source of every draw the objective makes; its state travels in checkpoints.
    """

    terms: tuple[Term, ...] = (CROSS_ENTROPY,)

    def __init__(self, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.generator = generator or torch.Generator()

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Unweighted value () of each declared term."""
        return {"cross_entropy": F.cross_entropy(batch.output.logits, batch.labels)}

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

    def findings(self) -> dict[str, Any]:
        """What the trained objective says of itself beside numbers, ready for JSON."""
        return {}

    def get_extra_state(self) -> Tensor:
        """State of the generator, so that a resumed training draws the same."""
        return self.generator.get_state()

    def set_extra_state(self, state: Tensor) -> None:
        """Put the generator back."""
        self.generator.set_state(state.cpu())


Gradients = dict[str, dict[str, float]]


def term_gradients(
    objective: Objective,
    values: Mapping[str, Tensor],
    classifier: nn.Module,
    backward: Callable[[Tensor], None],
) -> Gradients:
    """Euclidean norm of the gradient of each weighted term on each part, {term: {part: norm}}.

    Parts are the classifier's children and those of the objective; parameters are left without a
    gradient.

    Args:
        backward: adds the gradient of a value to the parameters and keeps the graph.
    """
    parts: dict[str, Sequence[nn.Parameter]] = {
        name: list(module.parameters()) for name, module in classifier.named_children()
    }
    parts |= objective.parts()
    norms: Gradients = {}
    for term in objective.terms:
        _clear(classifier, objective)
        if values[term.name].requires_grad:
            backward(term.weight * values[term.name])
        norms[term.name] = {name: _gradient_norm(part) for name, part in parts.items()}
    _clear(classifier, objective)
    return norms


def assert_terms_train(objective: Objective, gradients: Gradients) -> None:
    """Raise unless every declared term has a non-zero, finite gradient on all it must train.

    Raises:
        TrainingError: naming the term and the part, so that a loss that trains nothing is seen at
            the first step and not in the results.
    """
    for term in objective.terms:
        for part in term.trains:
            size = gradients[term.name][part]
            if not 0 < size < float("inf"):
                raise TrainingError(
                    f"loss term '{term.name}': its gradient on {part} is {size:g} at the first "
                    "step; the arm declares that it trains it, mend the objective"
                )


def _gradient_norm(parameters: Sequence[nn.Parameter]) -> float:
    squares = [p.grad.float().square().sum() for p in parameters if p.grad is not None]
    return float(torch.stack(squares).sum().sqrt()) if squares else 0.0


def _clear(*modules: nn.Module) -> None:
    for module in modules:
        module.zero_grad(set_to_none=True)
