"""Removed pixels filled in from what is left: one linear system per image, all solved at once.

Each removed pixel equals the weighted mean of its eight neighbours, removed ones included. Weights
are 1/6 along an edge and 1/12 across a corner; those of neighbours outside the image are dropped
and the rest is scaled up to one. Multiplied by the weights that are there, the system becomes the
Laplacian of a graph: symmetric and positive definite as long as one pixel is left, so that
conjugate gradients solve it. A pyramid of interpolated grids is the preconditioner, which holds the
number of iterations near 20 from 32 to 224 px; without it a hole of 60 px takes 200.

Source: Rong et al., ICML 2022 (ROAD), noisy linear imputation; the noise is left to the caller.
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

# Bounds the estimated energy of the error, a sum over pixels. Against a direct solver, from 2 to
# 224 px, the largest error of a pixel was about as large.
TOLERANCE = 5e-5
MAX_ITERATIONS = 200
CHUNK_VALUES = 16 * 3 * 64 * 64  # unknowns at a time on a CPU, so that they stay in its caches
HOLE_PX = 4  # a block of this side without a kept pixel is a wide hole
SMALLEST_GRID = 5
PADDING = 3
SCALE = 12  # makes the weights whole numbers: 2 along an edge, 1 across a corner
OWN_WEIGHT = 4  # of a pixel in the sum that `neighbours` takes
# Energy of one interpolated bump without a known pixel under it, times SCALE: about
# that of a smooth one; it steers the speed, not the result.
BUMP_ENERGY = SCALE * 0.7


@dataclass(frozen=True)
class Imputation:
    """Images without their removed pixels.

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
        `Imputation` on the images' device. An image without any kept pixel becomes its own mean
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
        self._problems: list[_Problem] = []

    def __call__(self, images: Tensor, keep: Tensor) -> Imputation:
        """See `impute`."""
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
        order = _by_cost(keep)
        order = order[~is_empty[order] & (num_kept[order] < keep[0].numel())]
        parts = _even_parts(order, images)
        if parts:
            shape = (len(parts[0]), *images.shape[1:])
            self._problems = [p for p in self._problems if p.fits(shape, images)]

        def fill(part: Tensor) -> None:
            try:
                problem = self._problems.pop()
            except IndexError:  # asked first, another thread might take the last one
                problem = _Problem(shape, images)
            problem.load(filled, keep, part)
            iterations[part], converged[part] = _solve(problem, self.tolerance, self.max_iterations)
            problem.store(filled, keep, part)
            self._problems.append(problem)

        _for_each(fill, parts)
        return Imputation(filled, iterations, converged)


def _for_each(work: Callable[[Tensor], None], parts: list[Tensor]) -> None:
    """Do `work` for the parts, on a CPU one part a thread.

    Two threads that share each small operation wait for one another many times in a part; with a
    part each they never do, which on a busy machine is a hundred times faster.
    """
    threads = torch.get_num_threads()
    if len(parts) < 2 or threads == 1 or parts[0].device.type != "cpu":
        for part in parts:
            work(part)
        return
    is_inference = torch.is_inference_mode_enabled()

    def work_alone(part: Tensor) -> None:
        torch.set_num_threads(1)  # for this worker
        with torch.inference_mode(is_inference):
            work(part)

    try:
        with ThreadPoolExecutor(min(threads, len(parts))) as workers:
            list(workers.map(work_alone, parts))  # raises what a worker raised
    finally:
        torch.set_num_threads(threads)  # the number that later threads start with


def _by_cost(keep: Tensor) -> Tensor:
    """Numbers of the images, those with few wide holes first.

    Images of like effort share a part, which runs until its slowest column is done.
    """
    blocks = functional.max_pool2d(keep.float()[:, None], HOLE_PX, ceil_mode=True)
    num_removed = (~keep).flatten(1).sum(1)
    return ((blocks == 0).flatten(1).sum(1) * keep[0].numel() + num_removed).argsort(stable=True)


