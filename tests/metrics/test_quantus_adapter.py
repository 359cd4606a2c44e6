"""Adapted Quantus metrics against slow loops; independent of the batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lico_bench.errors import InvalidInputError
from lico_bench.metrics import METRICS
from lico_bench.metrics.quantus_adapter import (
    complexity,
    effective_complexity,
    localisation_auc,
    mass_accuracy,
    sparseness,
)
from tests.metrics.explained_case import NUM_IMAGES, colour_images, in_batches, inputs_of

METRICS_OF_MAPS = (sparseness, complexity, effective_complexity)
METRICS_OF_REGIONS = (mass_accuracy, localisation_auc)
EVERY_METRIC = METRICS_OF_MAPS + METRICS_OF_REGIONS
ATOL_FP32 = 1e-6  # scores of up to 6 nats are handed back in single precision


def mixed_maps(seed: int = 0) -> torch.Tensor:
    """Signed, rectified, faint, zero, constant, negative and one-pixel maps."""
    rng = torch.Generator().manual_seed(seed)
    maps = torch.randn(NUM_IMAGES, 16, 16, generator=rng)
    maps[1] = maps[1].relu()
    maps[2] *= 1e-9
    maps[3] = 0
    maps[4] = 0.7
    maps[5] = -maps[5].abs()
    maps[6] = 0
    maps[6, 3, 4] = 5
    return maps


def slow_score(compute, values: np.ndarray, region: np.ndarray) -> float:
    """One map by the written formula."""
    values, region = values.astype(np.float64).ravel(), region.ravel()
    if compute is localisation_auc:
        inside, beside = values[region][:, None], values[~region][None]
        return float((inside > beside).mean() + (inside == beside).mean() / 2)
    weights = values.clip(0) if compute is mass_accuracy else np.abs(values)
    weights = weights if weights.any() else np.ones_like(weights)
    shares = weights / weights.sum()
    if compute is mass_accuracy:
        return float(shares[region].sum())
    if compute is effective_complexity:
        return float((weights > 0.05 * weights.max()).mean())
    if compute is complexity:
        return float(-sum(share * np.log(share) for share in shares if share > 0))
    apart = np.abs(shares[:, None] - shares[None])  # Gini as the mean difference
    return float(apart.sum() / (2 * len(shares)))


@pytest.mark.parametrize("compute", EVERY_METRIC)
def test_every_map_scores_by_the_written_formula(compute):
    maps, (_, _, regions) = mixed_maps(), colour_images(NUM_IMAGES)
    found = compute(inputs_of(maps=maps))
    for row in range(NUM_IMAGES):
        expected = slow_score(compute, maps[row].numpy(), regions[row].numpy())
        assert float(found[row]) == pytest.approx(expected, abs=ATOL_FP32)


@pytest.mark.parametrize("compute", EVERY_METRIC)
@pytest.mark.parametrize("size", [1, 3])
def test_scores_do_not_depend_on_the_batch(compute, size: int):
    maps = mixed_maps()
    whole = in_batches(compute, NUM_IMAGES, maps=maps)
    assert torch.equal(in_batches(compute, size, maps=maps), whole)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.sampled_from([1e-12, 0.25, 1e6]))
def test_scores_forget_the_scale_of_a_map(seed: int, scale: float):
    maps = mixed_maps(seed)
    for compute in EVERY_METRIC:
        before, after = (compute(inputs_of(maps=m)) for m in (maps, maps * scale))
        assert torch.allclose(before, after, atol=ATOL_FP32)


def test_flat_maps_score_as_the_uniform_map():
    flat = torch.zeros(NUM_IMAGES, 16, 16)
    flat[1::2] = 1
    assert torch.allclose(sparseness(inputs_of(maps=flat)), torch.zeros(NUM_IMAGES))
    entropy = torch.full((NUM_IMAGES,), np.log(256), dtype=torch.float32)
    assert torch.allclose(complexity(inputs_of(maps=flat)), entropy, atol=ATOL_FP32)
    assert (effective_complexity(inputs_of(maps=flat)) == 1).all()
    assert (localisation_auc(inputs_of(maps=flat)) == 0.5).all()
    share = torch.full((NUM_IMAGES,), 25 / 256)
    assert torch.allclose(mass_accuracy(inputs_of(maps=flat)), share)


def test_regions_that_cannot_be_scored_are_skipped():
    inputs = inputs_of(maps=mixed_maps())
    inputs.regions[0] = False
    inputs.regions[1] = True
    assert mass_accuracy(inputs).isnan().tolist() == [True] + 6 * [False]
    assert float(mass_accuracy(inputs)[1]) == 1
    assert localisation_auc(inputs).isnan().tolist() == [True, True] + 5 * [False]
    inputs = replace(inputs, regions=None)
    for compute in METRICS_OF_REGIONS:
        with pytest.raises(InvalidInputError, match="has no regions"):
            compute(inputs)


@pytest.mark.parametrize("compute", EVERY_METRIC)
def test_maps_and_global_generators_are_left_alone(compute):
    maps = mixed_maps()
    inputs = inputs_of(maps=maps)
    torch_state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 - the global state is what is watched
    compute(inputs)
    assert torch.equal(maps, mixed_maps())
    assert torch.equal(torch.random.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002


def test_complexity_has_no_direction_of_merit():
    for name in ("sparseness", "complexity", "effective_complexity"):
        assert METRICS[name].spec.higher_is_better is None
        assert METRICS[name].spec.category == "complexity"


def test_a_sign_that_is_none_is_refused():
    with pytest.raises(InvalidInputError, match="sign: expected one of absolute, positive"):
        sparseness(inputs_of(maps=mixed_maps()), sign="negative")


def bare(metric: str, maps: torch.Tensor, **options) -> list[float]:
    """Scores of Quantus without the adapter."""
    import quantus

    images, labels, regions = colour_images(NUM_IMAGES)
    count = len(maps)
    return getattr(quantus, metric)(disable_warnings=True, **options)(
        model=None, x_batch=images[:count].numpy(), y_batch=labels[:count].numpy(),
        a_batch=maps[:, None].numpy().copy(), s_batch=regions[:count, None].numpy(),
        batch_size=count,
    )  # fmt: skip


def test_bare_quantus_scores_a_map_by_its_neighbours_scale():
    maps = torch.rand(2, 16, 16, generator=torch.Generator().manual_seed(0))
    loud = maps.clone()
    loud[1] *= 1e6
    alone, beside = (bare("EffectiveComplexity", m)[0] for m in (maps, loud))
    assert alone == 256
    assert beside == 0


def test_bare_quantus_fills_a_sharp_map_up():
    maps = torch.zeros(1, 16, 16)
    maps[0, 2, 2] = 1e-5
    assert bare("Sparseness", maps, normalise=False)[0] < 0.3
    assert float(sparseness(inputs_of(rows=slice(0, 1), maps=maps))) == pytest.approx(255 / 256)


def test_bare_quantus_stops_at_a_batch_of_flat_maps():
    with pytest.raises(AssertionError, match="all equal to zero"):
        bare("Sparseness", torch.zeros(2, 16, 16))


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_bare_quantus_has_no_mass_accuracy_for_a_flat_map_and_leaves_its_range():
    maps = mixed_maps()
    scores = bare("RelevanceMassAccuracy", maps, normalise=False)
    assert np.isnan(scores[3])
    assert not 0 <= scores[0] <= 1


def test_attribution_localisation_is_mass_accuracy_or_depends_on_the_batch():
    maps = mixed_maps().relu()[:3]
    ours = mass_accuracy(inputs_of(rows=slice(0, 3), maps=mixed_maps().relu()))[:2]
    np.testing.assert_allclose(bare("AttributionLocalisation", maps)[:2], ours, atol=1e-6)
    full, half = (
        bare("AttributionLocalisation", m, weighted=True)[0]
        for m in (maps, mixed_maps().relu()[:4])
    )
    assert full == pytest.approx(2 * half)
