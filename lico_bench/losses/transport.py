"""LICO's transport loss: entropic optimal transport between image channels and prompt tokens.

For image i, with feature maps F_i (C rows) and prompt features G_i (T rows):

    L_OT = mean_i ⟨P_i, C_i⟩                           `transport_loss`
    C_nm = ‖f_n/‖f_n‖ - g_m/‖g_m‖‖²                    `transport_cost`
    P_i  = argmin ⟨P, C_i⟩ - ε H(P), fixed marginals   `sinkhorn`

Every channel has mass 1/C. Every token has mass 1/T_i, where T_i is the number of tokens in the
prompt of image i. Prompts differ in length and are padded to a common T, so a mask is needed:
padded positions must have zero mass, otherwise channels would be matched to padding. The text
encoder makes the mask (`TextEncoder.arrange`, as `models.TokenVectors.mask`); the objective passes
it as `token_mask`, or none for targets without padding, and ones with the option `ot_padding`.

Source: Lei et al., NeurIPS 2023, section 3.2; Cuturi, NeurIPS 2013. Each option names the published
code that computes it; docs/reference/arms.md lists the revisions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lico_bench.checks import check_choice, check_count, check_positive
from lico_bench.errors import InvalidInputError

Gradient = Literal["cost", "full", "none"]
Kind = Literal["squared", "cosine"]
GRADIENTS = ("cost", "full", "none")
CHECK_EVERY = 10  # iterations between checks of the marginals, as in POT
MAX_KERNEL_SPREAD = 40.0  # (max C - min C) / ε up to which exp(-C / ε) is safe in float32
MASKED_COST_EPSILONS = 200.0  # added to the cost of a zero-mass column; exp(-200) is 0 in float32
MIN_NORM = 1e-12  # divisor of rows with a smaller norm
MASS_TOLERANCE = 1e-4  # of the sum of the column masses; float32 sums 1000 values to 1e-6


@dataclass(frozen=True)
class Transport:
    """Solution of B transport problems.

    Attributes:
        plan: (B, N, M) float32, mass moved from row n to column m.
        cost: (B,) float32, ⟨P, C⟩ without the entropy term.
        iterations: of the batch; the solver stops when all problems meet the tolerance.
        converged: (B,) bool, True where the row sums met the tolerance.
    """

    plan: Tensor
    cost: Tensor
    iterations: int
    converged: Tensor


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

    C_i is `transport_cost`; P_i is the `sinkhorn` plan for uniform marginals.

    Args:
        features: (B, C, D) image features F, one row per channel.
        text: (B, T, D) text features G, one row per token.
        epsilon: ε; 0.1 in the released code and in Fletcher et al., 1e-4 in Bartak et al.
        max_iterations, tolerance: of the solver, see `sinkhorn`.
        gradient: "cost" treats the plan as a constant and differentiates the cost matrix; "full"
            also differentiates the solver, as both reproductions do; "none" returns a constant, as
            the released code does.
        token_mask: (B, T) bool, True at tokens, False at padding. Padding has zero mass: it
            receives nothing from any channel and has zero gradient. None: every row is a token.
        normalise, kind: see `transport_cost`.

    Returns:
        () float32 in the range of `transport_cost`.

    Raises:
        InvalidInputError: for mismatched shapes, NaN, or a sample without a token.

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
    """Plan, cost and convergence per sample; `transport_loss` is the mean of the costs."""
    check_choice("gradient", gradient, GRADIENTS)
    if gradient == "none":
        features, text = features.detach(), text.detach()
    cost = transport_cost(features, text, normalise=normalise, kind=kind)
    mass = None if token_mask is None else _token_mass(token_mask, cost)
    return sinkhorn(
        cost, epsilon=epsilon, max_iterations=max_iterations, tolerance=tolerance,
        column_mass=mass, gradient=gradient,
    )  # fmt: skip


def transport_cost(
    features: Tensor, text: Tensor, *, normalise: bool = True, kind: Kind = "squared"
) -> Tensor:
    """Squared Euclidean distances between unit rows, C_nm = ‖f_n/‖f_n‖ - g_m/‖g_m‖‖².

    With `normalise` False, C_nm = ‖f_n - g_m‖². With `kind` "cosine",
    C_nm = 1 - f_n·g_m / (‖f_n‖ ‖g_m‖), half the squared distance of unit rows; `normalise` then has
    no effect.

    Args:
        features: (B, N, D), one row per channel.
        text: (B, M, D), one row per token.
        normalise: True in the released code and in both reproductions.
        kind: "squared" in the released code and in both reproductions; none has "cosine".

    Returns:
        (B, N, M) float32 in [0, 4]; in [0, 2] for "cosine"; at least 0 without `normalise`. A zero
        row stays zero: its distance from every unit row is 1 and its gradient is 0.

    Raises:
        InvalidInputError: for mismatched shapes or an unknown kind.
    """
    check_choice("kind", kind, ("squared", "cosine"))
    shapes = tuple(features.shape), tuple(text.shape)
    if features.ndim != 3 or text.ndim != 3 or shapes[0][::2] != shapes[1][::2]:
        raise InvalidInputError(
            f"transport: expected features (B, C, D) and text (B, T, D), got {shapes[0]} and "
            f"{shapes[1]}; give each image its own text, with rows of the same length D"
        )
    if 0 in shapes[0] + shapes[1]:
        raise InvalidInputError(
            f"transport: expected features and text without an empty axis, got {shapes[0]} and "
            f"{shapes[1]}; skip empty batches"
        )
    with torch.autocast(features.device.type, enabled=False):
        image_rows, text_rows = as_single_precision(features), as_single_precision(text)
        if normalise or kind == "cosine":
            image_rows, text_rows = unit_rows(image_rows), unit_rows(text_rows)
        if kind == "cosine":
            return (1 - image_rows @ text_rows.transpose(1, 2)).clamp_min(0)
        squares = image_rows.square().sum(2)[:, :, None] + text_rows.square().sum(2)[:, None, :]
        return (squares - 2 * image_rows @ text_rows.transpose(1, 2)).clamp_min(0)


def as_single_precision(values: Tensor) -> Tensor:
    """Convert to float32; float64 stays, for checks by finite differences."""
    return values if values.dtype == torch.float64 else values.float()


def unit_rows(rows: Tensor) -> Tensor:
    """Divide rows (..., D) by their Euclidean norms; a zero row stays and has zero gradient.

    Differs: `torch.nn.functional.normalize` has a gradient of 1e12 at a zero row, which a dead
    channel produces.
    """
    norms = rows.norm(dim=-1, keepdim=True)
    return rows / torch.where(norms > 0, norms.clamp_min(MIN_NORM), math.inf)


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

    H(P) = -Σ_nm P_nm log P_nm. The potentials start at 0; each iteration updates the rows first,
    then the columns.

    Args:
        cost: (B, N, M) ground cost C; float32 resolves |C| / ε up to 8e6.
        epsilon: ε, weight of the entropy, above 0.
        max_iterations: upper limit; the result is returned even if it has not converged.
        tolerance: largest Euclidean norm of the error of a problem's row sums.
        column_mass: (B, M) mass of each column, summing to 1; None for uniform. A column of zero
            mass receives nothing.
        gradient: of `Transport.cost` in C. "cost" treats the plan as a constant. "full" also
            differentiates the iterations and stores all of them, 2 B N M values each (in float32
            its error is 1e-6 at ε = 0.1, 2e-3 at 1e-3 and a tenth at 1e-4: pass float64 where that
            matters). "none" returns a constant.

    Returns:
        `Transport`; its plan has a gradient only with "full". A column of zero mass has a gradient
        of 0.

    Raises:
        InvalidInputError: for a cost that is not (B, N, M) and finite, or too large for ε; for an ε
            not above 0; for masses that are negative or do not sum to 1.

    Source: Cuturi, NeurIPS 2013. If C spreads over at most 40 ε and the plan is a constant, the
    kernel exp(-C / ε) is scaled here; otherwise `ot.batch.solve_batch` of POT solves in the log
    domain and differentiates.
    Differs: the released LICO code stops on the mean change of the potentials. This code and POT
    stop on the error of the row sums, checked every tenth iteration.
    """
    options = _SolverOptions(epsilon, max_iterations, tolerance)
    check_choice("gradient", gradient, GRADIENTS)
    with torch.autocast(cost.device.type, enabled=False):
        cost = as_single_precision(cost)
        constant_cost = cost.detach()
        rows, columns = _masses(constant_cost, column_mass)
        spread = _check_values(constant_cost, columns, epsilon) / epsilon
        if gradient != "full" and spread <= MAX_KERNEL_SPREAD:
            plan, iterations = _scale_kernel(constant_cost, rows, columns, options)
        else:
            plan, iterations = _solve_in_log_domain(
                cost, rows, columns, options, differentiates=gradient == "full"
            )
        return Transport(
            plan=plan,
            cost=(plan * (constant_cost if gradient == "none" else cost)).sum(dim=(1, 2)),
            iterations=iterations,
            converged=(plan.detach().sum(2) - rows).norm(dim=1) < tolerance,
        )


