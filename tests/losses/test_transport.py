"""The transport solver and loss against exact, slow and closed-form answers."""

from __future__ import annotations

import math

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lico_bench.errors import InvalidInputError
from lico_bench.losses import sinkhorn, solve_transport, transport_cost, transport_loss

ATOL_FP32 = 1e-5  # sums of a few thousand float32 terms below 4
CONVERGED = {"max_iterations": 5000, "tolerance": 1e-9}


def random_points(seed: int, batch: int = 3, rows: int = 6, columns: int = 4, width: int = 5):
    rng = torch.Generator().manual_seed(seed)
    return (
        torch.randn(batch, rows, width, generator=rng),
        torch.randn(batch, columns, width, generator=rng),
    )


def test_cost_is_the_squared_distance_of_unit_rows():
    features, text = random_points(0)
    cost = transport_cost(features, text)
    for b in range(3):
        for n in range(6):
            for m in range(4):
                f = features[b, n] / features[b, n].norm()
                g = text[b, m] / text[b, m].norm()
                assert cost[b, n, m] == pytest.approx(float(((f - g) ** 2).sum()), abs=ATOL_FP32)


def test_small_epsilon_reaches_the_exact_solution():
    cost = transport_cost(*random_points(1)).double()
    solved = sinkhorn(cost, epsilon=2e-3, max_iterations=20_000, tolerance=1e-9)
    for b in range(3):
        exact = ot.emd2(np.full(6, 1 / 6), np.full(4, 1 / 4), cost[b].numpy())
        # The entropic optimum exceeds the exact one by at most epsilon times the plan's entropy.
        assert exact - ATOL_FP32 <= float(solved.cost[b]) <= exact + 2e-3 * math.log(24)


def test_plan_agrees_with_pots_single_solver():
    cost = transport_cost(*random_points(2))
    solved = sinkhorn(cost, epsilon=0.1, **CONVERGED)
    for b in range(3):
        single = ot.sinkhorn(np.full(6, 1 / 6), np.full(4, 1 / 4), cost[b].numpy(), 0.1)
        np.testing.assert_allclose(solved.plan[b].numpy(), single, atol=ATOL_FP32)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(1, 9), columns=st.integers(1, 9))
def test_marginals_of_a_converged_plan_are_uniform(seed: int, rows: int, columns: int):
    cost = transport_cost(*random_points(seed, rows=rows, columns=columns)).double()
    solved = sinkhorn(cost, epsilon=0.5, max_iterations=5000, tolerance=1e-6)
    assert solved.converged.all()
    for axis, count in ((2, rows), (1, columns)):
        expected = torch.full((3, count), 1 / count, dtype=torch.float64)
        assert torch.allclose(solved.plan.sum(axis), expected, atol=1e-5)


def test_loss_does_not_depend_on_the_order_of_channels_or_tokens():
    features, text = random_points(3)
    loss = transport_loss(features, text)
    shuffled = transport_loss(features[:, [3, 1, 0, 5, 4, 2]], text[:, [2, 0, 3, 1]])
    assert float(loss) == pytest.approx(float(shuffled), abs=ATOL_FP32)


def test_masked_tokens_change_nothing():
    features, text = random_points(4)
    mask = torch.tensor([[True, True, False, False]]).expand(3, 4)
    assert float(transport_loss(features, text, token_mask=mask)) == pytest.approx(
        float(transport_loss(features, text[:, :2])), abs=ATOL_FP32
    )
    plan = solve_transport(
        features, text, epsilon=0.1, max_iterations=100, tolerance=1e-3, token_mask=mask
    ).plan
    assert (plan[:, :, 2:] == 0).all()


def test_gradient_is_that_of_the_cost_with_the_plan_held():
    features, text = (x.double().requires_grad_() for x in random_points(5))
    transport_loss(features, text).backward()
    plan = sinkhorn(transport_cost(features, text).detach(), epsilon=0.1).plan
    copies = [x.detach().clone().requires_grad_() for x in (features, text)]
    (plan * transport_cost(*copies)).sum((1, 2)).mean().backward()
    for x, copy in zip((features, text), copies, strict=True):
        assert torch.allclose(x.grad, copy.grad, atol=1e-12)
        assert x.grad.abs().sum() > 0


def test_gradient_of_the_cost_passes_finite_differences():
    features, text = (x.double().requires_grad_() for x in random_points(6))
    plan = sinkhorn(transport_cost(features, text).detach(), epsilon=0.1).plan
    assert torch.autograd.gradcheck(
        lambda f, g: (plan * transport_cost(f, g)).sum(), (features, text)
    )


def test_gradient_none_gives_a_constant():
    features, text = (x.requires_grad_() for x in random_points(7))
    assert not transport_loss(features, text, gradient="none").requires_grad


def test_what_did_not_converge_is_said():
    cost = transport_cost(*random_points(8))
    hurried = sinkhorn(cost, epsilon=1e-3, max_iterations=1, tolerance=1e-7)
    assert not hurried.converged.all()
    assert hurried.iterations == 1


def test_loss_is_in_single_precision_under_autocast():
    features, text = random_points(9, rows=32, columns=16, width=64)
    plain = transport_loss(features, text)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = transport_loss(features, text)
    assert mixed.dtype == torch.float32
    assert float(plain) == float(mixed)


def test_a_channel_of_zeros_is_at_distance_one():
    text = random_points(10)[1]
    cost = transport_cost(torch.zeros(3, 2, 5), text)
    assert torch.allclose(cost, torch.ones(3, 2, 4))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epsilon": 0.0}, "epsilon: expected a number above 0"),
        ({"epsilon": math.nan}, "epsilon: expected a number above 0"),
        ({"tolerance": -1.0}, "tolerance: expected a number above 0"),
        ({"max_iterations": 0}, "max_iterations: expected a whole number"),
        ({"gradient": "half"}, "gradient: expected one of cost, none"),
        ({"token_mask": torch.zeros(3, 4, dtype=torch.bool)}, "token_mask: expected"),
    ],
)
def test_bad_options_are_refused(change: dict, message: str):
    with pytest.raises(InvalidInputError, match=message):
        transport_loss(*random_points(11), **change)


def test_nan_features_are_refused():
    features, text = random_points(12)
    features[0, 0, 0] = math.nan
    with pytest.raises(InvalidInputError, match="cost: expected finite values"):
        transport_loss(features, text)


def test_shapes_that_do_not_fit_are_refused():
    features, text = random_points(13)
    with pytest.raises(InvalidInputError, match=r"features \(B, C, D\)"):
        transport_loss(features, text[:, :, :2])