def _even_parts(order: Tensor, images: Tensor) -> list[Tensor]:
    """`order` in parts of one size, the last filled up with its final image."""
    if not len(order):
        return []
    most = len(order)
    if images.device.type == "cpu":
        each = math.ceil(most / torch.get_num_threads())
        most = min(each, max(1, CHUNK_VALUES // images[0].numel()))
    size = math.ceil(len(order) / math.ceil(len(order) / most))
    parts = list(order.split(size))
    missing = size - len(parts[-1])
    parts[-1] = torch.cat([parts[-1], parts[-1][-1:].expand(missing)])
    return parts


def _solve(problem: _Problem, tolerance: float, max_iterations: int) -> tuple[Tensor, Tensor]:
    """Conjugate gradients on all columns at once; iterations and whether they sufficed, (N,)."""
    residual, direction = _inner(problem.residual), _inner(problem.direction)
    direction.copy_(problem.precondition())
    slope = problem.dot(residual, direction)
    is_open = slope >= SCALE * tolerance**2
    iterations = torch.zeros_like(slope, dtype=torch.int64)
    tiny = torch.finfo(slope.dtype).tiny
    for _ in range(max_iterations):
        iterations += is_open
        pull = problem.pull()
        length = slope / problem.dot(direction, pull).neg_().clamp_min_(tiny)
        length = torch.where(is_open, length, 0)  # a column that is done stays as it is
        problem.found.addcmul_(direction, length)
        residual.addcmul_(pull, length)
        correction = problem.precondition()
        before, slope = slope, problem.dot(residual, correction)
        is_open &= slope >= SCALE * tolerance**2
        if not is_open.any():
            break
        torch.addcmul(correction, direction, slope / before.clamp_min_(tiny), out=direction)
    per_image = problem.shape[:2]
    return iterations.view(per_image).amax(1), ~is_open.view(per_image).any(1)


class _Problem:
    """The Laplacian on the removed pixels of some images, times SCALE, and its preconditioner.

    A channel of an image is a column: arrays are (H, W, columns), so that a step to a neighbouring
    pixel or to a coarser grid moves whole rows of columns. What is computed lies in working arrays
    that the next call of the same method overwrites, and their parts are looked up once: fresh
    arrays and views cost more than the arithmetic.
    """

    def __init__(self, shape: tuple[int, ...], like: Tensor) -> None:
        num_images, channels, height, width = self.shape = shape
        size = (height, width, num_images * channels)
        self.residual, self.direction = _padded_zeros(size, like), _padded_zeros(size, like)
        self.found, self.correction = like.new_empty(size), like.new_empty(size)
        self.removed, self.staged = like.new_empty(size), like.new_empty(shape)
        scratch = (torch.empty_like(self.residual), torch.empty_like(self.residual))
        self._stencil = _stencil_views(self.direction, scratch)
        self._products = _part(scratch[0], size)
        _inner(self.direction).fill_(1)
        self.centre = self.neighbours()[:, :, :1].clone()
        self.inverse_diagonal = 1 / (self.centre - OWN_WEIGHT)
        self.levels: list[_Level] = []
        finer = self.residual
        while min(finer.shape[:2]) - PADDING > SMALLEST_GRID:
            self.levels.append(_Level(finer, scratch))
            finer = self.levels[-1].residual

    def fits(self, shape: tuple[int, ...], like: Tensor) -> bool:
        """Whether it can take up images of that shape, type and device, in this grad mode."""
        mine = self.staged
        same_mode = mine.is_inference() == torch.is_inference_mode_enabled()
        return same_mode and (mine.shape, mine.dtype, mine.device) == (
            shape, like.dtype, like.device,
        )  # fmt: skip

    def load(self, images: Tensor, keep: Tensor, part: Tensor) -> None:
        """Take up the images number `part`; the residual is that of zeros on removed pixels."""
        inner = _inner(self.direction)
        torch.index_select(images, 0, part, out=self.staged)
        self._by_image(self.removed).copy_((~keep[part]).permute(1, 2, 0)[..., None])
        # A known pixel under a bump holds it down: its energy is added to that of the free bump.
        torch.sub(1, self.removed, out=inner)
        torch.mul(self.neighbours(), self.removed, out=_inner(self.residual))
        for level in self.levels:
            torch.add(level.restrict(), BUMP_ENERGY, out=level.inverse_energy).reciprocal_()
        self._by_image(inner).copy_(self.staged.permute(2, 3, 0, 1))
        inner.addcmul_(inner, self.removed, value=-1)
        torch.mul(self.neighbours(), self.removed, out=_inner(self.residual))
        self.found.zero_()

    def store(self, images: Tensor, keep: Tensor, part: Tensor) -> None:
        """Write the images back with their removed pixels filled in."""
        found = self._by_image(self.found).permute(2, 3, 0, 1)
        torch.where(keep[part][:, None], self.staged, found, out=self.staged)
        images.index_copy_(0, part, self.staged)

    def neighbours(self) -> Tensor:
        """Of `direction`, weighted 1 2 1 both ways: SCALE times the neighbours' sum, and itself."""
        for first, second, out in self._stencil:
            torch.add(first, second, out=out)
        return self._stencil[-1][2]

    def pull(self) -> Tensor:
        """Minus the matrix times `direction`, which is zero on known pixels."""
        pulled = self.neighbours().mul_(self.removed)
        return pulled.addcmul_(self.centre, _inner(self.direction), value=-1)

    def precondition(self) -> Tensor:
        """Sum over all grids of what each alone would correct of `residual`."""
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
    """A grid of every second pixel of a finer one, and the ways between them."""

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
        """Sums of the finer residual over bumps: the transpose of `interpolate`."""
        for before, pixel, after, out in (
            (*self._down, self._halved),
            (*self._along, self._coarse),
        ):
            torch.add(pixel, before, alpha=0.5, out=out).add_(after, alpha=0.5)
        return self._coarse

    def interpolate(self) -> Tensor:
        """`correction` on the finer grid, halfway values in between."""
        self._tall[0].copy_(self.correction)
        torch.lerp(*self._ends, 0.5, out=self._tall[1])
        whole, left, right = self._sides
        self._wide[0].copy_(whole)
        torch.lerp(left, right, 0.5, out=self._wide[1])
        return self._finer


def _stencil_views(
    padded: Tensor, scratch: tuple[Tensor, Tensor]
) -> tuple[tuple[Tensor, Tensor, Tensor], ...]:
    """Four sums of two shifted arrays, one after the other: weights 1 2 1 down, then along."""
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
    """Zeros around (H, W, columns): one before, two after, as far as `restrict` looks."""
    return like.new_zeros(size[0] + PADDING, size[1] + PADDING, size[2])


def _inner(padded: Tensor) -> Tensor:
    return padded[1:-2, 1:-2]
