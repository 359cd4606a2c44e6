"""Entropic optimal transport between the channels of an image and the tokens of its prompt.

Source: Lei et al., NeurIPS 2023, section 3.2; Cuturi, NeurIPS 2013. Each option is
named with the code that computes it; revisions are in BENCHMARK.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from lico_bench.checks import check_choice, check_count, check_positive
from lico_bench.errors import InvalidInputError
from lico_bench.losses.rows import in_single, unit_rows

Gradient = Literal["cost", "full", "none"]
Kind = Literal["squared", "cosine"]
GRADIENTS = ("cost", "full", "none")
OUT_OF_REACH = 200.0  # in units of epsilon; exp(-200) is 0 in float32
MOST_SPREAD = 40.0  # of a cost, in units of epsilon, up to which exp(-C / epsilon) is scaled itself
CHECK_EVERY = 10  # iterations between looks at the marginals, as POT does
MASS_SLACK = 1e-4  # of the sum of a problem's column masses; float32 adds a thousand to 1e-6


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
    gradient: Gradient = "cost",
) -> Transport:
    """Plans P = argmin ⟨P, C⟩ - ε H(P) with uniform row sums, by Sinkhorn's iterations.

    H(P) = -Σ_nm P_nm log P_nm. The potentials start at 0 and take turns, rows first.

    Args:
        cost: (B, N, M) ground cost C; float32 resolves |C| / ε up to 8e6.
        epsilon: ε, weight of the entropy, above 0.
        tolerance: largest Euclidean norm of the error of a problem's row sums at the end.
        column_mass: (B, M) mass of each column, summing to 1; uniform if None. A column of zero
            mass receives nothing.
        gradient: of `Transport.cost` in C. "cost" holds the plan; "full" goes through the
            iterations as well and keeps all of them in memory, 2 B N M values each (in float32 it
            is off by 1e-6 at ε = 0.1, by 2e-3 at 1e-3 and by a tenth at 1e-4: give float64 where
            that matters); "none" gives a constant.

    Returns:
        `Transport`; its plan has a gradient with "full" alone. A column of zero mass has a gradient
        of 0.

    Raises:
        InvalidInputError: for a cost that is not (B, N, M) and finite, or too large for ε; for an ε
            that is not above 0; for masses that are negative or do not sum to 1.

    Source: Cuturi, NeurIPS 2013. Where C spreads over at most 40 ε and the plan is held, the kernel
    is scaled here; else `ot.solve_batch` of POT solves in the log domain, and differentiates.
    Differs: the released LICO code stops on the mean change of the potentials, this and POT on the
    error of the row sums, checked at every tenth iteration.
    """
    check_positive("epsilon", epsilon)
    check_positive("tolerance", tolerance)
    check_count("max_iterations", max_iterations)
    check_choice("gradient", gradient, GRADIENTS)
    if cost.ndim != 3 or 0 in cost.shape:
        raise InvalidInputError(
            f"cost: expected (B, N, M) with nothing empty, got {tuple(cost.shape)}; "
            "a single problem is cost[None]"
        )
    with torch.autocast(cost.device.type, enabled=False):
        single = in_single(cost)
        fixed = single.detach()
        rows = torch.full_like(fixed[:, :, 0], 1 / cost.shape[1])
        columns = _column_mass(fixed, column_mass)
        spread = _check_values(fixed, columns, epsilon) / epsilon
        options = _Options(epsilon, max_iterations, tolerance)
        if gradient != "full" and spread <= MOST_SPREAD:
            plan, iterations = _scaled(fixed, rows, columns, options)
        else:
            with torch.set_grad_enabled(gradient == "full" and torch.is_grad_enabled()):
                plan, iterations = _in_log_domain(
                    single, rows, columns, options, differentiates=gradient == "full"
                )
        return Transport(
            plan=plan,
            cost=(plan * (fixed if gradient == "none" else single)).sum(dim=(1, 2)),
            iterations=iterations,
            converged=(plan.detach().sum(2) - rows).norm(dim=1) < tolerance,
        )


class _Options(NamedTuple):
    epsilon: float
    max_iterations: int
    tolerance: float


def _scaled(cost: Tensor, rows: Tensor, columns: Tensor, options: _Options) -> tuple[Tensor, int]:
    """Plan and iterations by scaling exp(-C / ε) itself: a tenth of the time of the log domain.

    The same iterates: u = a / (K v), v = b / (Kᵀ u) are the exponentials of the potentials. In
    float32 they stay in range up to `MOST_SPREAD`.
    """
    # The least cost of a row moves into its factor, so that no row of the kernel is all small.
    kernel = torch.exp((cost.amin(2, keepdim=True) - cost) / options.epsilon)
    mirrored = kernel.transpose(1, 2).contiguous()
    right = (columns > 0).to(cost.dtype)[:, :, None]  # a massless column never has any say
    wanted = rows[:, :, None], columns[:, :, None]
    for iteration in range(options.max_iterations):
        left = wanted[0] / torch.bmm(kernel, right)
        right = wanted[1] / torch.bmm(mirrored, left)
        if iteration % CHECK_EVERY == 0:
            sums = left * torch.bmm(kernel, right)
            if float((sums - wanted[0]).norm(dim=1).amax()) < options.tolerance:
                break
    return left * kernel * right.transpose(1, 2), iteration + 1


def _in_log_domain(
    cost: Tensor, rows: Tensor, columns: Tensor, options: _Options, *, differentiates: bool
) -> tuple[Tensor, int]:
    """Plan and iterations by POT, for any ε, and where the gradient goes through the iterations."""
    import ot.batch  # seconds to import; most transports do without

    # POT starts with a potential of 0 everywhere: only out of reach is a massless column without
    # any say in the first iteration. From then on its potential is -inf, its mass exactly 0; an
    # infinite cost would make that potential NaN.
    away = cost.detach().amax() + OUT_OF_REACH * options.epsilon
    solved = ot.batch.solve_batch(
        torch.where(columns[:, None] > 0, cost, away), options.epsilon, a=rows, b=columns,
        max_iter=options.max_iterations, tol=options.tolerance, method="log_sinkhorn",
        grad="autodiff" if differentiates else "detach",
    )  # fmt: skip
    return solved.plan, int(solved.log["n_iter"]) + 1


def transport_cost(
    features: Tensor, text: Tensor, *, normalise: bool = True, kind: Kind = "squared"
) -> Tensor:
    """Squared Euclidean distances between rows of length 1, C_nm = ‖f_n/‖f_n‖ - g_m/‖g_m‖‖².

    Without `normalise` C_nm = ‖f_n - g_m‖². `kind` "cosine" gives
    C_nm = 1 - f_n·g_m / (‖f_n‖ ‖g_m‖), half the squared distance of rows of length 1, whether
    `normalise` or not.

    Args:
        features: (B, N, D) one row per channel.
        text: (B, M, D) one row per token.
        normalise: as in the released code and both reproductions.
        kind: "squared" as in the released code and both reproductions; "cosine" is in none.

    Returns:
        (B, N, M) float32 in [0, 4], with "cosine" in [0, 2], without `normalise` at least 0. A row
        of zeros stays zero, at distance 1 from every row of length 1; its gradient is 0.

    Raises:
        InvalidInputError: for shapes that do not fit or an unknown kind.
    """
    check_choice("kind", kind, ("squared", "cosine"))
    shapes = tuple(features.shape), tuple(text.shape)
    if features.ndim != 3 or text.ndim != 3 or shapes[0][::2] != shapes[1][::2]:
        raise InvalidInputError(
            f"transport: expected features (B, C, D) and text (B, T, D), got {shapes[0]} and "
            f"{shapes[1]}; give each image its own text, and both rows of one length"
        )
    if 0 in shapes[0] + shapes[1]:
        raise InvalidInputError(
            f"transport: expected features and text with nothing empty, got {shapes[0]} and "
            f"{shapes[1]}; leave empty batches out"
        )
    with torch.autocast(features.device.type, enabled=False):
        image, words = (in_single(side) for side in (features, text))
        if normalise or kind == "cosine":
            image, words = unit_rows(image), unit_rows(words)
        if kind == "cosine":
            return (1 - image @ words.transpose(1, 2)).clamp_min(0)
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
    normalise: bool = True,
    kind: Kind = "squared",
) -> Tensor:
    """Mean transport cost of a batch, L_OT = mean_i ⟨P_i, C_i⟩.

    C is `transport_cost`, P is `sinkhorn` of it with uniform marginals.

    Args:
        features: (B, C, D) image features F, one row per channel.
        text: (B, T, D) text features G, one row per token.
        epsilon: 0.1 in the released code and by Fletcher et al., 1e-4 by Bartak et al.
        gradient: "cost" holds the plan and lets the gradient through the cost; "full" goes through
            the solver as well, as both reproductions do; "none" gives a constant, as the released
            code does.
        token_mask: (B, T) bool, True where there is a token; the rest carries no mass.
        normalise, kind: see `transport_cost`.

    Returns:
        () float32 in the range of `transport_cost`.

    Raises:
        InvalidInputError: for shapes that do not fit, NaN, or a sample without a token.

    Source: Lei et al., NeurIPS 2023, section 3.2. The gradient through the cost alone is exact for
    the entropic optimum (envelope theorem) and approximate for ⟨P, C⟩.
    """
    return solve_transport(
        features, text, epsilon=epsilon, max_iterations=max_iterations, tolerance=tolerance,
        gradient=gradient, token_mask=token_mask, normalise=normalise, kind=kind,
    ).cost.mean()  # fmt: skip


def solve_transport(
    features: Tensor,
    text: Tensor,
    *,
    epsilon: float,
    max_iterations: int,
    tolerance: float,
    gradient: Gradient = "cost",
    token_mask: Tensor | None = None,
    normalise: bool = True,
    kind: Kind = "squared",
) -> Transport:
    """The transport of `transport_loss`, one problem per sample, with its plan and convergence."""
    check_choice("gradient", gradient, GRADIENTS)
    if gradient == "none":
        features, text = features.detach(), text.detach()
    cost = transport_cost(features, text, normalise=normalise, kind=kind)
    mass = None if token_mask is None else _token_mass(token_mask, cost)
    return sinkhorn(
        cost, epsilon=epsilon, max_iterations=max_iterations, tolerance=tolerance,
        column_mass=mass, gradient=gradient,
    )  # fmt: skip


def _token_mass(mask: Tensor, cost: Tensor) -> Tensor:
    """(B, T) equal shares of the tokens that are there, in the precision of the cost."""
    expected = tuple(cost.shape[::2])
    if tuple(mask.shape) != expected or mask.dtype != torch.bool:
        raise InvalidInputError(
            f"token_mask: expected {expected} bool, got {tuple(mask.shape)} {mask.dtype}; "
            "give one truth value per token"
        )
    if not mask.any(1).all():
        raise InvalidInputError(
            f"token_mask: expected a token in every row, got none in "
            f"{int((~mask.any(1)).sum())} of {len(mask)}; leave those samples out"
        )
    counted = mask.to(cost.dtype)
    return counted / counted.sum(1, keepdim=True)


def _column_mass(cost: Tensor, mass: Tensor | None) -> Tensor:
    if mass is None:
        return torch.full_like(cost[:, 0], 1 / cost.shape[2])
    if mass.shape != cost.shape[::2]:
        raise InvalidInputError(
            f"column_mass: expected {tuple(cost.shape[::2])}, one value per column, "
            f"got {tuple(mass.shape)}"
        )
    return mass.detach().to(cost.dtype)


def _check_values(cost: Tensor, columns: Tensor, epsilon: float) -> float:
    """All that needs the values themselves, in one look at the device; the spread of the cost."""
    off = (columns.sum(1) - 1).abs().amax()
    low, high, least, off_by = torch.stack([*cost.aminmax(), columns.amin(), off]).tolist()
    if not math.isfinite(high - low):
        raise InvalidInputError(
            "cost: expected finite values, got NaN or infinity; mend the features it is made of"
        )
    if not (least >= 0 and off_by < MASS_SLACK):
        raise InvalidInputError(
            "column_mass: expected values of at least 0 that sum to 1 in each problem, got a least "
            f"value of {least:.3g} and a sum that is off by {off_by:.3g}; divide by the sum"
        )
    largest, limit = max(-low, high), epsilon / torch.finfo(cost.dtype).eps
    if largest > limit:
        raise InvalidInputError(
            f"cost: expected at most {limit:.3g} in size at epsilon {epsilon:g}, so that "
            f"{cost.dtype} tells potentials apart, got {largest:.3g}; raise epsilon or normalise "
            "the rows"
        )
    return float(high - low)
