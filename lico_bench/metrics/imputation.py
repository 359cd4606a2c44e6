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
        tolerance: estimated error at which the iteration stops.
        max_iterations: where it gives up; `converged` says so.

    Returns:
        `Imputation` on the images' device. A picture without any kept pixel becomes its own mean
        colour: what one random pixel, the least that could be left, would spread on average.

    Raises:
        InvalidInputError: for shapes that do not fit.
    """
    return Imputer(tolerance=tolerance, max_iterations=max_iterations)(images, keep)


class Imputer:
    """`impute` for batch after batch: its working arrays are made once."""

    def __init__(
        self, *, tolerance: float = TOLERANCE, max_iterations: int = MAX_ITERATIONS
    ) -> None:
        check_positive("tolerance", tolerance)
        check_count("max_iterations", max_iterations)
        self.tolerance = tolerance
        self.max_iterations = max_iterations
        self._problem: _Problem | None = None

    def __call__(self, images: Tensor, keep: Tensor) -> Imputation:
        """See `impute`."""
        if images.ndim != 4 or keep.dtype != torch.bool or keep.shape != images[:, 0].shape:
            raise InvalidInputError(
                "impute: expected images (N, C, H, W) and bool keep (N, H, W), "
                f"got {tuple(images.shape)} and {tuple(keep.shape)} {keep.dtype}"
            )
        keep = keep.to(images.device)
        filled = images.clone(memory_format=torch.contiguous_format)
        num_kept = keep.flatten(1).sum(1)
        is_empty = num_kept == 0
        if is_empty.any():
            filled[is_empty] = (
                filled[is_empty].mean((2, 3), keepdim=True).expand_as(filled[is_empty])
            )
        iterations = torch.zeros_like(num_kept)
        converged = torch.ones_like(num_kept, dtype=torch.bool)
        # Pictures of like effort share a part: it runs until its slowest column is done.
        order = num_kept.argsort(descending=True, stable=True)
        order = order[~is_empty[order] & (num_kept[order] < keep[0].numel())]
        for part in _even_parts(order, images):
            problem = self._problem_for(images, len(part))
            problem.load(filled, keep, part)
            iterations[part], converged[part] = _solve(problem, self.tolerance, self.max_iterations)
            problem.store(filled, keep, part)
        return Imputation(filled, iterations, converged)

    def _problem_for(self, images: Tensor, num_images: int) -> _Problem:
        shape = (num_images, *images.shape[1:])
        found = self._problem
        if found is None or found.shape != shape or found.found.device != images.device:
            self._problem = None  # before the next one takes as much memory again
            found = self._problem = _Problem(shape, images)
        return found


def _even_parts(order: Tensor, images: Tensor) -> list[Tensor]:
    """`order` in parts of one size, the last filled up with its final picture."""
    if not len(order):
        return []
    most = len(order)
    if images.device.type == "cpu":
        most = max(1, CHUNK_VALUES // images[0].numel())
    size = math.ceil(len(order) / math.ceil(len(order) / most))
    parts = list(order.split(size))
    missing = size - len(parts[-1])
    parts[-1] = torch.cat([parts[-1], parts[-1][-1:].expand(missing)])
    return parts


def _solve(problem: _Problem, tolerance: float, max_iterations: int) -> tuple[Tensor, Tensor]:
    """Conjugate gradients on all columns at once; iterations and whether they sufficed, (N,)."""
    residual, direction = _inner(problem.residual), _inner(problem.direction)
    direction.copy_(problem.precondition(problem.residual))
    slope = problem.dot(residual, direction)
    is_open = slope >= SCALE * tolerance**2
    iterations = torch.zeros_like(slope, dtype=torch.int64)
    tiny = torch.finfo(slope.dtype).tiny
    for _ in range(max_iterations):
        iterations += is_open
        pull = problem.pull(problem.direction)
        length = slope / problem.dot(direction, pull).neg_().clamp_min_(tiny)
        length = torch.where(is_open, length, 0)  # a column that is done stays as it is
        problem.found.addcmul_(direction, length)
        residual.addcmul_(pull, length)
        correction = problem.precondition(problem.residual)
        before, slope = slope, problem.dot(residual, correction)
        is_open &= slope >= SCALE * tolerance**2
        if not is_open.any():
            break
        direction.mul_(slope / before.clamp_min(tiny)).add_(correction)
    per_image = problem.shape[:2]
    return iterations.view(per_image).amax(1), ~is_open.view(per_image).any(1)


class _Problem:
    """The Laplacian on the removed pixels of some pictures, times SCALE, and its preconditioner.

    A channel of a picture is a column: arrays are (H, W, columns), so that a step to a neighbouring
    pixel or to a coarser grid moves whole rows of columns. What is computed lies in working arrays
    that the next call of the same method overwrites: fresh ones of this size cost more than the
    arithmetic.
    """

    def __init__(self, shape: tuple[int, ...], like: Tensor) -> None:
        num_images, channels, height, width = self.shape = shape
        size = (height, width, num_images * channels)
        padded = (height + PADDING, width + PADDING, num_images * channels)
        # Zeros, one before and two after the pixels, are as far as `restrict` looks.
        self.residual, self.direction = like.new_zeros(padded), like.new_zeros(padded)
        self.found, self.correction = like.new_empty(size), like.new_empty(size)
        self.removed, self.staged = like.new_empty(size), like.new_empty(shape)
        self.scratch = (like.new_empty(padded), like.new_empty(padded))
        _inner(self.direction).fill_(1)
        self.centre = self.neighbours(self.direction)[:, :, :1].clone()
        self.inverse_diagonal = 1 / (self.centre - OWN_WEIGHT)
        self.grids: list[Tensor] = []
        while min(height, width) > SMALLEST_GRID:
            height, width = height // 2 + 1, width // 2 + 1
            self.grids.append(like.new_zeros(height + PADDING, width + PADDING, size[2]))
        self.inverse_energies = [torch.empty_like(_inner(grid)) for grid in self.grids]
        self.corrections = [torch.empty_like(inverse) for inverse in self.inverse_energies]

    def load(self, images: Tensor, keep: Tensor, part: Tensor) -> None:
        """Take up the pictures number `part`; the residual is that of zeros on removed pixels."""
        torch.index_select(images, 0, part, out=self.staged)
        inner = _inner(self.direction)
        self._by_picture(self.removed).copy_((~keep[part]).permute(1, 2, 0)[..., None])
        # A known pixel under a bump holds it down: its energy is added to that of the free bump.
        torch.sub(1, self.removed, out=inner)
        torch.mul(self.neighbours(self.direction), self.removed, out=_inner(self.residual))
        tied = self.residual
        for grid, inverse in zip(self.grids, self.inverse_energies, strict=True):
            _inner(grid).copy_(self.restrict(tied))
            torch.add(_inner(grid), BUMP_ENERGY, out=inverse).reciprocal_()
            tied = grid
        self._by_picture(inner).copy_(self.staged.permute(2, 3, 0, 1))
        inner.addcmul_(inner, self.removed, value=-1)
        torch.mul(self.neighbours(self.direction), self.removed, out=_inner(self.residual))
        self.found.zero_()

    def store(self, images: Tensor, keep: Tensor, part: Tensor) -> None:
        """Write the pictures back with their removed pixels filled in."""
        found = self._by_picture(self.found).permute(2, 3, 0, 1)
        torch.where(keep[part][:, None], self.staged, found, out=self.staged)
        images.index_copy_(0, part, self.staged)

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

    def _by_picture(self, columns: Tensor) -> Tensor:
        return columns.unflatten(2, self.shape[:2])


def _inner(padded: Tensor) -> Tensor:
    return padded[1:-2, 1:-2]
