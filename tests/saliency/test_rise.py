"""RISE against a slow loop, the expectation of its masks and a model that looks at one place."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lico_bench.errors import InvalidInputError
from lico_bench.models import build_classifier
from lico_bench.records import IMAGENET_MEAN
from lico_bench.saliency import SALIENCY, MapCostInputs, explain
from lico_bench.saliency.readouts import fill_colour
from lico_bench.saliency.rise import MASKS_PER_DRAW, _draws, resize_and_crop

ATOL_FP32_SUM = 1e-5  # up to 200 additions of values up to 1, divided by their number
NUM_DRAWN = 4096


class Counting(nn.Module):
    """A model that records its input images."""

    def __init__(self, network):
        super().__init__()
        self.network = network
        self.shown = []

    def forward(self, images):
        self.shown.append(images.clone())
        return self.network(images)


class BrightnessOf(nn.Module):
    """The first logit grows with the brightness of one rectangle, the second is zero."""

    def __init__(self, rows: slice, columns: slice):
        super().__init__()
        self.place = rows, columns

    def forward(self, images):
        seen = images[:, :, self.place[0], self.place[1]].mean((1, 2, 3))
        return torch.stack([4 * seen, torch.zeros_like(seen)], 1)


def pictures(number: int = 2, height: int = 32, width: int = 32):
    return torch.rand(number, 3, height, width, generator=torch.Generator().manual_seed(0))


def drawn(grid: int, size: tuple[int, int], keep: float = 0.5, number: int = NUM_DRAWN):
    """Grids and shifts from a generator of the test."""
    rng = torch.Generator().manual_seed(3)
    grids = (torch.rand(number, grid, grid, generator=rng) < keep).float()
    cells = [math.ceil(side / grid) for side in size]
    shifts = [torch.randint(cell, (number,), generator=rng) for cell in cells]
    return grids, torch.stack(shifts, 1)


@pytest.mark.parametrize(("grid", "size"), [(7, (32, 32)), (7, (33, 50)), (1, (9, 9)), (8, (8, 8))])
def test_a_mask_is_a_crop_of_the_enlarged_grid(grid: int, size: tuple[int, int]):
    grids, shifts = drawn(grid, size, number=20)
    cells = [math.ceil(side / grid) for side in size]
    whole = F.interpolate(
        grids[:, None], [(grid + 1) * cell for cell in cells], mode="bilinear", align_corners=False
    )[:, 0]
    slow = torch.stack(
        [
            mask[top : top + size[0], left : left + size[1]]
            for mask, (top, left) in zip(whole, shifts.tolist(), strict=True)
        ]
    )
    torch.testing.assert_close(
        resize_and_crop(grids, shifts, size), slow, atol=ATOL_FP32_SUM, rtol=0
    )


@pytest.mark.parametrize("keep", [0.1, 0.5])
def test_every_pixel_is_visible_with_the_probability_keep(keep: float):
    masks = resize_and_crop(*drawn(4, (12, 15), keep), (12, 15))
    six_sigma = 6 * math.sqrt(keep * (1 - keep) / NUM_DRAWN)  # a mask's variance is at most a bit's
    assert (masks.mean(0) - keep).abs().max() < six_sigma
    assert masks.min() >= -ATOL_FP32_SUM
    assert masks.max() <= 1 + ATOL_FP32_SUM


def test_the_map_is_the_average_of_the_masks_that_the_model_saw():
    # From a white image over black, what the model is shown is the mask itself.
    classifier = build_classifier(
        "wrn_10_1", num_classes=4, mean=(0.5,) * 3, std=(0.25,) * 3, seed=0
    ).eval()
    model = Counting(classifier)
    white, target, count = torch.ones(1, 3, 32, 32), torch.tensor([2]), 3 * MASKS_PER_DRAW
    made = explain(model, white, target, method="rise", num_masks=count, keep=0.3, fill=0.0)
    slow = torch.zeros(32, 32)
    shown = torch.cat(model.shown)
    for image in shown:
        with torch.no_grad():
            probability = classifier(image[None]).logits.softmax(1)[0, target[0]]
        slow += probability * image[0]
    assert len(shown) == count
    torch.testing.assert_close(made[0], slow / (count * 0.3), atol=ATOL_FP32_SUM, rtol=1e-5)


def test_a_hidden_pixel_takes_the_colour_that_is_zero_after_normalisation():
    mean = (0.1, 0.6, 0.3)
    network = build_classifier("wrn_10_1", num_classes=2, mean=mean, std=(0.25,) * 3, seed=0)
    assert fill_colour("mean", network, pictures()).flatten().tolist() == pytest.approx(mean)
    bare = BrightnessOf(slice(0, 4), slice(0, 4))
    assert fill_colour("mean", bare, pictures()).flatten().tolist() == pytest.approx(IMAGENET_MEAN)
    assert fill_colour(0.25, bare, pictures()).flatten().tolist() == [0.25] * 3


def test_with_masked_images_between_image_and_fill():
    images = pictures()
    model = Counting(BrightnessOf(slice(0, 4), slice(0, 4)))
    explain(model, images, torch.tensor([0, 1]), method="rise", num_masks=8, fill=1.0)
    shown = torch.cat(model.shown)
    assert shown.max() <= 1 + ATOL_FP32_SUM
    assert shown.min() >= images.min() - ATOL_FP32_SUM
    masks = [1 - (1 - shown[i * 8 : (i + 1) * 8]) / (1 - images[i]) for i in range(2)]
    close = images.amax(0) < 0.9  # where the quotient is well defined
    assert torch.allclose(masks[0][:, close], masks[1][:, close], atol=1e-4)


def test_it_finds_the_place_a_model_looks_at():
    rows, columns = slice(4, 12), slice(18, 28)
    images = torch.ones(1, 3, 32, 32)
    model = BrightnessOf(rows, columns)
    maps = explain(model, images, torch.tensor([0]), method="rise", num_masks=4096, fill=0.0)
    inside = torch.zeros(32, 32, dtype=torch.bool)
    inside[rows, columns] = True
    assert inside.flatten()[maps.argmax()]
    noise = 1 / math.sqrt(4096)  # of one pixel: p / keep times the standard deviation of its mask
    assert maps[0][inside].mean() > maps[0][~inside].mean() + noise


def test_for_a_constant_model_the_map_is_flat_up_to_the_masks_noise():
    model = BrightnessOf(slice(0, 1), slice(0, 1))
    images = torch.zeros(1, 3, 32, 32)
    maps = explain(model, images, torch.tensor([1]), method="rise", num_masks=640, fill=0.0)
    assert (maps - 0.5).abs().max() < 0.5 * 6 / math.sqrt(640)  # p = 1/2 times the mean mask / keep


def test_as_many_images_are_asked_as_the_method_declares():
    model = Counting(BrightnessOf(slice(0, 8), slice(0, 8)))
    count = 2 * MASKS_PER_DRAW
    explain(model, pictures(3), torch.tensor([0, 1, 0]), method="rise", num_masks=count)
    cost_inputs = MapCostInputs(channels=1, image_size=(32, 32))
    assert sum(map(len, model.shown)) == 3 * SALIENCY["rise"].cost(cost_inputs, num_masks=count)
    assert SALIENCY["rise"].cost(cost_inputs) == 4000


def test_more_masks_add_to_those_there_were():
    model = BrightnessOf(slice(0, 8), slice(0, 8))
    few, many = Counting(model), Counting(model)
    for counting, number in ((few, 70), (many, 130)):
        explain(counting, pictures(1), torch.tensor([0]), method="rise", num_masks=number)
    assert torch.equal(torch.cat(few.shown)[:70], torch.cat(many.shown)[:70])


def test_no_more_masks_are_held_than_fill_a_micro_batch():
    sizes = [len(grids) for grids, _ in _draws(4000, 16, 7, 0.5, (224, 224), 0)]
    assert max(sizes) == MASKS_PER_DRAW
    assert sum(sizes) == 4000
    lots = [torch.cat(parts) for parts in zip(*_draws(600, 16, 7, 0.5, (224, 224), 0), strict=True)]
    wide = [
        torch.cat(parts) for parts in zip(*_draws(600, 256, 7, 0.5, (224, 224), 0), strict=True)
    ]
    assert all(torch.equal(one, other) for one, other in zip(lots, wide, strict=True))


def test_a_micro_batch_that_does_not_fit_is_halved():
    class Narrow(BrightnessOf):
        def forward(self, images):
            if len(images) > 8:
                raise MemoryError
            return super().forward(images)

    place, images, targets = (slice(0, 8), slice(0, 8)), pictures(3), torch.tensor([0, 1, 0])
    roomy, narrow = (
        explain(kind(*place), images, targets, method="rise", num_masks=70)
        for kind in (BrightnessOf, Narrow)
    )
    torch.testing.assert_close(narrow, roomy, atol=ATOL_FP32_SUM, rtol=0)


def test_another_seed_is_another_map():
    model = BrightnessOf(slice(0, 8), slice(0, 8))
    maps = [
        explain(model, pictures(1), torch.tensor([0]), method="rise", num_masks=16, seed=seed)
        for seed in (0, 0, 1)
    ]
    assert torch.equal(maps[0], maps[1])
    assert not torch.equal(maps[0], maps[2])


def test_the_map_can_be_worked_on_in_place():
    model = BrightnessOf(slice(0, 8), slice(0, 8))
    maps = explain(model, pictures(1), torch.tensor([0]), method="rise", num_masks=4)
    assert not maps.is_inference()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"num_masks": 0}, "num_masks: expected a whole number"),
        ({"grid": 33}, "grid: expected at most one cell per pixel"),
        ({"keep": 0.0}, "keep: expected a probability"),
        ({"keep": 1.0}, "keep: expected a probability"),
        ({"fill": 2.0}, "fill: expected 'mean' or a grey level"),
        ({"fill": "blur"}, "fill: expected 'mean' or a grey level"),
    ],
)
def test_an_option_out_of_range_is_refused(options: dict, sentence: str):
    model = BrightnessOf(slice(0, 8), slice(0, 8))
    with pytest.raises(InvalidInputError, match=sentence):
        explain(model, pictures(1), torch.tensor([0]), method="rise", **options)


def test_a_target_that_the_model_does_not_have_is_refused():
    model = BrightnessOf(slice(0, 8), slice(0, 8))
    with pytest.raises(InvalidInputError, match=r"expected classes in \[0, 2\), got 2"):
        explain(model, pictures(2), torch.tensor([0, 2]), method="rise", num_masks=2)
