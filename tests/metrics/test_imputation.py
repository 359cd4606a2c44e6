"""The imputation against a sparse direct solver, closed forms and the definition itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import spsolve
from torch import Tensor

from lico_bench.errors import InvalidInputError
from lico_bench.metrics.imputation import Imputer

ATOL_DIRECT = 1e-4  # a twentieth of the step between two 8-bit values; the solver stops at 3e-5
ATOL_FP32 = 1e-6
WEIGHTS = {(dy, dx): 1 / 6 if dy * dx == 0 else 1 / 12 for dy in (-1, 0, 1) for dx in (-1, 0, 1)}
del WEIGHTS[0, 0]


def solve_directly(image: Tensor, keep: Tensor) -> Tensor:
    """One equation per removed pixel, as the definition says, by a sparse direct solver."""
    height, width = keep.shape
    pixels, removed = image.double().numpy(), ~keep.numpy()
    number = {place: i for i, place in enumerate(zip(*np.nonzero(removed), strict=True))}
    entries, right = [], np.zeros((len(number), len(pixels)))
    for (y, x), i in number.items():
        inside = {
            (y + dy, x + dx): w
            for (dy, dx), w in WEIGHTS.items()
            if 0 <= y + dy < height and 0 <= x + dx < width
        }
        total = sum(inside.values())
        entries.append((i, i, 1.0))
        for place, w in inside.items():
            if place in number:
                entries.append((i, number[place], -w / total))
            else:
                right[i] += w / total * pixels[:, place[0], place[1]]
    rows, columns, values = zip(*entries, strict=True)
    solution = spsolve(coo_matrix((values, (rows, columns))).tocsc(), right)
    filled = pixels.copy()
    filled[:, removed] = solution.reshape(len(number), -1).T
    return torch.from_numpy(filled).float()


def masks(size: int, rng: torch.Generator) -> dict[str, Tensor]:
    """Kept pixels: scattered, one compact hole, holes at the border, all but one removed."""
    places = torch.arange(size)
    from_middle = (places[:, None] - size / 2) ** 2 + (places - size / 2) ** 2
    border = torch.ones(size, size, dtype=torch.bool)
    border[: size // 2, : size // 3] = False
    border[-1] = False
    single = torch.zeros(size, size, dtype=torch.bool)
    single[size // 3, size // 2] = True
    return {
        "scattered 10 %": torch.rand(size, size, generator=rng) > 0.1,
        "scattered 90 %": torch.rand(size, size, generator=rng) > 0.9,
        "compact": from_middle > (0.42 * size) ** 2,
        "border": border,
        "single": single,
    }


@pytest.mark.parametrize(("height", "width"), [(8, 8), (16, 16), (33, 33), (64, 64), (24, 41)])
def test_filled_pixels_equal_those_of_a_direct_solver(height: int, width: int):
    rng = torch.Generator().manual_seed(height)
    kept = [mask[:height, :width] for mask in masks(max(height, width), rng).values()]
    keep = torch.stack(kept)
    images = torch.rand(len(keep), 3, height, width, generator=rng)
    filled = Imputer()(images, keep)
    assert filled.converged.all()
    for image, mask, found in zip(images, keep, filled.images, strict=True):
        assert torch.allclose(found, solve_directly(image, mask), atol=ATOL_DIRECT)


def test_iterations_hardly_grow_with_the_image():
    rng = torch.Generator().manual_seed(0)
    taken = []
    for size in (16, 64, 128):
        keep = masks(size, rng)["compact"][None]
        taken.append(int(Imputer()(torch.rand(1, 3, size, size, generator=rng), keep).iterations))
    assert max(taken) <= 25, taken


def test_kept_pixels_are_untouched_and_constant_images_stay():
    rng = torch.Generator().manual_seed(1)
    keep = torch.rand(4, 12, 12, generator=rng) > 0.6
    images = torch.rand(4, 3, 12, 12, generator=rng)
    found = Imputer()(images, keep).images
    assert torch.equal(found[:, 0][keep], images[:, 0][keep])
    constant = torch.full_like(images, 0.3)
    assert torch.allclose(Imputer()(constant, keep).images, constant, atol=ATOL_DIRECT)


def test_a_single_hole_is_the_weighted_mean_of_its_neighbours():
    image = torch.arange(9.0).view(1, 1, 3, 3) / 9
    for y, x in ((1, 1), (0, 1), (0, 0)):
        keep = torch.ones(1, 3, 3, dtype=torch.bool)
        keep[0, y, x] = False
        near = {
            (y + dy, x + dx): w
            for (dy, dx), w in WEIGHTS.items()
            if 0 <= y + dy < 3 and 0 <= x + dx < 3
        }
        expected = sum(w * float(image[0, 0, r, c]) for (r, c), w in near.items())
        found = float(Imputer()(image, keep).images[0, 0, y, x])
        assert found == pytest.approx(expected / sum(near.values()), abs=ATOL_FP32)


def test_nothing_removed_is_the_image_and_all_removed_its_mean_colour():
    images = torch.rand(2, 3, 10, 7, generator=torch.Generator().manual_seed(2))
    keep = torch.stack([torch.ones(10, 7), torch.zeros(10, 7)]).bool()
    filled = Imputer()(images, keep)
    assert torch.equal(filled.images[0], images[0])
    mean = images[1].mean((1, 2), keepdim=True).expand(3, 10, 7)
    assert torch.allclose(filled.images[1], mean, atol=ATOL_FP32)
    assert filled.converged.all()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.floats(0.05, 0.95))
def test_filled_values_lie_between_the_kept_ones_and_follow_the_batch(seed: int, share: float):
    rng = torch.Generator().manual_seed(seed)
    keep = torch.rand(5, 9, 14, generator=rng) > share
    keep[:, 0, 0] = True
    images = torch.rand(5, 3, 9, 14, generator=rng)
    found = Imputer()(images, keep).images
    for image, mask, filled in zip(images, keep, found, strict=True):
        kept = image[:, mask]
        assert (filled.flatten(1) <= kept.amax(1, keepdim=True) + ATOL_DIRECT).all()
        assert (filled.flatten(1) >= kept.amin(1, keepdim=True) - ATOL_DIRECT).all()
    order = torch.randperm(5, generator=rng)
    assert torch.allclose(
        Imputer()(images[order], keep[order]).images, found[order], atol=ATOL_FP32
    )
    alone = torch.cat([Imputer()(images[i : i + 1], keep[i : i + 1]).images for i in range(5)])
    assert torch.allclose(alone, found, atol=ATOL_FP32)


def test_too_few_iterations_are_reported():
    rng = torch.Generator().manual_seed(3)
    keep = masks(32, rng)["compact"][None].repeat(2, 1, 1)
    keep[1] = True
    filled = Imputer(max_iterations=3)(torch.rand(2, 3, 32, 32, generator=rng), keep)
    assert filled.converged.tolist() == [False, True]
    assert filled.iterations.tolist() == [3, 0]


def test_the_number_of_threads_changes_nothing_and_is_left_alone():
    rng = torch.Generator().manual_seed(4)
    keep = torch.rand(40, 32, 32, generator=rng) > 0.6
    images = torch.rand(40, 3, 32, 32, generator=rng)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(Imputer()(images, keep).images)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert torch.allclose(*found, atol=ATOL_FP32)


def test_an_imputer_serves_batches_of_any_size_type_and_mode():
    rng = torch.Generator().manual_seed(5)
    imputer = Imputer()
    for num_images, size, dtype in ((3, 9, torch.float32), (20, 9, torch.float32),
                                    (3, 12, torch.float64), (3, 9, torch.float32)):  # fmt: skip
        keep = torch.rand(num_images, size, size, generator=rng) > 0.5
        images = torch.rand(num_images, 3, size, size, generator=rng).to(dtype)
        with torch.inference_mode(num_images == 20):
            found = imputer(images, keep).images
        assert found.dtype == dtype
        assert torch.allclose(
            found, Imputer()(images.requires_grad_(), keep).images, atol=ATOL_FP32
        )


def test_shapes_that_do_not_fit_are_refused():
    images = torch.rand(2, 3, 8, 8)
    for keep in (torch.ones(2, 8, 8), torch.ones(2, 8, 7).bool(), torch.ones(1, 8, 8).bool()):
        with pytest.raises(InvalidInputError, match="impute: expected images"):
            Imputer()(images, keep)
    with pytest.raises(InvalidInputError, match="tolerance"):
        Imputer(tolerance=0)(images, torch.ones(2, 8, 8).bool())
