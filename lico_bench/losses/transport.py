"""Entropic optimal transport between the channels of an image and the tokens of its prompt.

Source: Lei et al., NeurIPS 2023, section 3.2; Cuturi, NeurIPS 2013. POT solves the problem.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lico_bench.checks import check_choice, check_count, check_positive
from lico_bench.errors import InvalidInputError

Gradient = Literal["cost", "none"]
OUT_OF_REACH = 200.0  # in units of epsilon; exp(-200) is 0 in float32


@dataclass(frozen=True)
class Transport:
    """Solution of B transport problems.

    Attributes:
        plan: (B, N, M) float32, the mass sent from row to column.
        cost: (B,) float32, ⟨P, C⟩ without the entropy term.
        iterations: of the batch; the solver stops when all problems agree with their marginals.
        converged: (B,) bool, whether the row sums met the tolerance.
    """

    plan: Tensor
    cost: Tensor
    iterations: int
    converged: Tensor


def sinkhorn(
    cost: Tensor,
    *,
    epsilon: float,
    max_iterations: int = 100,
    tolerance: float = 1e-3,
    column_mass: Tensor | None = None,
) -> Transport:
    """Plans P = argmin ⟨P, C⟩ - ε H(P) with uniform row sums, by Sinkhorn in the log domain.

    Args:
        cost: (B, N, M) ground cost C.
        epsilon: ε, weight of the entropy, above 0.
        tolerance: largest Euclidean norm of the error of a problem's row sums at the end.
        column_mass: (B, M) mass of each column, summing to 1; uniform if None. A column of zero
            mass receives nothing.

    Returns:
        `Transport`; no gradient runs through the plan, `cost` has the gradient of ⟨P, C⟩ in C.

    Raises:
        InvalidInputError: for a cost that is not (B, N, M) and finite, or an ε that is not above 0.

    Source: Cuturi, NeurIPS 2013; solved by `ot.solve_batch` of POT. Differs: the released LICO code
    stops on the mean change of the potentials, POT on the error of the row sums, checked at every
    tenth iteration.
    """
    import ot.batch  # seconds to import; only a transport needs it

    check_positive("epsilon", epsilon)
    check_positive("tolerance", tolerance)
    check_count("max_iterations", max_iterations)
    if cost.ndim != 3 or 0 in cost.shape:
        raise InvalidInputError(f"cost: expected (B, N, M), got {tuple(cost.shape)}")
    with torch.autocast(cost.device.type, enabled=False):
        single = cost if cost.dtype == torch.float64 else cost.float()
        fixed = single.detach()
        if not fixed.isfinite().all():
            raise InvalidInputError("cost: expected finite values, got NaN or infinity")
        rows = torch.full_like(fixed[:, :, 0], 1 / cost.shape[1])
        columns = _column_mass(fixed, column_mass)
        with torch.no_grad():
            # POT starts with a potential of 0 everywhere: only out of reach is a massless column
            # without any say in the first iteration.
            reach = torch.where(columns[:, None] > 0, fixed, fixed.amax() + OUT_OF_REACH * epsilon)
            solved = ot.batch.solve_batch(
                reach, epsilon, a=rows, b=columns, max_iter=max_iterations, tol=tolerance,
                method="log_sinkhorn", grad="detach",
            )  # fmt: skip
            error = (solved.plan.sum(2) - rows).norm(dim=1)
        return Transport(
            plan=solved.plan,
            cost=(solved.plan * single).sum(dim=(1, 2)),
            iterations=int(solved.log["n_iter"]) + 1,
            converged=error < tolerance,
        )


def transport_cost(features: Tensor, text: Tensor) -> Tensor:
    """Squared Euclidean distances between rows of length 1, C_nm = ‖f_n/‖f_n‖ - g_m/‖g_m‖‖².

    Args:
        features: (B, N, D) one row per channel.
        text: (B, M, D) one row per token.

    Returns:
        (B, N, M) float32 in [0, 4]. A row of zeros stays zero, at distance 1 from every other.
    """
    with torch.autocast(features.device.type, enabled=False):
        image, words = (_unit_rows(side) for side in (features, text))
        squares = image.square().sum(2)[:, :, None] + words.square().sum(2)[:, None, :]
        return (squares - 2 * image @ words.transpose(1, 2)).clamp_min(0)


def transport_loss(
    features: Tensor,
    text: Tensor,
    *,
    epsilon: float = 0.1,
    max_iterations: int = 100,
    tolerance: float = 1e-3,
    gradient: Gradient = "cost",
    token_mask: Tensor | None = None,
) -> Tensor:
    """Mean transport cost of a batch, L_OT = mean_i ⟨P_i, C_i⟩.

    C is `transport_cost`, P is `sinkhorn` of it with uniform marginals.

    Args:
        features: (B, C, D) image features F, one row per channel.
        text: (B, T, D) text features G, one row per token.
        gradient: "cost" holds the plan and lets the gradient through the cost; "none" gives a
            constant, as the released code does.
        token_mask: (B, T) bool, True where there is a token; the rest carries no mass.

    Returns:
        () float32 in [0, 4].

    Raises:
        InvalidInputError: for shapes that do not fit, NaN, or a sample without a token.

    Source: Lei et al., NeurIPS 2023, section 3.2. The gradient through the cost alone is exact for
    the entropic optimum (envelope theorem) and approximate for ⟨P, C⟩.
    """
    solved = solve_transport(
        features, text, epsilon=epsilon, max_iterations=max_iterations, tolerance=tolerance,
        token_mask=token_mask,
    )  # fmt: skip
    check_choice("gradient", gradient, ("cost", "none"))
    loss = solved.cost.mean()
    return loss if gradient == "cost" else loss.detach()


def solve_transport(
    features: Tensor,
    text: Tensor,
    *,
    epsilon: float,
    max_iterations: int,
    tolerance: float,
    token_mask: Tensor | None = None,
) -> Transport:
    """The transport between channels and tokens of each sample, with its plan and convergence."""
    if features.ndim != 3 or text.ndim != 3 or features.shape[::2] != text.shape[::2]:
        raise InvalidInputError(
            f"transport: expected features (B, C, D) and text (B, T, D), "
            f"got {tuple(features.shape)} and {tuple(text.shape)}"
        )
    mass = None
    if token_mask is not None:
        if token_mask.shape != text.shape[:2] or not token_mask.any(1).all():
            raise InvalidInputError(
                f"token_mask: expected {tuple(text.shape[:2])} with a token in every row, "
                f"got {tuple(token_mask.shape)}"
            )
        mass = token_mask / token_mask.sum(1, keepdim=True)
    return sinkhorn(
        transport_cost(features, text), epsilon=epsilon, max_iterations=max_iterations,
        tolerance=tolerance, column_mass=mass,
    )  # fmt: skip


def _column_mass(cost: Tensor, mass: Tensor | None) -> Tensor:
    if mass is None:
        return torch.full_like(cost[:, 0], 1 / cost.shape[2])
    if mass.shape != cost.shape[::2]:
        raise InvalidInputError(
            f"column_mass: expected {tuple(cost.shape[::2])}, got {tuple(mass.shape)}"
        )
    return mass.to(cost.dtype)


def _unit_rows(rows: Tensor) -> Tensor:
    single = rows if rows.dtype == torch.float64 else rows.float()
    return F.normalize(single, dim=2)
