"""RISE: the average of random masks, weighted by the target's probability behind each mask.

Masks are generated in batches: binary grids are drawn with one generator per 64 masks and resized
with one matrix product per axis. Only one batch is in memory at a time.

Source: Petsiuk et al., BMVC 2018, sections 3.1 and 3.2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from lico_bench.checks import check_count
from lico_bench.errors import InvalidInputError
from lico_bench.models import default_micro_batch
from lico_bench.runtime import make_generator
from lico_bench.saliency import add_method
from lico_bench.saliency.readouts import fill_colour, scores_in_states

MASKS_PER_DRAW = 64
NUM_MASKS = 4000


@add_method(
    "rise",
    title="RISE",
    source="Petsiuk et al., BMVC 2018",
    family="perturbation",
    cost=lambda _inputs, *, num_masks=NUM_MASKS, **_: num_masks,
    pitfalls="an estimate from random masks: its noise falls with the root of their number; the "
    "masks are the same for all images, so the noise does not average out over them; "
    "masked images are unlike any seen in training",
)
def rise(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    *,
    num_masks: int = NUM_MASKS,
    grid: int = 7,
    keep: float = 0.5,
    fill: float | str = "mean",
    seed: int = 0,
) -> Tensor:
    """Σ_m p(image ⊙ M_m) M_m / (num_masks · keep), the expected probability if a pixel is visible.

    Args:
        images: (N, 3, H, W) float32 in [0, 1].
        targets: (N,) int64 in [0, K), the class to explain; its softmax probability is p.
        num_masks: forwards per image.
        grid: cells per side of the binary grids.
        keep: probability that a cell is visible.
        fill: colour behind a mask, "mean" (zero after normalisation) or a grey level in [0, 1].
        seed: seed of the masks. All images and models of one size share the masks, and a larger
            `num_masks` extends the sequence of a smaller one.

    Returns:
        (N, H, W) float32 >= 0, not rescaled.

    Raises:
        InvalidInputError: for options out of range or a target that the model does not have.

    Source: Petsiuk et al., BMVC 2018. The paper uses 4,000 masks of 7 x 7 cells, half of them
        visible, for VGG16 (8,000 for ResNet-50). The published notebook uses 6,000 masks of 8 x 8
        cells with a tenth visible: `rise(num_masks=6000, grid=8, keep=0.1)`.
    Differs: the outer half cell of the resized grid repeats its value (the published code mirrors
        it). Cell sizes are rounded up to whole pixels as in the published code, not down.
    """
    size = (images.shape[2], images.shape[3])
    _check_options(num_masks, grid, keep, size)
    colour = fill_colour(fill, model, images)
    images = images.contiguous(memory_format=torch.channels_last)  # faster on a CPU
    micro_batch = min(default_micro_batch(images), num_masks)
    total = images.new_zeros(len(images), *size)
    for grids, shifts in _draws(num_masks, micro_batch, grid, keep, size, seed):
        masks = resize_and_crop(grids.to(images), shifts.to(images.device), size)
        total += _weighted_sum(masks, model, images, targets, colour, micro_batch)
        del masks  # frees the batch before the next one is drawn
    return total / (num_masks * keep)


def _check_options(num_masks: int, grid: int, keep: float, size: tuple[int, int]) -> None:
    check_count("num_masks", num_masks)
    check_count("grid", grid)
    if grid > min(size):
        raise InvalidInputError(
            f"grid: expected at most one cell per pixel, got {grid} cells for {size} px"
        )
    if not 0 < keep < 1:
        raise InvalidInputError(f"keep: expected a probability above 0 and below 1, got {keep}")


def _weighted_sum(
    masks: Tensor, model: nn.Module, images: Tensor, targets: Tensor, colour: Tensor,
    micro_batch: int,
) -> Tensor:  # fmt: skip
    """Sum (N, H, W) of the masks (M, H, W), weighted by the target's probability behind each."""

    def make(image: Tensor, mask: Tensor) -> Tensor:
        return torch.lerp(colour, images[image], masks[mask][:, None])

    probabilities = scores_in_states(
        model, images, targets, len(masks), make, micro_batch=micro_batch
    )
    return torch.einsum("nm,mhw->nhw", probabilities.to(masks), masks)


def resize_and_crop(grids: Tensor, shifts: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize grids bilinearly to one cell more than `size`, then crop at a shift.

    Args:
        grids: (M, g, g).
        shifts: (M, 2) int64, first row and column of the crop, in px.
        size: height and width of the crop.

    Returns:
        (M, H, W), within the range of the grids.
    """
    cells = grids.shape[-1]
    rows = _interpolation_weights(shifts[:, 0], cells, size[0]).to(grids)
    columns = _interpolation_weights(shifts[:, 1], cells, size[1]).to(grids)
    return rows @ grids @ columns.transpose(1, 2)


def _interpolation_weights(shift: Tensor, cells: int, length: int) -> Tensor:
    """Interpolation weights of the cells for each pixel of one axis, (M, length, cells)."""
    pixels = shift[:, None] + torch.arange(length, device=shift.device)
    scale = 1 / (_cell_px(length, cells) * (cells + 1) / cells)
    positions = ((pixels + 0.5) * scale - 0.5).clamp(0, cells - 1)
    centres = torch.arange(cells, device=shift.device)
    return (1 - (positions[..., None] - centres).abs()).clamp(min=0)


def _cell_px(length: int, cells: int) -> int:
    return math.ceil(length / cells)


def _draws(
    num_masks: int, min_batch: int, grid: int, keep: float, size: tuple[int, int], seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield grids (M, g, g) bool and shifts (M, 2) in batches of at least `min_batch` masks.

    Mask number m does not depend on the batch size.
    """
    draws_per_batch = math.ceil(min_batch / MASKS_PER_DRAW)
    num_draws = math.ceil(num_masks / MASKS_PER_DRAW)
    for first in range(0, num_draws, draws_per_batch):
        draws = [
            _draw(make_generator(seed, f"rise:{number}"), grid, keep, size)
            for number in range(first, min(first + draws_per_batch, num_draws))
        ]
        num_left = num_masks - first * MASKS_PER_DRAW
        grids, shifts = (torch.cat(tensors)[:num_left] for tensors in zip(*draws, strict=True))
        yield grids, shifts


def _draw(
    rng: torch.Generator, grid: int, keep: float, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    grids = torch.rand(MASKS_PER_DRAW, grid, grid, generator=rng) < keep
    shifts = [
        torch.randint(_cell_px(side, grid), (MASKS_PER_DRAW,), generator=rng) for side in size
    ]
    return grids, torch.stack(shifts, dim=1)
