"""Manifold matching against a slow loop, closed forms and finite differences."""

from __future__ import annotations

import inspect
import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lico_bench.errors import InvalidInputError
from lico_bench.losses import affinity, manifold_matching

ATOL_FP32 = 1e-5  # float32 distances of unit vectors, by the expanded square
ATOL_FP64 = 1e-9

# Every option away from its default, alone and then all together.
VARIANTS = [
    {},
    {"normalise": False},
    {"scale": "exp"},
    {"sign": 1},
    {"direction": "image_text"},
    {"floor": 1e-4},
    {"floor": 0.3, "direction": "image_text"},
    {"least_distance": 0.01},
    {"least_distance": 1.3},
    {"text_temperature": 0.4},
    {
        "normalise": False, "scale": "exp", "sign": 1, "direction": "image_text", "floor": 1e-2,
        "least_distance": 0.5, "text_temperature": -0.3,
    },
]  # fmt: skip


def random_batch(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def slow_affinity(
    features, temperature, *, normalise=True, sign=-1, scale="divide", least_distance=0.0
):
    """A_ij = softmax_j(sign · d_ij / τ), one pair at a time, in Python floats."""
    rows = [f.flatten().double() for f in features]
    if normalise:
        rows = [f / f.norm() for f in rows]
    factor = 1 / temperature if scale == "divide" else math.exp(temperature)
    weights = [
        [math.exp(sign * factor * max(float((a - b).norm()), least_distance)) for b in rows]
        for a in rows
    ]
    return torch.tensor([[w / sum(line) for w in line] for line in weights], dtype=torch.float64)


def slow_matching(
    image, text, temperature, *, direction="text_image", floor=0.0, text_temperature=None, **options
):
    """mean_i KL(A^G_i ‖ A^F_i), KL(P ‖ Q) = Σ_j P_j (log(P_j + φ) - log(Q_j + φ))."""
    of_image = slow_affinity(image, temperature, **options)
    of_text = slow_affinity(text, text_temperature or temperature, **options)
    pair = (of_text, of_image) if direction == "text_image" else (of_image, of_text)
    rows = [
        sum(
            float(p) * (math.log(float(p) + floor) - math.log(float(q) + floor))
            for p, q in zip(target, other, strict=True)
        )
        for target, other in zip(*pair, strict=True)
    ]
    return sum(rows) / len(rows)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    batch=st.integers(2, 7),
    temperature=st.floats(0.05, 5),
    normalise=st.booleans(),
    sign=st.sampled_from([-1, 1]),
    scale=st.sampled_from(["divide", "exp"]),
    least_distance=st.sampled_from([0.0, 0.01, 1.3]),
)
def test_affinity_equals_the_definition(seed, batch, temperature, **options):
    features = random_batch(seed, batch, 3, 4)
    if options["scale"] == "exp":
        temperature = min(temperature, 3.0)
    slow = slow_affinity(features, temperature, **options)
    fast = affinity(features.double(), temperature=torch.tensor(temperature).double(), **options)
    assert torch.allclose(fast, slow, atol=ATOL_FP64)
    if temperature > 0.3 and options["scale"] == "divide":
        single = affinity(features, temperature=temperature, **options)
        assert torch.allclose(single.double(), slow, atol=ATOL_FP32)


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_matching_equals_the_definition(options):
    image, text = random_batch(1, 5, 4, 3), random_batch(2, 5, 2, 3)
    expected = slow_matching(image, text, 0.7, **options)
    assert float(manifold_matching(image, text, temperature=0.7, **options)) == pytest.approx(
        expected, abs=ATOL_FP32
    )


def test_every_option_changes_the_result():
    image, text = random_batch(1, 5, 4, 3), random_batch(2, 5, 2, 3)
    values = [float(manifold_matching(image, text, temperature=0.7, **v)) for v in VARIANTS]
    apart = [abs(a - b) for a, b in itertools.combinations(values, 2)]
    # A least distance of 0.01 is felt on the diagonal alone, a floor of 1e-4 hardly anywhere.
    assert min(apart) > 1e-5


