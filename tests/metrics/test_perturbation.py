"""Insertion and deletion curves against slow loops and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, ndimage
from torch import nn

from lico_bench.data.image_batches import blur
from lico_bench.errors import InvalidInputError, UnknownNameError
from lico_bench.metrics import PROTOCOLS, area_under, perturbation_curves
from lico_bench.metrics.perturbation import insertion_baseline, rank_pixels
from lico_bench.records import Output

RULES = PROTOCOLS["lico_bench_1"]
FILL = torch.tensor(RULES.fill_rgb).view(1, 3, 1, 1)
ATOL_FP32 = 1e-5


class BrightnessModel(nn.Module):
    """Two classes; the log-odds of class 1 are a weighted sum of the pixels."""

    def __init__(self, weights: torch.Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)
        self.sent: list[int] = []

    def forward(self, images):
        self.sent.append(len(images))
        log_odds = (images.mean(1) * self.weights).sum((1, 2))
        return torch.stack([torch.zeros_like(log_odds), log_odds], dim=1)


def random_case(seed: int, num_images: int = 3, size: int = 8):
    rng = torch.Generator().manual_seed(seed)
    images = torch.rand(num_images, 3, size, size, generator=rng)
    maps = torch.rand(num_images, size, size, generator=rng)
    weights = torch.randn(size, size, generator=rng)
    targets = torch.randint(0, 2, (num_images,), generator=rng)
    return BrightnessModel(weights), images, targets, maps


def slow_curves(model, images, targets, maps):
    """Change one image pixel by pixel, as the definition says."""
    fill = torch.tensor(RULES.fill_rgb).view(3, 1, 1)
    starts = insertion_baseline(images, RULES, fill=FILL)
    sizes = RULES.changed_px(maps[0].numel())
    deletion, insertion = np.zeros((2, len(images), len(sizes)))
    for i, image in enumerate(images):
        order = np.argsort(-maps[i].flatten().numpy(), kind="stable")
        for j, size in enumerate(sizes):
            deleted, inserted = image.clone(), starts[i].clone()
            for pixel in order[:size]:
                y, x = divmod(int(pixel), image.shape[2])
                deleted[:, y, x] = fill[:, 0, 0]
                inserted[:, y, x] = image[:, y, x]
            for curve, state in ((deletion, deleted), (insertion, inserted)):
                curve[i, j] = model(state[None]).detach().softmax(1)[0, targets[i]]
    return torch.from_numpy(insertion).float(), torch.from_numpy(deletion).float()


def test_curves_equal_a_pixel_by_pixel_loop():
    model, images, targets, maps = random_case(0)
    curves = perturbation_curves(model, images, targets, maps)
    insertion, deletion = slow_curves(model, images, targets, maps)
    assert torch.allclose(curves.insertion, insertion, atol=ATOL_FP32)
    assert torch.allclose(curves.deletion, deletion, atol=ATOL_FP32)


@pytest.mark.parametrize("micro_batch", [1, 7, 64, 500])
def test_forwards_are_two_per_step_and_image_plus_one(micro_batch: int):
    model, images, targets, maps = random_case(1)
    curves = perturbation_curves(model, images, targets, maps, micro_batch=micro_batch)
    assert curves.forwards == 2 * RULES.steps * len(images) + 1
    assert set(model.sent) == {micro_batch}
    assert sum(model.sent) - curves.forwards < 3 * micro_batch  # only the three tails are filled up


def test_scores_do_not_depend_on_the_batch():
    model, images, targets, maps = random_case(2, num_images=5)
    whole = perturbation_curves(model, images, targets, maps, micro_batch=7)
    for i in range(5):
        part = slice(i, i + 1)
        alone = perturbation_curves(model, images[part], targets[part], maps[part], micro_batch=7)
        assert torch.equal(whole.insertion[part], alone.insertion)
        assert torch.equal(whole.deletion[part], alone.deletion)


def test_the_map_of_a_linear_models_weights_is_the_best():
    rng = torch.Generator().manual_seed(3)
    weights = torch.rand(8, 8, generator=rng) / 4
    model = BrightnessModel(weights)
    images = torch.ones(1, 3, 8, 8)  # brighter than the fill: each deletion lowers the odds
    targets = torch.tensor([1])
    best = perturbation_curves(model, images, targets, weights[None]).deletion_auc
    for seed in range(100, 120):
        other = torch.rand(1, 8, 8, generator=rng.manual_seed(seed))
        assert best < perturbation_curves(model, images, targets, other).deletion_auc


def test_deletion_of_a_linear_model_has_the_closed_form():
    weights = torch.arange(64.0).view(8, 8) / 512
    curves = perturbation_curves(
        BrightnessModel(weights), torch.ones(1, 3, 8, 8), torch.tensor([1]), weights[None]
    )
    lost = 1 - sum(RULES.fill_rgb) / 3
    largest_first = weights.flatten().flip(0)
    for j, size in enumerate(RULES.changed_px(64)):
        log_odds = float(weights.sum() - lost * largest_first[:size].sum())
        expected = 1 / (1 + math.exp(-log_odds))
        assert float(curves.deletion[0, j]) == pytest.approx(expected, abs=ATOL_FP32)


def test_a_constant_model_has_flat_curves():
    _, images, targets, maps = random_case(4)
    curves = perturbation_curves(lambda x: torch.zeros(len(x), 4), images, targets, maps)
    assert torch.allclose(curves.insertion, torch.full((3, 33), 0.25))
    assert torch.allclose(curves.deletion_auc, torch.full((3,), 0.25))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), power=st.sampled_from([0.5, 2.0, 3.0]))
def test_curves_keep_their_value_under_a_rising_rescale(seed: int, power: float):
    model, images, targets, maps = random_case(seed, num_images=2)
    maps = (maps * 100).round() / 100  # float32 powers keep such values apart
    before = perturbation_curves(model, images, targets, maps)
    after = perturbation_curves(model, images, targets, maps**power * 3 + 1)
    assert torch.equal(before.insertion, after.insertion)
    assert torch.equal(before.deletion, after.deletion)


def test_ends_are_the_image_the_blur_and_the_fill():
    model, images, targets, maps = random_case(5)
    curves = perturbation_curves(model, images, targets, maps)

    def score(x):
        return model(x).softmax(1).gather(1, targets[:, None])[:, 0]

    fill = torch.tensor(RULES.fill_rgb).view(1, 3, 1, 1).expand_as(images)
    assert torch.equal(curves.deletion[:, 0], curves.insertion[:, -1])
    assert torch.allclose(curves.deletion[:, 0], score(images), atol=ATOL_FP32)
    assert torch.allclose(curves.deletion[:, -1], score(fill), atol=ATOL_FP32)
    blurred = insertion_baseline(images, RULES, fill=FILL)
    assert torch.allclose(curves.insertion[:, 0], score(blurred), atol=ATOL_FP32)


def test_ties_change_in_the_order_of_the_pixels():
    ranks = rank_pixels(torch.tensor([[[1.0, 2.0], [2.0, 1.0]]]))
    assert ranks.tolist() == [[[2, 0], [1, 3]]]
    assert rank_pixels(torch.zeros(1, 3, 3)).flatten().tolist() == list(range(9))


def test_area_is_the_trapezoid_rule():
    rng = np.random.default_rng(0)
    curve, fractions = rng.random((4, 9)), np.sort(rng.random(9))
    ours = area_under(torch.from_numpy(curve), torch.from_numpy(fractions))
    np.testing.assert_allclose(ours, integrate.trapezoid(curve, fractions), rtol=1e-6)


def test_steps_of_uneven_division_cover_all_pixels_once():
    sizes = RULES.changed_px(49)
    assert sizes[0] == 0
    assert sizes[-1] == 49
    assert set(np.diff(sizes)) == {1, 2}


def test_blur_equals_scipys_truncated_gaussian():
    images = torch.rand(2, 3, 20, 16, generator=torch.Generator().manual_seed(6))
    ours = blur(images, sigma_px=2.0, radius_px=4)
    # scipy's "mirror" is torch's "reflect": the border pixel is not repeated.
    theirs = ndimage.gaussian_filter(
        images.numpy(), sigma=(0, 0, 2.0, 2.0), truncate=2.0, mode="mirror"
    )
    np.testing.assert_allclose(ours.numpy(), theirs, atol=ATOL_FP32)


def test_a_model_may_return_an_output():
    model, images, targets, maps = random_case(7)
    plain = perturbation_curves(model, images, targets, maps)
    wrapped = perturbation_curves(
        lambda x: Output(model(x), torch.zeros(len(x), 1, 1)), images, targets, maps
    )
    assert torch.equal(plain.insertion, wrapped.insertion)


def test_training_mode_and_buffers_are_left_as_they_were():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    before = {k: v.clone() for k, v in model.state_dict().items()}
    _, images, targets, maps = random_case(8)
    perturbation_curves(model.train(), images, targets, maps)
    assert all(module.training for module in model.modules())
    assert all(p.requires_grad for p in model.parameters())
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda i, t, m: (i[0], t, m), "add a batch axis"),
        (lambda i, t, m: (i.permute(0, 2, 3, 1), t, m), "move the channels forward"),
        (lambda i, t, m: (i * 255, t, m), r"expected values in \[0, 1\]"),
        (lambda i, t, m: ((i * 255).byte(), t, m), "divide bytes by 255"),
        (lambda i, t, m: (i[:0], t[:0], m[:0]), "at least one image"),
        (lambda i, t, m: (i, t[:1], m), r"targets: expected \(3,\)"),
        (lambda i, t, m: (i, t + 9, m), r"targets: expected classes in \[0, 2\)"),
        (lambda i, t, m: (i, t.float(), m), "class numbers"),
        (lambda i, t, m: (i, t, m[:, None]), "drop the channel axis"),
        (lambda i, t, m: (i, t, m.masked_fill(m > 0.5, math.nan)), "NaN or infinity in 3 of 3"),
    ],
)
def test_bad_input_is_refused_with_the_remedy(spoil, message: str):
    model, images, targets, maps = random_case(9)
    images, targets, maps = spoil(images, targets, maps)
    with pytest.raises(InvalidInputError, match=message):
        perturbation_curves(model, images, targets, maps)


def test_a_model_without_logits_is_refused():
    _, images, targets, maps = random_case(10)
    with pytest.raises(InvalidInputError, match="returns the logits alone"):
        perturbation_curves(lambda x: (x, x), images, targets, maps)


def test_an_unknown_protocol_names_the_nearest():
    model, images, targets, maps = random_case(11)
    with pytest.raises(UnknownNameError, match="did you mean 'lico_bench_1'"):
        perturbation_curves(model, images, targets, maps, protocol="lico_bench1")


def test_a_protocols_id_changes_with_its_rules():
    from dataclasses import replace

    assert RULES.id.startswith("lico_bench_1@")
    assert replace(RULES, steps=16).id != RULES.id
    assert replace(RULES, source="elsewhere").id == RULES.id
