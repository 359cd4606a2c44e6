"""Salience over several objects against scipy's entropy and closed forms."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from localised_case import localised
from scipy.stats import entropy

from lico_bench.errors import InvalidInputError
from lico_bench.metrics import METRICS, MetricInputs

ATOL_EPSILON = 1e-4  # the published 1e-6 per object, seen through a logarithm
BOTH = ("mosu_area_salience", "mosu_salience_area")


def scene(seed: int, *, num_images: int = 4) -> MetricInputs:
    """Images with two to four objects that may overlap."""
    rng = torch.Generator().manual_seed(seed)
    instances = []
    for _ in range(num_images):
        count = int(torch.randint(2, 5, (1,), generator=rng))
        objects = torch.rand(count, 9, 8, generator=rng) > 0.7
        objects[:, 0, 0] = True
        instances.append(objects)
    maps = torch.rand(num_images, 9, 8, generator=rng)
    return localised(maps, None, instances=instances)


def test_both_directions_equal_scipys_entropy():
    inputs = scene(0)
    area_first, salience_first = (METRICS[name].compute(inputs) for name in BOTH)
    for i, (salience, objects) in enumerate(zip(inputs.maps, inputs.instances, strict=True)):
        shares = [float(salience[o].sum() / salience.sum()) + 1e-6 for o in objects]
        areas = [float(o.sum()) for o in objects]
        assert float(area_first[i]) == pytest.approx(entropy(areas, shares), abs=ATOL_EPSILON)
        assert float(salience_first[i]) == pytest.approx(entropy(shares, areas), abs=ATOL_EPSILON)
    assert not torch.allclose(area_first, salience_first)


def two_objects(salience: tuple[float, float]) -> MetricInputs:
    objects = torch.zeros(2, 4, 8, dtype=torch.bool)
    objects[0, :, :2], objects[1, :, 2:] = True, True  # areas one to three
    maps = (objects.float() * torch.tensor(salience)[:, None, None]).sum(0)
    return localised(maps[None], None, instances=[objects])


def test_closed_forms():
    for name in BOTH:
        assert METRICS[name].compute(two_objects((1, 1))).tolist() == pytest.approx([0], abs=1e-6)
    # All salience on the small object: s = (1, 0), a = (1/4, 3/4).
    one_sided = two_objects((1, 0))
    found = float(METRICS["mosu_salience_area"].compute(one_sided))
    assert found == pytest.approx(math.log(4), abs=ATOL_EPSILON)
    expected = 0.25 * math.log(0.25) + 0.75 * math.log(0.75 / 1e-6)
    found = float(METRICS["mosu_area_salience"].compute(one_sided))
    assert found == pytest.approx(expected, abs=ATOL_EPSILON)


def test_a_map_without_mass_gives_each_object_the_same():
    empty = two_objects((0, 0))
    found = float(METRICS["mosu_area_salience"].compute(empty))
    assert found == pytest.approx(entropy([1, 3], [1, 1]), abs=ATOL_EPSILON)
    assert float(METRICS["mosu_salience_area"].compute(two_objects((-1, -2)))) > 0


def test_fewer_than_two_objects_are_skipped():
    inputs = scene(1)
    instances = [
        inputs.instances[0], inputs.instances[1][:1], inputs.instances[2][:0],
        torch.stack([inputs.instances[3][0], torch.zeros(9, 8, dtype=torch.bool)]),
    ]  # fmt: skip
    inputs = replace(inputs, instances=instances)
    for name in BOTH:
        found = METRICS[name].compute(inputs)
        assert found.isnan().tolist() == [False, True, True, True]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.sampled_from([1e-20, 0.1, 1e20]))
def test_it_is_not_negative_and_scale_and_batch_do_not_matter(seed: int, scale: float):
    inputs = scene(seed)
    scaled = localised(inputs.maps * scale, None, instances=inputs.instances)
    turned = localised(inputs.maps.flip(0), None, instances=inputs.instances[::-1])
    for name in BOTH:
        found = METRICS[name].compute(inputs)
        assert (found >= 0).all()
        assert torch.allclose(METRICS[name].compute(scaled), found, atol=1e-5)
        assert torch.equal(METRICS[name].compute(turned), found.flip(0))


def test_unknown_objects_are_refused():
    with pytest.raises(InvalidInputError, match="expected a mask for each object"):
        METRICS["mosu_area_salience"].compute(localised(torch.ones(1, 4, 4), None))