def test_the_docstrings_tell_what_the_slow_loops_compute():
    message = {
        affinity: [
            "A_ij = softmax_j(sign · d_ij / τ)",
            "d_ij = max(‖f_i - f_j‖, δ)",
            "A_ij = softmax_j(sign · d_ij · exp(τ))",
        ],
        manifold_matching: [
            "mean_i KL(A^G_i ‖ A^F_i)",
            "KL(P ‖ Q) = Σ_j P_j (log(P_j + φ) - log(Q_j + φ))",
            "mean_i KL(A^F_i ‖ A^G_i)",
        ],
    }
    for function, formulas in message.items():
        text = " ".join(inspect.getdoc(function).split())
        assert [f for f in formulas if f not in text] == []
        options = set(inspect.signature(function).parameters)
        assert [o for o in options if o not in text] == []
    assert message[affinity][0] in slow_affinity.__doc__
    assert all(f in slow_matching.__doc__ for f in message[manifold_matching][:2])


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
    sharp = [1 / (1 + 2 * a), a / (1 + 2 * a), a / (1 + 2 * a)]
    reverse = sum(q * math.log(3 * q) for q in sharp)
    other = manifold_matching(image, text, temperature=1.0, direction="image_text")
    assert float(other) == pytest.approx(reverse, abs=ATOL_FP32)


def test_the_directions_are_each_other_with_the_sides_exchanged():
    image, text = random_batch(20, 5, 6), random_batch(21, 5, 4)
    there = manifold_matching(image, text, temperature=0.6, direction="image_text")
    back = manifold_matching(text, image, temperature=0.6)
    assert torch.equal(there, back)


def test_a_floor_makes_it_possible_to_fall_below_zero():
    """Why the docstring promises at least 0 for a floor of 0 alone."""
    image = random_batch(0, 4, 2)
    options = {"temperature": 1.0, "text_temperature": 1.1}
    assert float(manifold_matching(image, image, **options, floor=1.0)) < -1e-4
    assert float(manifold_matching(image, image, **options)) > 1e-4


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), options=st.sampled_from(VARIANTS))
def test_the_order_of_samples_channels_and_tokens_does_not_matter(seed, options):
    image, text = random_batch(seed, 5, 4, 3), random_batch(seed + 1, 5, 2, 3)
    rng = torch.Generator().manual_seed(seed)
    samples, channels = torch.randperm(5, generator=rng), torch.randperm(4, generator=rng)
    plain = manifold_matching(image, text, temperature=0.8, **options)
    shuffled = manifold_matching(
        image[samples][:, channels], text[samples][:, [1, 0]], temperature=0.8, **options
    )
    assert float(plain) == pytest.approx(float(shuffled), abs=ATOL_FP32)
    of_image = affinity(image, temperature=0.8)
    assert torch.allclose(
        affinity(image[samples], temperature=0.8), of_image[samples][:, samples], atol=ATOL_FP32
    )


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_two_equal_samples_and_one_of_zeros_have_a_finite_gradient(options):
    image = random_batch(4, 5, 6)[[0, 1, 2, 2, 3]]
    image[4] = 0
    text = random_batch(5, 3, 6)[[0, 0, 1, 1, 2]].requires_grad_()
    image.requires_grad_()
    manifold_matching(image, text, temperature=1.0, **options).backward()
    for side in (image, text):
        assert side.grad.isfinite().all()
        assert 0 < side.grad.abs().max() < 100


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_gradients_pass_finite_differences(options):
    image = random_batch(6, 4, 5).double().requires_grad_()
    text = random_batch(7, 4, 3).double().requires_grad_()
    options = dict(options)
    taus = [0.8, options.pop("text_temperature", None)]
    inputs = [image, text] + [
        torch.tensor(tau, dtype=torch.float64, requires_grad=True) for tau in taus if tau
    ]
    assert torch.autograd.gradcheck(
        lambda f, g, t, *of_text: manifold_matching(
            f, g, temperature=t, text_temperature=of_text[0] if of_text else None, **options
        ),
        inputs,
    )


def test_gradient_of_the_affinity_passes_finite_differences():
    features = random_batch(22, 4, 2, 3).double().requires_grad_()
    for options in ({}, {"least_distance": 1.2}, {"sign": 1, "scale": "exp", "normalise": False}):
        assert torch.autograd.gradcheck(
            lambda f, options=options: affinity(f, temperature=0.7, **options), (features,)
        )