@dataclass(frozen=True)
class _SolverOptions:
    epsilon: float
    max_iterations: int
    tolerance: float

    def __post_init__(self) -> None:
        check_positive("epsilon", self.epsilon)
        check_positive("tolerance", self.tolerance)
        check_count("max_iterations", self.max_iterations)


def _scale_kernel(
    cost: Tensor, rows: Tensor, columns: Tensor, options: _SolverOptions
) -> tuple[Tensor, int]:
    """Plan and iterations by scaling exp(-C / ε), in a tenth of the time of the log domain.

    The iterates are the same: u = a / (K v), v = b / (Kᵀ u) are the exponentials of the potentials.
    They stay within the range of float32 up to `MAX_KERNEL_SPREAD`.
    """
    # Each row's smallest cost is moved into its factor, so that no row of K underflows as a whole.
    kernel = torch.exp((cost.amin(2, keepdim=True) - cost) / options.epsilon)
    kernel_t = kernel.transpose(1, 2).contiguous()
    row_mass, column_mass = rows[:, :, None], columns[:, :, None]
    v = (columns > 0).to(cost.dtype)[:, :, None]  # a zero-mass column has no effect from the start
    for iteration in range(options.max_iterations):
        u = row_mass / torch.bmm(kernel, v)
        v = column_mass / torch.bmm(kernel_t, u)
        if iteration % CHECK_EVERY == 0:
            row_sums = u * torch.bmm(kernel, v)
            if float((row_sums - row_mass).norm(dim=1).amax()) < options.tolerance:
                break
    return u * kernel * v.transpose(1, 2), iteration + 1


