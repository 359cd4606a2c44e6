"""Removed pixels filled in from what is left: one linear system per picture, all solved at once.

Each removed pixel equals the weighted mean of its eight neighbours, removed ones included. Weights
are 1/6 along an edge and 1/12 across a corner; those of neighbours outside the picture are dropped
and the rest is scaled up to one. Multiplied by the weights that are there, the system becomes the
Laplacian of a graph: symmetric and positive definite as long as one pixel is left, so that
conjugate gradients solve it. A pyramid of interpolated grids is the preconditioner, which holds the
number of iterations near 20 from 32 to 224 px; without it a hole of 60 px takes 200.

Source: Rong et al., ICML 2022 (ROAD), noisy linear imputation; the noise is left to the caller.
Preconditioner: Bramble, Pasciak and Xu, Mathematics of Computation 55, 1990.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lico_bench.checks import check_count, check_positive
from lico_bench.errors import InvalidInputError

# Bounds the estimated energy of the error, a sum over pixels. Against a direct solver, from 2 to
# 224 px, the largest error of a pixel was about as large.
TOLERANCE = 5e-5
MAX_ITERATIONS = 200
CHUNK_VALUES = 32 * 3 * 64 * 64  # unknowns at a time on a CPU, so that they stay in its caches
SMALLEST_GRID = 5
PADDING = 3
SCALE = 12  # makes the weights whole numbers: 2 along an edge, 1 across a corner
OWN_WEIGHT = 4  # of a pixel in the sum that `neighbours` takes
# Energy of one interpolated bump without a known pixel under it, times SCALE: about
# that of a smooth one; it steers the speed, not the result.
BUMP_ENERGY = SCALE * 0.7


@dataclass(frozen=True)
class Imputation:
    """Pictures without their removed pixels.

    Attributes:
        images: (N, C, H, W).
        iterations: (N,) int64, of the slowest channel.
        converged: (N,) bool, whether the error estimate fell below the tolerance.
    """

    images: Tensor
    iterations: Tensor
    converged: Tensor


def impute(
    images: Tensor,
    keep: Tensor,
    *,
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
) -> Imputation:
    """`images` with every pixel that is not kept replaced by what its neighbours say.

    Args:
        images: (N, C, H, W) float.
        keep: (N, H, W) bool, the pixels that stay.
        tolerance: estimated error of a pixel at which the iteration stops.
        max_iterations: where it gives up; `converged` says so.

    Returns:
        `Imputation` on the images' device. A picture without any kept pixel becomes its own mean
        colour: what one random pixel, the least that could be left, would spread on average.

    Raises:
        InvalidInputError: for shapes that do not fit.
    """
    check_positive("tolerance", tolerance)
    check_count("max_iterations", max_iterations)
    if images.ndim != 4 or keep.dtype != torch.bool or keep.shape != images[:, 0].shape:
        raise InvalidInputError(
            "impute: expected images (N, C, H, W) and bool keep (N, H, W), "
            f"got {tuple(images.shape)} and {tuple(keep.shape)} {keep.dtype}"
        )
    keep = keep.to(images.device)
    num_kept = keep.flatten(1).sum(1)
    filled = torch.where(
        (num_kept == 0)[:, None, None, None], images.mean((2, 3), keepdim=True), images
    )
    iterations = torch.zeros_like(num_kept)
    # Pictures of like effort share a chunk: it runs until its slowest column is done.
    order = num_kept.argsort(descending=True)
    order = order[(num_kept > 0)[order] & (num_kept < keep[0].numel())[order]]
    step = max(1, CHUNK_VALUES // images[0].numel()) if images.device.type == "cpu" else len(images)
    converged = torch.ones_like(num_kept, dtype=torch.bool)
    for part in order.split(step):
        filled[part], iterations[part], converged[part] = _solve(
            images[part], keep[part], tolerance, max_iterations
        )
    return Imputation(filled, iterations, converged)


def _solve(
    images: Tensor, keep: Tensor, tolerance: float, max_iterations: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Filled pictures, iterations and whether they sufficed.

    Inside, a channel of a picture is a column: arrays are (H, W, columns), so that a step to a
    neighbouring pixel or to a coarser grid moves whole rows of columns.
    """
    num_images, channels, height, width = images.shape
    kept = keep.permute(1, 2, 0).repeat_interleave(channels, dim=2).to(images.dtype)
    known = images.permute(2, 3, 0, 1).reshape(height, width, -1) * kept
    problem = _Problem(kept)
    residual = _padded(problem.neighbours(_padded(known)) * problem.removed)
    inner = _inner(residual)
    found = torch.zeros_like(known)
    direction = _padded(problem.precondition(residual))
    ahead = _inner(direction)
    slope = (inner * ahead).sum((0, 1))
    is_open = slope >= SCALE * tolerance**2
    iterations = torch.zeros_like(slope, dtype=torch.int64)
    tiny = torch.finfo(images.dtype).tiny
    for _ in range(max_iterations):
        iterations += is_open
        pull = problem.pull(direction)
        length = slope / problem.dot(ahead, pull).neg_().clamp_min_(tiny)
        length = torch.where(is_open, length, 0)  # a column that is done stays as it is
        found.addcmul_(ahead, length)
        inner.addcmul_(pull, length)
        correction = problem.precondition(residual)
        before, slope = slope, problem.dot(inner, correction)
        is_open &= slope >= SCALE * tolerance**2
        if not is_open.any():
            break
        ahead.mul_(slope / before.clamp_min(tiny)).add_(correction)
    filled = (known + found).view(height, width, num_images, channels).permute(2, 3, 0, 1)
    per_image = (num_images, channels)
    return filled, iterations.view(per_image).amax(1), ~is_open.view(per_image).any(1)