def test_one_temperature_is_two_equal_ones():
    image, text = random_batch(8, 5, 6), random_batch(9, 5, 4)
    shared = manifold_matching(image, text, temperature=0.5)
    assert torch.equal(
        shared, manifold_matching(image, text, temperature=0.5, text_temperature=0.5)
    )


@pytest.mark.parametrize("options", VARIANTS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_autocast_are_computed_in_single(dtype, options):
    image, text = random_batch(8, 16, 64).to(dtype), random_batch(9, 16, 32).to(dtype)
    plain = manifold_matching(image.float(), text.float(), temperature=1.0, **options)
    assert plain.dtype == torch.float32
    assert torch.equal(manifold_matching(image, text, temperature=1.0, **options), plain)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = manifold_matching(image, text, temperature=1.0, **options)
        of_image = affinity(image, temperature=1.0)
    assert torch.equal(mixed, plain)
    assert torch.equal(of_image, affinity(image.float(), temperature=1.0))


BATCH = torch.ones(3, 4)
BROKEN = torch.tensor([[1.0, 2.0], [math.nan, 1.0], [0.0, 1.0]])


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (torch.ones(1, 3), "at least 2 samples, got 1; .*raise batch_size"),
        (torch.ones(0, 3), "at least one value per sample, .*give each sample a row"),
        (torch.ones(3, 0), "at least one value per sample, .*give each sample a row"),
        (torch.ones(3), "at least one value per sample, .*give each sample a row"),
        (BROKEN, "expected finite values .*check the model"),
        (BROKEN.nan_to_num(math.inf), "expected finite values .*check the model"),
        (BROKEN.nan_to_num(-math.inf), "expected finite values .*check the model"),
    ],
)
def test_bad_features_are_refused(features, message):
    with pytest.raises(InvalidInputError, match=message):
        affinity(features, temperature=1.0)
    with pytest.raises(InvalidInputError, match=message):
        affinity(features.double(), temperature=1.0)
    fine = torch.ones(len(features), 2)
    for pair in ((features, fine), (fine, features)):
        with pytest.raises(InvalidInputError, match=message):
            manifold_matching(*pair, temperature=1.0)


def test_squares_that_overflow_are_refused():
    with pytest.raises(InvalidInputError, match=r"finite squares.*normalise the rows"):
        affinity(1e25 * random_batch(0, 3, 4), temperature=1.0, normalise=False)
    assert affinity(1e15 * random_batch(0, 3, 4), temperature=1.0).isfinite().all()


def test_two_batch_sizes_are_refused():
    with pytest.raises(InvalidInputError, match=r"as many texts as images, .*text\[labels\]"):
        manifold_matching(torch.ones(3, 2), torch.ones(2, 2), temperature=1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": "times"}, "scale: expected one of divide, exp"),
        ({"direction": "both"}, "direction: expected one of text_image, image_text"),
        ({"sign": 0}, "sign: expected -1 or 1, got 0"),
        ({"temperature": 0.0}, "temperature: expected a number above 0, got 0.0"),
        ({"temperature": -2}, "temperature: expected a number above 0, got -2"),
        ({"temperature": math.nan}, "temperature: expected a number above 0"),
        ({"temperature": math.inf, "scale": "exp"}, "temperature: expected a finite number"),
        ({"text_temperature": 0.0}, "text_temperature: expected a number above 0"),
        ({"floor": -1e-4}, "floor: expected a number of at least 0"),
        ({"floor": math.nan}, "floor: expected a number of at least 0"),
        ({"least_distance": -0.01}, "least_distance: expected a number of at least 0"),
    ],
)
def test_bad_options_are_refused(change, message):
    with pytest.raises(InvalidInputError, match=message):
        manifold_matching(BATCH, BATCH, **{"temperature": 1.0, **change})


def test_a_factor_may_have_an_exponent_below_zero():
    features = random_batch(0, 4, 6)
    fast = affinity(features, temperature=-1.0, scale="exp").double()
    assert torch.allclose(fast, slow_affinity(features, -1.0, scale="exp"), atol=ATOL_FP32)
