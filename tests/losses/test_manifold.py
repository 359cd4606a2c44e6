"""Manifold matching against a slow loop, closed forms and finite differences."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lico_bench.errors import InvalidInputError
from lico_bench.losses import affinity, manifold_matching

ATOL_FP32 = 1e-5  # float32 distances of unit vectors, by the expanded square


def random_batch(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def slow_affinity(features, temperature, *, normalise=True, sign=-1, scale="divide"):
    """The definition, one pair at a time, in Python floats."""
    rows = [f.flatten().double() for f in features]
    if normalise:
        rows = [f / f.norm() for f in rows]
    factor = 1 / temperature if scale == "divide" else math.exp(temperature)
    weights = [[math.exp(sign * factor * float((a - b).norm())) for b in rows] for a in rows]
    return torch.tensor([[w / sum(line) for w in line] for line in weights])


def slow_matching(image, text, temperature):
    of_text, of_image = slow_affinity(text, temperature), slow_affinity(image, temperature)
    rows = [
        sum(float(p * (p / q).log()) for p, q in zip(t, i, strict=True))
        for t, i in zip(of_text, of_image, strict=True)
    ]
    return sum(rows) / len(rows)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    batch=st.integers(2, 7),
    temperature=st.floats(0.05, 5),
    normalise=st.booleans(),
    sign=st.sampled_from([-1, 1]),
)
def test_affinity_equals_the_definition(seed, batch, temperature, normalise, sign):
    features = random_batch(seed, batch, 3, 4)
    fast = affinity(features, temperature=temperature, normalise=normalise, sign=sign)
    slow = slow_affinity(features, temperature, normalise=normalise, sign=sign)
    assert torch.allclose(fast, slow, atol=2e-4 if temperature < 0.2 else ATOL_FP32)


def test_scale_exp_multiplies_by_the_exponential():
    features = random_batch(0, 4, 6)
    fast = affinity(features, temperature=1.3, scale="exp")
    assert torch.allclose(fast, slow_affinity(features, 1.3, scale="exp"), atol=ATOL_FP32)


def test_matching_equals_the_definition():
    image, text = random_batch(1, 5, 4, 3), random_batch(2, 5, 2, 3)
    assert float(manifold_matching(image, text, temperature=0.7)) == pytest.approx(
        slow_matching(image, text, 0.7), abs=ATOL_FP32
    )


def test_two_equal_manifolds_match():
    image = random_batch(3, 6, 4, 3)
    assert float(manifold_matching(image, 5 * image, temperature=0.5)) == pytest.approx(
        0, abs=ATOL_FP32
    )


def test_the_text_is_the_target_of_the_divergence():
    # Far apart images, equal texts: the two directions of the divergence differ.
    image, text = torch.eye(3), torch.ones(3, 3)
    a = math.exp(-math.sqrt(2))
    expected = -math.log(3) - (0 + 2 * -math.sqrt(2)) / 3 + math.log(1 + 2 * a)
    assert float(manifold_matching(image, text, temperature=1.0)) == pytest.approx(
        expected, abs=ATOL_FP32
    )


def test_two_samples_of_one_class_have_a_finite_gradient():
    image = random_batch(4, 4, 6).requires_grad_()
    text = random_batch(5, 2, 6)[[0, 0, 1, 1]].requires_grad_()
    manifold_matching(image, text, temperature=1.0).backward()
    assert image.grad.isfinite().all()
    assert text.grad.isfinite().all()
    assert image.grad.abs().sum() > 0


def test_gradients_pass_finite_differences():
    image = random_batch(6, 4, 5).double().requires_grad_()
    text = random_batch(7, 4, 3).double().requires_grad_()
    temperature = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda f, g, t: manifold_matching(f, g, temperature=t), (image, text, temperature)
    )


def test_loss_is_in_single_precision_under_autocast():
    image, text = random_batch(8, 16, 64), random_batch(9, 16, 32)
    plain = manifold_matching(image, text, temperature=1.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = manifold_matching(image, text, temperature=1.0)
    assert mixed.dtype == torch.float32
    assert float(mixed) == float(plain)


def test_a_single_sample_is_refused_with_the_remedy():
    with pytest.raises(InvalidInputError, match="raise batch_size"):
        affinity(torch.ones(1, 3), temperature=1.0)


def test_two_batch_sizes_are_refused():
    with pytest.raises(InvalidInputError, match="as many texts as images"):
        manifold_matching(torch.ones(3, 2), torch.ones(2, 2), temperature=1.0)


def test_an_unknown_scale_is_refused():
    with pytest.raises(InvalidInputError, match="scale: expected one of divide, exp"):
        affinity(torch.ones(2, 3), temperature=1.0, scale="times")