class _Problem:
    """The Laplacian on the removed pixels of each column, times SCALE, and its preconditioner.

    What is computed lies in working arrays that the next call of the same method overwrites: fresh
    ones of this size cost more than the arithmetic.
    """

    def __init__(self, kept: Tensor) -> None:
        self.size = kept.shape[:2]
        self.removed = 1 - kept
        padded = _padded(torch.ones_like(kept))
        self.scratch = (torch.empty_like(padded), torch.empty_like(padded))
        self.correction = torch.empty_like(kept)
        self.centre = self.neighbours(padded)[:, :, :1].clone()
        self.inverse_diagonal = 1 / (self.centre - OWN_WEIGHT)
        # A known pixel under a bump holds it down: its energy is added to that of the free bump.
        tied = _padded(self.neighbours(_padded(kept)) * self.removed)
        self.grids: list[Tensor] = []
        self.inverse_energies: list[Tensor] = []
        while min(tied.shape[:2]) - PADDING > SMALLEST_GRID:
            tied = _padded(self.restrict(tied))
            self.grids.append(tied)
            self.inverse_energies.append((_inner(tied) + BUMP_ENERGY).reciprocal_())
        self.corrections = [torch.empty_like(inverse) for inverse in self.inverse_energies]

    def neighbours(self, padded: Tensor) -> Tensor:
        """Sum with weights 1 2 1 both ways: SCALE times that of the neighbours, plus own weight."""
        padded = padded[:-1, :-1]
        rows = self._add(0, padded[1:], padded[:-1])
        rows = self._add(1, rows[1:], rows[:-1])
        across = self._add(0, rows[:, 1:], rows[:, :-1])
        return self._add(1, across[:, 1:], across[:, :-1])

    def pull(self, padded: Tensor) -> Tensor:
        """Minus the matrix times columns that are zero on known pixels; padded in, unpadded out."""
        pulled = self.neighbours(padded).mul_(self.removed)
        return pulled.addcmul_(self.centre, _inner(padded), value=-1)

    def precondition(self, residual: Tensor) -> Tensor:
        """Sum over all grids of what each alone would correct; padded in, unpadded out."""
        total = torch.mul(_inner(residual), self.inverse_diagonal, out=self.correction)
        for grid, inverse, out in zip(
            self.grids, self.inverse_energies, self.corrections, strict=True
        ):
            _inner(grid).copy_(self.restrict(residual))
            torch.mul(_inner(grid), inverse, out=out)
            residual = grid
        if not self.corrections:
            return total
        smooth = self.corrections[-1]
        for finer in reversed(self.corrections[:-1]):
            smooth = finer.add_(self.interpolate(smooth, finer.shape))
        return total.addcmul_(self.interpolate(smooth, total.shape), self.removed)

    def restrict(self, padded: Tensor) -> Tensor:
        """Sums over bumps around every second pixel, the transpose of `interpolate`; unpadded."""
        height, width = (side - PADDING for side in padded.shape[:2])
        last = 2 * (height // 2) + 2
        rows = self._add(0, padded[1:last:2], padded[0 : last - 1 : 2], weight=0.5)
        rows.add_(padded[2 : last + 1 : 2], alpha=0.5)
        last = 2 * (width // 2) + 2
        out = self._add(1, rows[:, 1:last:2], rows[:, 0 : last - 1 : 2], weight=0.5)
        return out.add_(rows[:, 2 : last + 1 : 2], alpha=0.5)

    def interpolate(self, coarse: Tensor, shape: tuple[int, ...]) -> Tensor:
        """A grid of `shape` with `coarse` at every second pixel and halfway values in between."""
        rows, across, number = coarse.shape
        tall = self._array(0, (2 * rows - 1, across, number))
        tall[::2] = coarse
        torch.lerp(coarse[:-1], coarse[1:], 0.5, out=tall[1::2])
        tall = tall[: shape[0]]
        out = self._array(1, (shape[0], 2 * across - 1, number))
        out[:, ::2] = tall
        torch.lerp(tall[:, :-1], tall[:, 1:], 0.5, out=out[:, 1::2])
        return out[:, : shape[1]]

    def dot(self, first: Tensor, second: Tensor) -> Tensor:
        """Inner product of each column, (columns,)."""
        return torch.mul(first, second, out=self._array(0, first.shape)).sum((0, 1))

    def _add(self, number: int, first: Tensor, second: Tensor, *, weight: float = 1.0) -> Tensor:
        return torch.add(first, second, alpha=weight, out=self._array(number, first.shape))

    def _array(self, number: int, shape: tuple[int, ...]) -> Tensor:
        return self.scratch[number].view(-1)[: math.prod(shape)].view(shape)


def _padded(columns: Tensor) -> Tensor:
    """Zeros around (H, W, columns): one before, two after, as far as `restrict` looks."""
    height, width, number = columns.shape
    out = columns.new_zeros(height + PADDING, width + PADDING, number)
    _inner(out).copy_(columns)
    return out


def _inner(padded: Tensor) -> Tensor:
    return padded[1:-2, 1:-2]
