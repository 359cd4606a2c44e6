"""Impute removed pixels from kept ones: one linear system per image, solved in batches.

Each removed pixel equals the weighted mean of its eight neighbours, removed ones included. Weights
are 1/6 for edge and 1/12 for corner neighbours; the weights of neighbours outside the image are
dropped and the others scaled to a sum of one. Multiplied by the sum of the present weights, the
system becomes a graph Laplacian: symmetric, and positive definite if at least one pixel is kept, so
that conjugate gradients apply. A multilevel preconditioner keeps the number of iterations near 20
from 32 to 224 px; without it a hole of 60 px needs 200.

Source: Rong et al., ICML 2022 (ROAD), noisy linear imputation; the caller adds the noise.
Preconditioner: Bramble, Pasciak and Xu, Mathematics of Computation 55, 1990.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from lico_bench.checks import check_count, check_positive
from lico_bench.errors import InvalidInputError

# Bound on the square root of the estimated energy of the error, a sum over pixels. Compared with a
# direct solver from 2 to 224 px, the maximum error of a pixel was about as large.
TOLERANCE = 5e-5
MAX_ITERATIONS = 200
CHUNK_VALUES = 16 * 3 * 64 * 64  # unknowns per batch on a CPU, so that they fit into its caches
HOLE_PX = 4  # a block of this side without a kept pixel is a wide hole
SMALLEST_GRID = 5
PADDING = 3
SCALE = 12  # makes the weights integers: 2 for edge, 1 for corner neighbours
CENTRE_WEIGHT = 4  # weight of the pixel itself in the sum of `neighbours`
# Energy of one interpolation bump without a kept pixel, times SCALE, about that of a smooth bump.
# It affects the speed, not the result.
BUMP_ENERGY = SCALE * 0.7


@dataclass(frozen=True)
class Imputation:
    """Imputed images.

    Attributes:
        images: (N, C, H, W).
        iterations: (N,) int64, iterations of the slowest channel.
        converged: (N,) bool, whether the error estimate fell below the tolerance.
    """

    images: Tensor
    iterations: Tensor
    converged: Tensor


class Imputer:
    """Replaces every pixel that is not kept by the weighted mean of its neighbours.

    The working arrays are kept for further batches.

    Args:
        tolerance: estimated error at which the iteration stops.
        max_iterations: maximum number of iterations; `converged` is False if it is reached.
    """

    def __init__(
        self, *, tolerance: float = TOLERANCE, max_iterations: int = MAX_ITERATIONS
    ) -> None:
        check_positive("tolerance", tolerance)
        check_count("max_iterations", max_iterations)
        self.tolerance = tolerance
        self.max_iterations = max_iterations
        self._problems: list[_Problem] = []

    def __call__(self, images: Tensor, keep: Tensor) -> Imputation:
        """Return the imputed images, on their device.

        Args:
            images: (N, C, H, W) float.
            keep: (N, H, W) bool, True for kept pixels. An image without kept pixels becomes its
                mean colour, the expected result of keeping one random pixel.

        Raises:
            InvalidInputError: for mismatched shapes.
        """
        if images.ndim != 4 or keep.dtype != torch.bool or keep.shape != images[:, 0].shape:
            raise InvalidInputError(
                "impute: expected images (N, C, H, W) and bool keep (N, H, W), "
                f"got {tuple(images.shape)} and {tuple(keep.shape)} {keep.dtype}"
            )
        images, keep = images.detach(), keep.to(images.device)
        filled = images.clone(memory_format=torch.contiguous_format)
        num_kept = keep.flatten(1).sum(1)
        is_empty = num_kept == 0
        if is_empty.any():
            filled[is_empty] = (
                filled[is_empty].mean((2, 3), keepdim=True).expand_as(filled[is_empty])
            )
        iterations = torch.zeros_like(num_kept)
        converged = torch.ones_like(num_kept, dtype=torch.bool)
        order = _order_by_cost(keep)
        order = order[~is_empty[order] & (num_kept[order] < keep[0].numel())]
        parts = _equal_parts(order, images)
        if parts:
            shape = (len(parts[0]), *images.shape[1:])
            self._problems = [p for p in self._problems if p.fits(shape, images)]

        def fill(part: Tensor) -> None:
            try:
                problem = self._problems.pop()
            except IndexError:  # a check before pop() could race with another thread
                problem = _Problem(shape, images)
            problem.load(filled, keep, part)
            iterations[part], converged[part] = _solve(problem, self.tolerance, self.max_iterations)
            problem.store(filled, keep, part)
            self._problems.append(problem)

        _for_each(fill, parts)
        return Imputation(filled, iterations, converged)


def _for_each(work: Callable[[Tensor], None], parts: list[Tensor]) -> None:
    """Call `work` for each part; on a CPU, each thread processes whole parts.

    Threads that share every small operation wait for each other many times per part. One part per
    thread avoids this, which is up to a hundred times faster on a busy machine.
    """
    threads = torch.get_num_threads()
    if len(parts) < 2 or threads == 1 or parts[0].device.type != "cpu":
        for part in parts:
            work(part)
        return
    is_inference = torch.is_inference_mode_enabled()

    def work_alone(part: Tensor) -> None:
        torch.set_num_threads(1)  # of this worker
        with torch.inference_mode(is_inference):
            work(part)

    try:
        with ThreadPoolExecutor(min(threads, len(parts))) as workers:
            list(workers.map(work_alone, parts))  # re-raises errors of workers
    finally:
        torch.set_num_threads(threads)  # inherited by threads that start later


def _order_by_cost(keep: Tensor) -> Tensor:
    """Indices of the images, sorted by wide holes and removed pixels.

    Images with similar cost then share a part, which runs until its slowest column converges.
    """
    blocks = functional.max_pool2d(keep.float()[:, None], HOLE_PX, ceil_mode=True)
    num_removed = (~keep).flatten(1).sum(1)
    return ((blocks == 0).flatten(1).sum(1) * keep[0].numel() + num_removed).argsort(stable=True)


def _equal_parts(order: Tensor, images: Tensor) -> list[Tensor]:
    """Split `order` into parts of equal size; the last part is padded with its last image."""
    if not len(order):
        return []
    max_size = len(order)
    if images.device.type == "cpu":
        per_thread = math.ceil(max_size / torch.get_num_threads())
        max_size = min(per_thread, max(1, CHUNK_VALUES // images[0].numel()))
    size = math.ceil(len(order) / math.ceil(len(order) / max_size))
    parts = list(order.split(size))
    missing = size - len(parts[-1])
    parts[-1] = torch.cat([parts[-1], parts[-1][-1:].expand(missing)])
    return parts


def _solve(problem: _Problem, tolerance: float, max_iterations: int) -> tuple[Tensor, Tensor]:
    """Run conjugate gradients on all columns; return iterations and convergence, (N,) each."""
    residual, direction = _inner(problem.residual), _inner(problem.direction)
    direction.copy_(problem.precondition())
    slope = problem.dot(residual, direction)
    is_unconverged = slope >= SCALE * tolerance**2
    iterations = torch.zeros_like(slope, dtype=torch.int64)
    tiny = torch.finfo(slope.dtype).tiny
    for _ in range(max_iterations):
        iterations += is_unconverged
        product = problem.negated_product()
        step = slope / problem.dot(direction, product).neg_().clamp_min_(tiny)
        step = torch.where(is_unconverged, step, 0)  # converged columns no longer change
        problem.solution.addcmul_(direction, step)
        residual.addcmul_(product, step)
        correction = problem.precondition()
        previous, slope = slope, problem.dot(residual, correction)
        is_unconverged &= slope >= SCALE * tolerance**2
        if not is_unconverged.any():
            break
        torch.addcmul(correction, direction, slope / previous.clamp_min_(tiny), out=direction)
    per_image = problem.shape[:2]
    return iterations.view(per_image).amax(1), ~is_unconverged.view(per_image).any(1)


class _Problem:
    """The Laplacian on the removed pixels of several images, times SCALE, and its preconditioner.

    A channel of an image is a column. Arrays are (H, W, columns), so that a shift to a neighbouring
    pixel or a coarser grid moves contiguous columns. Results are views of working arrays that the
    next call of the same method overwrites: allocating arrays and views costs more than the
    arithmetic.
    """

    def __init__(self, shape: tuple[int, ...], like: Tensor) -> None:
        num_images, channels, height, width = self.shape = shape
        size = (height, width, num_images * channels)
        self.residual, self.direction = _padded_zeros(size, like), _padded_zeros(size, like)
        self.solution, self.correction = like.new_empty(size), like.new_empty(size)
        self.removed, self.batch = like.new_empty(size), like.new_empty(shape)
        scratch = (torch.empty_like(self.residual), torch.empty_like(self.residual))
        self._stencil = _stencil_views(self.direction, scratch)
        self._products = _part(scratch[0], size)
        _inner(self.direction).fill_(1)
        self.centre = self.neighbours()[:, :, :1].clone()
        self.inverse_diagonal = 1 / (self.centre - CENTRE_WEIGHT)
        self.levels: list[_Level] = []
        finer = self.residual
        while min(finer.shape[:2]) - PADDING > SMALLEST_GRID:
            self.levels.append(_Level(finer, scratch))
            finer = self.levels[-1].residual

    def fits(self, shape: tuple[int, ...], like: Tensor) -> bool:
        """Whether the arrays match the shape, dtype, device and inference mode."""
        array = self.batch
        same_mode = array.is_inference() == torch.is_inference_mode_enabled()
        return same_mode and (array.shape, array.dtype, array.device) == (
            shape, like.dtype, like.device,
        )  # fmt: skip

    def load(self, images: Tensor, keep: Tensor, part: Tensor) -> None:
        """Load the images `part`; the residual is that of an initial solution of zeros."""
        inner = _inner(self.direction)
        torch.index_select(images, 0, part, out=self.batch)
        self._by_image(self.removed).copy_((~keep[part]).permute(1, 2, 0)[..., None])
        # Kept pixels under a bump increase its energy above that of a free bump.
        torch.sub(1, self.removed, out=inner)
        torch.mul(self.neighbours(), self.removed, out=_inner(self.residual))
        for level in self.levels:
            torch.add(level.restrict(), BUMP_ENERGY, out=level.inverse_energy).reciprocal_()
        self._by_image(inner).copy_(self.batch.permute(2, 3, 0, 1))
        inner.addcmul_(inner, self.removed, value=-1)
        torch.mul(self.neighbours(), self.removed, out=_inner(self.residual))
        self.solution.zero_()

    def store(self, images: Tensor, keep: Tensor, part: Tensor) -> None:
        """Write the imputed images back to `images`."""
        solution = self._by_image(self.solution).permute(2, 3, 0, 1)
        torch.where(keep[part][:, None], self.batch, solution, out=self.batch)
        images.index_copy_(0, part, self.batch)

    def neighbours(self) -> Tensor:
        """`direction` convolved with (1, 2, 1) along both axes, the centre pixel included."""
        for first, second, out in self._stencil:
            torch.add(first, second, out=out)
        return self._stencil[-1][2]

    def negated_product(self) -> Tensor:
        """Minus the matrix times `direction`, which is zero on kept pixels."""
        product = self.neighbours().mul_(self.removed)
        return product.addcmul_(self.centre, _inner(self.direction), value=-1)

    def precondition(self) -> Tensor:
        """Sum over all grids of each grid's diagonal correction of `residual`."""
        total = torch.mul(_inner(self.residual), self.inverse_diagonal, out=self.correction)
        for level in self.levels:
            torch.mul(level.restrict(), level.inverse_energy, out=level.correction)
        for level, finer in zip(self.levels[:0:-1], self.levels[-2::-1], strict=True):
            finer.correction.add_(level.interpolate())
        if self.levels:
            total.addcmul_(self.levels[0].interpolate(), self.removed)
        return total

    def dot(self, first: Tensor, second: Tensor) -> Tensor:
        """Inner product of each column, (columns,)."""
        return torch.mul(first, second, out=self._products).sum((0, 1))

    def _by_image(self, columns: Tensor) -> Tensor:
        return columns.view(*columns.shape[:2], *self.shape[:2])