def _solve_in_log_domain(
    cost: Tensor, rows: Tensor, columns: Tensor, options: _SolverOptions, *, differentiates: bool
) -> tuple[Tensor, int]:
    """Plan and iterations by POT, for any ε, and where the iterations are differentiated."""
    import ot.batch  # takes seconds to import; most problems do not need it

    # POT starts all potentials at 0, so a zero-mass column would take part in the first iteration
    # unless its cost is large. From then on its potential is -inf and its mass exactly 0. An
    # infinite cost would make that potential NaN.
    masked_cost = cost.detach().amax() + MASKED_COST_EPSILONS * options.epsilon
    with torch.set_grad_enabled(differentiates and torch.is_grad_enabled()):
        solved = ot.batch.solve_batch(
            torch.where(columns[:, None] > 0, cost, masked_cost), options.epsilon, a=rows,
            b=columns, max_iter=options.max_iterations, tol=options.tolerance,
            method="log_sinkhorn", grad="autodiff" if differentiates else "detach",
        )  # fmt: skip
    return solved.plan, int(solved.log["n_iter"]) + 1


def _token_mass(mask: Tensor, cost: Tensor) -> Tensor:
    """(B, T) equal mass for each token, zero for padding, in the dtype of `cost`."""
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
    is_token = mask.to(cost.dtype)
    return is_token / is_token.sum(1, keepdim=True)


def _masses(cost: Tensor, column_mass: Tensor | None) -> tuple[Tensor, Tensor]:
    """Check the shapes; return the mass of each row (B, N) and of each column (B, M)."""
    if cost.ndim != 3 or 0 in cost.shape:
        raise InvalidInputError(
            f"cost: expected (B, N, M) without an empty axis, got {tuple(cost.shape)}; "
            "pass a single problem as cost[None]"
        )
    rows = torch.full_like(cost[:, :, 0], 1 / cost.shape[1])
    if column_mass is None:
        return rows, torch.full_like(cost[:, 0], 1 / cost.shape[2])
    if column_mass.shape != cost.shape[::2]:
        raise InvalidInputError(
            f"column_mass: expected {tuple(cost.shape[::2])}, one value per column, "
            f"got {tuple(column_mass.shape)}"
        )
    return rows, column_mass.detach().to(cost.dtype)


def _check_values(cost: Tensor, columns: Tensor, epsilon: float) -> float:
    """Check values of `cost` and `columns` in one device synchronisation; return max C - min C."""
    sum_error = (columns.sum(1) - 1).abs().amax()
    low, high, min_mass, max_error = torch.stack(
        [*cost.aminmax(), columns.amin(), sum_error]
    ).tolist()
    if not math.isfinite(high - low):
        raise InvalidInputError(
            "cost: expected finite values, got NaN or infinity; check the features it is made of"
        )
    if not (min_mass >= 0 and max_error < MASS_TOLERANCE):
        raise InvalidInputError(
            "column_mass: expected values of at least 0 that sum to 1 in each problem, got a "
            f"smallest value of {min_mass:.3g} and a sum that is off by {max_error:.3g}; divide by "
            "the sum"
        )
    largest, limit = max(-low, high), epsilon / torch.finfo(cost.dtype).eps
    if largest > limit:
        raise InvalidInputError(
            f"cost: expected at most {limit:.3g} in size at epsilon {epsilon:g}, the resolution of "
            f"{cost.dtype}, got {largest:.3g}; raise epsilon or normalise the rows"
        )
    return float(high - low)
