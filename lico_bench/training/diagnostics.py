"""Measurements during training: of every update, and at the first batch of an epoch.

The latter are the gradients of the loss terms and the similarity of the channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lico_bench.errors import TrainingError
from lico_bench.training.objective import Objective

MAX_IMAGES = 32  # the mean over this many is stable enough and cheap
Gradients = dict[str, dict[str, float]]


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


def term_gradients(
    objective: Objective,
    values: Mapping[str, Tensor],
    classifier: nn.Module,
    backward: Callable[[Tensor], None],
) -> Gradients:
    """Return the gradient norm of each weighted term on each part, {term: {part: norm}}.

    Parts are the classifier's children and those of the objective. Norms are Euclidean. All
    parameters are left without a gradient.

    Args:
        backward: adds the gradient of a value to the parameters and retains the graph.
    """
    parts: dict[str, Sequence[nn.Parameter]] = {
        name: list(module.parameters()) for name, module in classifier.named_children()
    }
    parts |= objective.parts()
    norms: Gradients = {}
    for term in objective.terms:
        _clear_gradients(classifier, objective)
        if values[term.name].requires_grad:
            backward(term.weight * values[term.name])
        norms[term.name] = {name: _gradient_norm(part) for name, part in parts.items()}
    _clear_gradients(classifier, objective)
    return norms


def assert_terms_train(objective: Objective, gradients: Gradients) -> None:
    """Check that every term has a non-zero, finite gradient on each part it must train.

    Raises:
        TrainingError: naming the term and the part, so that a loss without effect is found at the
            first step and not in the results.
    """
    for term in objective.terms:
        for part in term.trains:
            norm = gradients[term.name][part]
            if not 0 < norm < float("inf"):
                raise TrainingError(
                    f"loss term '{term.name}': its gradient on {part} is {norm:g} at the first "
                    f"step, but the arm declares that it trains {part}; correct the objective"
                )


def channel_geometry(features: Tensor) -> dict[str, float]:
    """Return the similarity of the channel maps of an image, mean over at most 32 images.

    Transport moves all channels of an image to the few tokens of one prompt. If the channels
    collapse, the cosine and the rank both go to 1.

    Args:
        features: (B, C, D), one row per channel.

    Returns:
        `channel_cosine`: mean cosine of two different rows, in [-1, 1], without zero rows.
        `effective_rank`: exp of the entropy of the normalised singular values, in [1, min(C, D)].

    Source: Roy & Vetterli, EUSIPCO 2007 (effective rank).
    """
    with torch.no_grad(), torch.autocast(features.device.type, enabled=False):
        rows = F.normalize(features[:MAX_IMAGES].float(), dim=2)
        alive = rows.square().sum(2).round()  # 1, or 0 for a dead channel
        count = alive.sum(1)
        pairs = (count * (count - 1)).clamp_min(1)
        cosine = (rows.sum(1).square().sum(1) - count) / pairs
        short_side_first = rows if rows.shape[1] < rows.shape[2] else rows.transpose(1, 2)
        gram = short_side_first @ short_side_first.transpose(1, 2)
        values = torch.linalg.eigvalsh(gram).clamp_min(0).sqrt()  # singular values
        shares = values / values.sum(1, keepdim=True).clamp_min(torch.finfo(values.dtype).tiny)
        rank = torch.special.entr(shares).sum(1).exp()
        return {"channel_cosine": float(cosine.mean()), "effective_rank": float(rank.mean())}


def _gradient_norm(parameters: Sequence[nn.Parameter]) -> float:
    squares = [p.grad.float().square().sum() for p in parameters if p.grad is not None]
    return float(torch.stack(squares).sum().sqrt()) if squares else 0.0


def _clear_gradients(*modules: nn.Module) -> None:
    for module in modules:
        module.zero_grad(set_to_none=True)
