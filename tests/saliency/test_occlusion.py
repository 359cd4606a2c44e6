"""Occlusion against captum and a model that looks at one pixel."""

from __future__ import annotations

import pytest
import torch
from captum.attr import Occlusion
from torch import nn

from lico_bench.errors import InvalidInputError
from lico_bench.models import build_classifier
from lico_bench.saliency import SALIENCY, MapCostInputs, explain

ATOL_ORACLE = 1e-5  # captum may pick other kernels: it sends another number of images at a time


class OnePixel(nn.Module):
    """The first logit is the red of one pixel, the second zero; counts the images it is shown."""

    def __init__(self, row: int, column: int, weight: float = 1.0):
        super().__init__()
        self.row, self.column, self.weight = row, column, weight
        self.shown = 0

    def forward(self, images):
        self.shown += len(images)
        seen = self.weight * images[:, 0, self.row, self.column]
        return torch.stack([seen, torch.zeros_like(seen)], 1)


@pytest.mark.parametrize(
    ("size", "window", "stride"),
    [((32, 32), 0.25, 0.125), ((24, 40), 0.25, 0.2), ((20, 20), 0.35, 0.15)],
)
def test_maps_equal_captum(size: tuple[int, int], window: float, stride: float):
    mean = (0.4, 0.5, 0.6)
    classifier = build_classifier(
        "wrn_10_1", num_classes=4, mean=mean, std=(0.25,) * 3, seed=0
    ).eval()
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([3, 1])
    made = explain(classifier, images, targets, method="occlusion", window=window, stride=stride)
    window_px, stride_px = round(window * min(size)), round(stride * min(size))
    library = Occlusion(lambda pictures: classifier(pictures).logits.softmax(1))
    with torch.no_grad():
        theirs = library.attribute(
            images,
            sliding_window_shapes=(3, window_px, window_px),
            strides=(3, stride_px, stride_px),
            baselines=torch.tensor(mean).view(1, 3, 1, 1).expand_as(images),
            target=targets,
        )
    torch.testing.assert_close(made, theirs[:, 0], atol=ATOL_ORACLE, rtol=1e-4)


def test_a_pixel_counts_for_every_window_that_hides_it():
    images = torch.ones(1, 3, 32, 32)
    model = OnePixel(9, 14)
    made = explain(model, images, torch.tensor([0]), method="occlusion", fill=0.0)[0]
    drop = torch.tensor(1.0).sigmoid() - 0.5
    # Windows of 8 px every 4 px: rows 4 to 15 and columns 8 to 19 share a window with the pixel.
    expected = torch.zeros(32, 32)
    expected[4:16, 8:20] = drop / 4
    expected[8:12, 8:20] *= 2
    expected[4:16, 12:16] *= 2
    torch.testing.assert_close(made, expected, atol=1e-6, rtol=1e-6)


def test_a_window_that_hides_what_speaks_against_the_class_counts_below_zero():
    images = torch.ones(1, 3, 32, 32)
    made = explain(OnePixel(9, 14, -1.0), images, torch.tensor([0]), method="occlusion", fill=0.0)
    assert made.min() < 0
    assert made.max() == 0
    assert SALIENCY["occlusion"].is_signed


@pytest.mark.parametrize("options", [{}, {"window": 0.5, "stride": 0.25}, {"stride": 0.0625}])
def test_as_many_images_are_asked_as_the_method_declares(options: dict):
    model = OnePixel(0, 0)
    images = torch.rand(2, 3, 24, 32, generator=torch.Generator().manual_seed(0))
    cost_inputs = MapCostInputs(channels=1, image_size=(24, 32))
    declared = 2 * SALIENCY["occlusion"].cost(cost_inputs, **options)
    explain(model, images, torch.tensor([0, 1]), method="occlusion", **options)
    assert declared <= model.shown < declared + 64  # a last micro-batch is filled up


def test_the_default_asks_fifty_times_at_any_resolution():
    for side in (32, 64, 224):
        cost_inputs = MapCostInputs(channels=1, image_size=(side, side))
        assert SALIENCY["occlusion"].cost(cost_inputs) == 50


@pytest.mark.parametrize(
    "options", [{"window": 0.0}, {"window": 1.5}, {"stride": 0.0}, {"window": 0.1, "stride": 0.2}]
)
def test_windows_that_leave_gaps_or_the_image_are_refused(options: dict):
    with pytest.raises(InvalidInputError, match="window, stride: expected shares"):
        explain(
            OnePixel(0, 0), torch.rand(1, 3, 8, 8), torch.tensor([0]),
            method="occlusion", **options,
        )  # fmt: skip