class _Level:
    """A grid of every second pixel of a finer grid, with restriction and interpolation."""

    def __init__(self, finer: Tensor, scratch: tuple[Tensor, Tensor]) -> None:
        height, width, columns = (
            finer.shape[0] - PADDING,
            finer.shape[1] - PADDING,
            finer.shape[2],
        )
        rows, across = height // 2 + 1, width // 2 + 1
        self.residual = _padded_zeros((rows, across, columns), finer)
        self.correction = finer.new_empty(rows, across, columns)
        self.inverse_energy = torch.empty_like(self.correction)
        self._coarse = _inner(self.residual)
        self._down = [finer[i : i + 2 * rows - 1 : 2] for i in range(3)]
        self._halved = _part(scratch[0], (rows, width + PADDING, columns))
        self._along = [self._halved[:, i : i + 2 * across - 1 : 2] for i in range(3)]
        tall = _part(scratch[0], (2 * rows - 1, across, columns))
        wide = _part(scratch[1], (height, 2 * across - 1, columns))
        self._tall = (tall[::2], tall[1::2])
        self._wide = (wide[:, ::2], wide[:, 1::2])
        self._ends = (self.correction[:-1], self.correction[1:])
        self._sides = (tall[:height], tall[:height, :-1], tall[:height, 1:])
        self._finer = wide[:, :width]

    def restrict(self) -> Tensor:
        """Sum the finer residual over bumps; the transpose of `interpolate`."""
        for before, pixel, after, out in (
            (*self._down, self._halved),
            (*self._along, self._coarse),
        ):
            torch.add(pixel, before, alpha=0.5, out=out).add_(after, alpha=0.5)
        return self._coarse

    def interpolate(self) -> Tensor:
        """Interpolate `correction` linearly to the finer grid."""
        self._tall[0].copy_(self.correction)
        torch.lerp(*self._ends, 0.5, out=self._tall[1])
        full, left, right = self._sides
        self._wide[0].copy_(full)
        torch.lerp(left, right, 0.5, out=self._wide[1])
        return self._finer


def _stencil_views(
    padded: Tensor, scratch: tuple[Tensor, Tensor]
) -> tuple[tuple[Tensor, Tensor, Tensor], ...]:
    """Views for four consecutive sums of two shifted arrays: (1, 2, 1) down, then across."""
    source, views = padded[:-1, :-1], []
    for step, axis in enumerate((0, 0, 1, 1)):
        shorter = source.shape[axis] - 1
        first, second = source.narrow(axis, 1, shorter), source.narrow(axis, 0, shorter)
        source = _part(scratch[step % 2], first.shape)
        views.append((first, second, source))
    return tuple(views)


def _part(scratch: Tensor, shape: tuple[int, ...]) -> Tensor:
    return scratch.view(-1)[: math.prod(shape)].view(shape)


def _padded_zeros(size: tuple[int, ...], like: Tensor) -> Tensor:
    """Zeros of size (H, W, columns), padded by one before and two after for `restrict`."""
    return like.new_zeros(size[0] + PADDING, size[1] + PADDING, size[2])


def _inner(padded: Tensor) -> Tensor:
    return padded[1:-2, 1:-2]
