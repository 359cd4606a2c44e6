"""ROAD against a loop over images, shares and pixels, and on models with a known answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lico_bench.errors import ConvergenceError, InvalidInputError
from lico_bench.metrics import METRICS, PROTOCOLS, MetricInputs, resolve_metric
from lico_bench.metrics import road as road_room
from lico_bench.metrics.imputation import Imputation, Imputer
from lico_bench.metrics.road import removed_px, road_curves

ATOL_FP32 = 1e-5
ATOL_SOLVER = 1e-4  # two solutions of one system may stop an iteration apart


class BrightnessModel:
    """Two classes; the log-odds of class 1 are a weighted sum of the pixels."""

    def __init__(self, weights: Tensor) -> None:
        self.weights = weights
        self.sent: list[int] = []

    def __call__(self, images: Tensor) -> Tensor:
        self.sent.append(len(images))
        log_odds = (images.mean(1) * self.weights).sum((1, 2))
        return torch.stack([torch.zeros_like(log_odds), log_odds], dim=1)


def random_case(seed: int, *, num_images: int = 3, size: int = 8) -> MetricInputs:
    rng = torch.Generator().manual_seed(seed)
    return MetricInputs(
        model=BrightnessModel(torch.randn(size, size, generator=rng)),
        images=torch.rand(num_images, 3, size, size, generator=rng),
        targets=torch.randint(0, 2, (num_images,), generator=rng),
        maps=torch.rand(num_images, size, size, generator=rng),
        regions=None,
        protocol=PROTOCOLS["lico_bench_1"],
        image_ids=tuple(f"test/{i}" for i in range(num_images)),
    )


def test_scores_equal_a_loop_without_noise():
    inputs = random_case(0)
    curves = road_curves(inputs, percent="10 37 90", noise=0)
    for i, image in enumerate(inputs.images):
        order = np.argsort(-inputs.maps[i].flatten().numpy(), kind="stable")
        for j, count in enumerate((6, 24, 58)):
            for scores, gone in (
                (curves.most_first, order[:count]),
                (curves.least_first, order[64 - count :]),
            ):
                keep = torch.ones(64, dtype=torch.bool)
                keep[gone.tolist()] = False
                filled = Imputer()(image[None], keep.view(1, 8, 8)).images
                expected = inputs.model(filled).softmax(1)[0, inputs.targets[i]]
                assert float(scores[i, j]) == pytest.approx(float(expected), abs=ATOL_SOLVER)


@pytest.mark.parametrize("micro_batch", [1, 7, 64])
def test_forwards_are_two_per_share_and_image(micro_batch: int):
    inputs = random_case(1)
    curves = road_curves(inputs, micro_batch=micro_batch)
    assert curves.forwards == 2 * 7 * 3
    assert set(inputs.model.sent) == {micro_batch}
    assert METRICS["road"].cost(inputs.protocol).forwards == 2 * 7
    few = resolve_metric("road(percent=10 50)")
    assert few.cost(inputs.protocol).forwards == 2 * 2


def test_the_three_metrics_share_one_set_of_curves():
    inputs = random_case(2)
    road, morf, lerf = (METRICS[n].compute(inputs) for n in ("road", "road_morf", "road_lerf"))
    assert torch.allclose(road, (lerf - morf) / 2)
    sent = len(inputs.model.sent)
    METRICS["road"].compute(inputs)
    assert len(inputs.model.sent) == sent
    other = METRICS["road"].compute(inputs, noise=0)
    assert len(inputs.model.sent) > sent
    assert not torch.equal(other, road)


def test_scores_follow_the_image_and_not_the_batch():
    inputs = random_case(3, num_images=4)
    whole = METRICS["road_morf"].compute(inputs)
    for i in (2, 0):
        part = slice(i, i + 1)
        alone = replace(
            inputs, images=inputs.images[part], targets=inputs.targets[part],
            maps=inputs.maps[part], image_ids=inputs.image_ids[part],
        )  # fmt: skip
        found = METRICS["road_morf"].compute(alone)
        assert torch.allclose(found, whole[part], atol=ATOL_SOLVER)


def test_noise_is_drawn_for_each_image_and_share_and_is_the_same_for_every_map():
    inputs = random_case(4, num_images=2)
    inputs = replace(
        inputs,
        images=inputs.images[:1].repeat(2, 1, 1, 1),
        maps=inputs.maps[:1].repeat(2, 1, 1),
        targets=inputs.targets[:1].repeat(2),
    )
    curves = road_curves(inputs)
    assert not torch.equal(curves.most_first[0], curves.most_first[1])
    quiet = road_curves(inputs, noise=0)
    assert torch.allclose(quiet.most_first[0], quiet.most_first[1], atol=ATOL_FP32)
    # Turned round, least first removes what most first did: the same images, the same noise.
    turned = replace(inputs, maps=-inputs.maps)
    assert torch.allclose(road_curves(turned).least_first, curves.most_first, atol=ATOL_SOLVER)


@pytest.mark.parametrize("share", [10, 50, 80])
def test_a_plateau_map_loses_the_share_that_was_asked_for(share: int, monkeypatch):
    inputs = random_case(5, num_images=1, size=20)
    inputs = replace(inputs, maps=torch.zeros(1, 20, 20))
    inputs.maps[0, 3:9, 4:10] = 1  # a rectified map: nine tenths of it are zero
    removed: list[int] = []

    class Counting(Imputer):
        def __call__(self, images: Tensor, keep: Tensor) -> Imputation:
            removed.extend((~keep).flatten(1).sum(1).tolist())
            return super().__call__(images, keep)

    monkeypatch.setattr(road_room, "Imputer", Counting)
    road_curves(inputs, percent=str(share), micro_batch=2)
    assert removed == [4 * share, 4 * share]


def test_the_map_of_the_models_weights_beats_random_maps():
    rng = torch.Generator().manual_seed(6)
    images = torch.full((8, 3, 16, 16), 0.2)
    images[:, :, 4:9, 5:11] = 0.9
    weights = torch.zeros(16, 16)
    weights[4:9, 5:11] = 0.5
    inputs = MetricInputs(
        model=lambda x: BrightnessModel(weights)(x) - torch.tensor([0.0, 8.0]),
        images=images,
        targets=torch.ones(8, dtype=torch.int64),
        maps=weights.expand(8, 16, 16),
        regions=None,
        protocol=PROTOCOLS["lico_bench_1"],
    )
    blind = replace(inputs, maps=torch.rand(8, 16, 16, generator=rng))
    for name, sign in (("road", 1), ("road_lerf", 1), ("road_morf", -1)):
        compute = METRICS[name].compute
        assert (sign * compute(inputs) > sign * compute(blind)).all(), name


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1000), power=st.sampled_from([0.5, 2.0, 3.0]))
def test_scores_keep_their_value_under_a_rising_rescale(seed: int, power: float):
    inputs = random_case(seed, num_images=2)
    inputs = replace(inputs, maps=(inputs.maps * 100).round() / 100)
    rescaled = replace(inputs, maps=inputs.maps**power * 3 + 1)
    assert torch.equal(METRICS["road"].compute(inputs), METRICS["road"].compute(rescaled))


def test_shares_become_whole_pixels():
    assert removed_px("10 50 99.5", 64) == [6, 32, 64]
    assert removed_px(25, 1024) == [256]


@pytest.mark.parametrize("percent", ["", "0 10", "10 100", "20 10", "10,20", "ten"])
def test_shares_that_make_no_sense_are_refused(percent: str):
    with pytest.raises(InvalidInputError, match="percent: expected ascending numbers"):
        road_curves(random_case(7), percent=percent)


def test_an_imputation_that_does_not_converge_is_an_error(monkeypatch):
    monkeypatch.setattr(road_room, "Imputer", lambda: Imputer(max_iterations=1))
    with pytest.raises(ConvergenceError, match="did not reach their tolerance"):
        road_curves(random_case(8))


def test_the_rules_make_the_protocol():
    plain = resolve_metric("road")
    assert plain.spec.protocol.startswith("road_1@")
    assert resolve_metric("road(noise=0)").spec.protocol != plain.spec.protocol
