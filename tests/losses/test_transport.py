"""The transport solver and loss against exact, slow and closed-form answers."""

from __future__ import annotations

import inspect
import math

import numpy as np
import ot
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from lico_bench.errors import InvalidInputError
from lico_bench.losses import sinkhorn, solve_transport, transport, transport_cost, transport_loss
from lico_bench.losses.transport import as_single_precision, unit_rows

ATOL_FP32 = 1e-5  # sums of a few thousand float32 terms below 4
CONVERGED = {"max_iterations": 5000, "tolerance": 1e-9}
COSTS = [
    {},
    {"normalise": False},
    {"kind": "cosine"},
    {"kind": "cosine", "normalise": False},
]
MASK = torch.tensor([[True, False, True, True], [True, True, False, False], [True] * 4])


def random_points(seed: int, batch: int = 3, rows: int = 6, columns: int = 4, width: int = 5):
    rng = torch.Generator().manual_seed(seed)
    return (
        torch.randn(batch, rows, width, generator=rng),
        torch.randn(batch, columns, width, generator=rng),
    )


def slow_cost(f, g, *, normalise=True, kind="squared"):
    """C_nm = ‖f_n/‖f_n‖ - g_m/‖g_m‖‖², one pair at a time, in float64."""
    f, g = f.double().numpy(), g.double().numpy()
    if kind == "cosine":
        return [[1 - x @ y / math.sqrt((x @ x) * (y @ y)) for y in g] for x in f]
    if normalise:
        f, g = ([row / math.sqrt(row @ row) for row in side] for side in (f, g))
    return [[(x - y) @ (x - y) for y in g] for x in f]


def slow_loss(features, text, epsilon, mask=None, **options):
    """L_OT = mean_i ⟨P_i, C_i⟩ with P = argmin ⟨P, C⟩ - ε H(P), by scaling rows and columns."""
    costs = []
    for i, (f, g) in enumerate(zip(features, text, strict=True)):
        cost = np.array(slow_cost(f, g if mask is None else g[mask[i]], **options))
        kernel, v = np.exp(-cost / epsilon), np.ones(cost.shape[1])
        for _ in range(5000):
            u = 1 / len(cost) / (kernel @ v)
            v = 1 / len(v) / (kernel.T @ u)
        costs.append((u[:, None] * kernel * v * cost).sum())
    return sum(costs) / len(costs)


@pytest.mark.parametrize("options", COSTS, ids=str)
def test_cost_equals_the_definition(options):
    features, text = random_points(0)
    cost = transport_cost(features, text, **options)
    assert cost.dtype == torch.float32
    for b in range(3):
        expected = torch.tensor(slow_cost(features[b], text[b], **options))
        assert torch.allclose(cost[b].double(), expected, atol=ATOL_FP32)


@pytest.mark.parametrize("options", COSTS, ids=str)
@pytest.mark.parametrize("mask", [None, MASK], ids=["all", "masked"])
def test_loss_equals_the_definition(options, mask):
    features, text = random_points(20)
    expected = slow_loss(features, text, 0.3, mask, **options)
    loss = transport_loss(features, text, epsilon=0.3, token_mask=mask, **CONVERGED, **options)
    assert float(loss) == pytest.approx(expected, abs=ATOL_FP32)


def test_the_docstrings_tell_what_the_slow_loops_compute():
    message = {
        transport_cost: [
            "C_nm = ‖f_n/‖f_n‖ - g_m/‖g_m‖‖²",
            "C_nm = ‖f_n - g_m‖²",
            "C_nm = 1 - f_n·g_m / (‖f_n‖ ‖g_m‖)",
        ],
        sinkhorn: ["P = argmin ⟨P, C⟩ - ε H(P)", "H(P) = -Σ_nm P_nm log P_nm"],
        transport_loss: ["L_OT = mean_i ⟨P_i, C_i⟩"],
    }
    for function, formulas in message.items():
        text = " ".join(inspect.getdoc(function).split())
        assert [f for f in formulas if f not in text] == []
    assert message[transport_cost][0] in slow_cost.__doc__
    assert message[sinkhorn][0] in slow_loss.__doc__
    assert message[transport_loss][0] in slow_loss.__doc__


def test_the_plan_is_the_minimum_of_the_regularised_problem():
    """Against plans with the same marginals: H and its sign stand in the formula."""
    cost = transport_cost(*random_points(21, batch=1)).double()
    plan = sinkhorn(cost, epsilon=0.2, **CONVERGED).plan[0]

    def objective(p: torch.Tensor) -> float:
        return float((p * cost[0]).sum() - 0.2 * torch.special.entr(p).sum())

    rng = torch.Generator().manual_seed(0)
    for _ in range(20):
        push = torch.randn(6, 4, generator=rng, dtype=torch.float64)
        push -= push.mean(0, keepdim=True)
        push -= push.mean(1, keepdim=True)
        push *= 0.1 * float(plan.min()) / float(push.abs().max())
        assert objective(plan + push) > objective(plan)


@pytest.mark.parametrize(("seed", "mass"), [(1, [0.25] * 4), (4, [0.35, 0, 0.4, 0.25])])
def test_small_epsilon_reaches_the_exact_solution(seed, mass):
    cost = transport_cost(*random_points(seed)).double()
    columns = torch.tensor(mass, dtype=torch.float64)
    exact = [ot.emd2(np.full(6, 1 / 6), columns.numpy(), c.numpy()) for c in cost]
    excess = [
        sinkhorn(
            cost, epsilon=epsilon, max_iterations=20_000, tolerance=1e-9,
            column_mass=columns.expand(3, 4),
        ).cost.numpy() - exact
        for epsilon in (0.1, 1e-3)
    ]  # fmt: skip
    # Entropy costs something, at most epsilon log(6 * 4), and less with less of it.
    assert (excess[0] > 1e-3).all()
    assert (excess[0] < 0.1 * math.log(24)).all()
    np.testing.assert_allclose(excess[1], 0, atol=1e-5)


def test_plan_agrees_with_pots_single_solver():
    cost = transport_cost(*random_points(2))
    solved = sinkhorn(cost, epsilon=0.1, **CONVERGED)
    for b in range(3):
        single = ot.sinkhorn(np.full(6, 1 / 6), np.full(4, 1 / 4), cost[b].numpy(), 0.1)
        np.testing.assert_allclose(solved.plan[b].numpy(), single, atol=ATOL_FP32)


@pytest.mark.parametrize("spread", [0.01, 1.0, 10.0, 39.0])
@pytest.mark.parametrize("iterations", [1, 2, 100])
@pytest.mark.parametrize("is_masked", [False, True])
def test_scaling_the_kernel_takes_the_iterations_of_the_log_domain(spread, iterations, is_masked):
    generator = torch.Generator().manual_seed(3)
    cost = torch.rand(5, 64, 17, generator=generator)
    cost = (cost - cost.amin()) / (cost.amax() - cost.amin()) * spread * 0.1
    mass = torch.ones(5, 17)
    if is_masked:
        mass[:, 11:] = 0
    mass = mass / mass.sum(1, keepdim=True)
    rows = torch.full((5, 64), 1 / 64)
    options = transport._SolverOptions(0.1, iterations, 1e-3)
    plan, done = transport._scale_kernel(cost, rows, mass, options)
    expected, expected_done = transport._solve_in_log_domain(
        cost, rows, mass, options, differentiates=False
    )
    assert done == expected_done
    assert plan.isfinite().all()
    # exp(-39) of a cost that is known to 1e-7 leaves 1e-5 of a plan's entry.
    torch.testing.assert_close(plan, expected, rtol=3e-5, atol=1e-9)
    assert not is_masked or float(plan[:, :, 11:].abs().max()) == 0


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(1, 9),
    columns=st.integers(1, 9),
    is_uniform=st.booleans(),
)
def test_marginals_of_a_converged_plan_are_those_asked_for(seed, rows, columns, is_uniform):
    cost = transport_cost(*random_points(seed, rows=rows, columns=columns)).double()
    rng = torch.Generator().manual_seed(seed)
    mass = torch.rand(3, columns, generator=rng, dtype=torch.float64)
    mass[0, : columns // 2] = 0
    mass = torch.full_like(mass, 1 / columns) if is_uniform else mass / mass.sum(1, keepdim=True)
    solved = sinkhorn(
        cost, epsilon=0.5, max_iterations=5000, tolerance=1e-6,
        column_mass=None if is_uniform else mass,
    )  # fmt: skip
    assert solved.converged.all()
    uniform = torch.full((3, rows), 1 / rows, dtype=torch.float64)
    assert torch.allclose(solved.plan.sum(2), uniform, atol=1e-5)
    assert torch.allclose(solved.plan.sum(1), mass, atol=1e-5)


@pytest.mark.parametrize("options", COSTS, ids=str)
def test_loss_does_not_depend_on_the_order_of_channels_tokens_or_samples(options):
    features, text = random_points(3)
    options = {"token_mask": MASK, **options}
    loss = transport_loss(features, text, **options)
    channels, tokens, samples = [3, 1, 0, 5, 4, 2], [2, 0, 3, 1], [1, 2, 0]
    moved = {**options, "token_mask": MASK[samples][:, tokens]}
    shuffled = transport_loss(features[samples][:, channels], text[samples][:, tokens], **moved)
    assert float(loss) == pytest.approx(float(shuffled), abs=ATOL_FP32)
    settings_of = {"epsilon": 0.1, "max_iterations": 100, "tolerance": 1e-3}
    plan = solve_transport(features, text, **settings_of, **options).plan
    other = solve_transport(features[samples], text[samples][:, tokens], **settings_of, **moved)
    assert torch.allclose(other.plan, plan[samples][:, :, tokens], atol=ATOL_FP32)


def test_masked_tokens_change_nothing():
    features, text = random_points(4)
    mask = torch.tensor([[True, True, False, False]]).expand(3, 4)
    for epsilon, iterations in ((0.1, 100), (1e-4, 100), (0.1, 1), (1e-4, 1)):
        options = {"epsilon": epsilon, "max_iterations": iterations}
        assert float(transport_loss(features, text, token_mask=mask, **options)) == pytest.approx(
            float(transport_loss(features, text[:, :2], **options)), abs=ATOL_FP32
        )
        plan = solve_transport(features, text, tolerance=1e-3, token_mask=mask, **options).plan
        assert (plan[:, :, 2:] == 0).all()


def tempting_problems(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Costs of 0 and 4, where the columns without mass are the near ones; and the masses."""
    cost = torch.full((4, 5, 4), 4.0, dtype=dtype)
    cost[:, :, 2:] = 0
    cost[1, 0, 0] = cost[1, 3, 1] = 0
    cost[2] = 4 - cost[2]
    cost[3] = 4 * torch.rand(5, 4, generator=torch.Generator().manual_seed(0)).to(dtype)
    mass = torch.tensor([0.5, 0.5, 0, 0], dtype=dtype).expand(4, 4)
    return cost, mass


@pytest.mark.parametrize("gradient", ["cost", "full", "none"])
@pytest.mark.parametrize("iterations", [1, 2, 100])
@pytest.mark.parametrize("epsilon", [1e-4, 1e-6, 0.1, 100.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_mass_reaches_a_massless_column(dtype, epsilon, iterations, gradient):
    cost, mass = tempting_problems(dtype)
    cost.requires_grad_()
    options = {"epsilon": epsilon, "max_iterations": iterations, "gradient": gradient}
    solved = sinkhorn(cost, column_mass=mass, **options)
    assert (solved.plan[:, :, 2:] == 0).all()
    assert solved.plan.isfinite().all()
    without = sinkhorn(cost[:, :, :2], **options)
    assert torch.allclose(solved.plan[:, :, :2], without.plan, atol=ATOL_FP32)
    if gradient == "none":
        return
    (slope,) = torch.autograd.grad(solved.cost.sum(), cost)
    assert slope.isfinite().all()
    assert (slope[:, :, 2:] == 0).all()
    assert slope.abs().sum() > 0


def test_gradient_is_that_of_the_cost_with_the_plan_held():
    features, text = (x.double().requires_grad_() for x in random_points(5))
    transport_loss(features, text).backward()
    plan = sinkhorn(transport_cost(features, text).detach(), epsilon=0.1).plan
    copies = [x.detach().clone().requires_grad_() for x in (features, text)]
    (plan * transport_cost(*copies)).sum((1, 2)).mean().backward()
    for x, copy in zip((features, text), copies, strict=True):
        assert torch.allclose(x.grad, copy.grad, atol=1e-12)
        assert x.grad.abs().sum() > 0


@pytest.mark.parametrize("options", COSTS, ids=str)
def test_gradient_of_the_cost_passes_finite_differences(options):
    features, text = (x.double().requires_grad_() for x in random_points(6))
    plan = sinkhorn(transport_cost(features, text).detach(), epsilon=0.1).plan
    assert torch.autograd.gradcheck(
        lambda f, g: (plan * transport_cost(f, g, **options)).sum(), (features, text)
    )


@pytest.mark.parametrize("options", COSTS, ids=str)
@pytest.mark.parametrize("mask", [None, MASK[:2, :3]], ids=["all", "masked"])
@pytest.mark.parametrize("iterations", [1, 40])
def test_the_full_gradient_passes_finite_differences(iterations, mask, options):
    """Of what was computed, converged or not; the number of iterations is fixed."""
    points = random_points(22, batch=2, rows=4, columns=3, width=3)
    features, text = (x.double().requires_grad_() for x in points)
    assert torch.autograd.gradcheck(
        lambda f, g: transport_loss(
            f, g, epsilon=0.3, max_iterations=iterations, tolerance=1e-300, gradient="full",
            token_mask=mask, **options,
        ),
        (features, text),
    )  # fmt: skip


@pytest.mark.parametrize("mask", [None, MASK[:1, :3]], ids=["all", "masked"])
def test_the_full_gradient_is_that_of_the_converged_cost(mask):
    """Central differences of another solver, dense and in NumPy, run to its end."""
    cost = transport_cost(*random_points(23, batch=1, rows=4, columns=3)).double()
    held = torch.ones(3, dtype=torch.bool) if mask is None else mask[0]

    def converged(c: np.ndarray) -> float:
        mass = np.full(int(held.sum()), 1 / int(held.sum()))
        c = c[:, held.numpy()]
        plan = ot.sinkhorn(np.full(4, 1 / 4), mass, c, 0.2, numItermax=20_000, stopThr=1e-15)
        return float((plan * c).sum())

    step, expected = 1e-5, np.zeros((4, 3))
    for index in np.ndindex(4, 3):
        push = np.zeros((4, 3))
        push[index] = step
        above, below = (converged(cost[0].numpy() + s * push) for s in (1, -1))
        expected[index] = (above - below) / (2 * step)

    cost.requires_grad_()
    solved = sinkhorn(
        cost, epsilon=0.2, max_iterations=2000, tolerance=1e-14, gradient="full",
        column_mass=held[None].double() / held.sum(),
    )  # fmt: skip
    assert solved.converged.all()
    (slope,) = torch.autograd.grad(solved.cost.sum(), cost)
    np.testing.assert_allclose(slope[0].numpy(), expected, atol=1e-7)
    assert (slope[0][:, ~held] == 0).all()
    held_plan = sinkhorn(cost, epsilon=0.2, max_iterations=2000, tolerance=1e-14).cost.sum()
    (other,) = torch.autograd.grad(held_plan, cost)
    assert np.abs(other[0].numpy() - expected).max() > 1e-2  # the two readings differ


def test_a_masked_token_gets_no_gradient():
    for gradient in ("cost", "full"):
        features, text = (x.requires_grad_() for x in random_points(24))
        for epsilon in (0.1, 1e-4):
            loss = transport_loss(
                features, text, epsilon=epsilon, token_mask=MASK, gradient=gradient
            )
            of_features, of_text = torch.autograd.grad(loss, (features, text))
            assert of_features.isfinite().all()
            assert of_text.isfinite().all()
            assert (of_text[~MASK] == 0).all()
            assert (of_text[MASK].abs().sum(1) > 0).all()


def test_the_three_gradients_are_of_one_value():
    features, text = (x.requires_grad_() for x in random_points(7))
    settings_of = {"epsilon": 0.1, "max_iterations": 100, "tolerance": 1e-3}
    cost, full, none = (
        solve_transport(features, text, gradient=gradient, **settings_of)
        for gradient in ("cost", "full", "none")
    )
    assert torch.equal(none.plan, cost.plan)
    # The full gradient is POT's, in the log domain; the others scale the kernel itself.
    torch.testing.assert_close(full.plan, cost.plan, rtol=0, atol=ATOL_FP32)
    torch.testing.assert_close(full.cost, cost.cost, rtol=0, atol=ATOL_FP32)
    for other in (full, none):
        assert torch.equal(other.converged, cost.converged)
        assert other.iterations == cost.iterations
    assert [s.cost.requires_grad for s in (cost, full, none)] == [True, True, False]
    assert [s.plan.requires_grad for s in (cost, full, none)] == [False, True, False]
    assert not transport_loss(features, text, gradient="none").requires_grad
    ground = transport_cost(features, text)
    for gradient, has in (("cost", True), ("full", True), ("none", False)):
        assert sinkhorn(ground, epsilon=0.1, gradient=gradient).cost.requires_grad is has
    with torch.no_grad():
        solved = sinkhorn(ground, epsilon=0.1, gradient="full")
    assert not solved.cost.requires_grad
    assert not solved.plan.requires_grad


def test_what_did_not_converge_is_said():
    cost = transport_cost(*random_points(8))
    hurried = sinkhorn(cost, epsilon=1e-3, max_iterations=1, tolerance=1e-7)
    assert not hurried.converged.any()
    assert hurried.iterations == 1
    # The first problem is over after one iteration: all its columns are alike.
    mixed = sinkhorn(torch.cat([torch.ones_like(cost[:1]), cost]), epsilon=1e-3, max_iterations=1)
    assert mixed.converged.tolist() == [True, False, False, False]
    assert float((~mixed.converged).float().mean()) == 0.75


def test_a_cosine_is_half_the_squared_distance():
    features, text = random_points(25)
    for gradient in ("cost", "full"):
        half = transport_loss(features, text, kind="cosine", epsilon=0.05, gradient=gradient)
        whole = transport_loss(features, text, epsilon=0.1, gradient=gradient)
        assert float(half) == pytest.approx(float(whole) / 2, abs=ATOL_FP32)


@pytest.mark.parametrize("gradient", ["cost", "full", "none"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_autocast_are_computed_in_single(dtype, gradient):
    features, text = (x.to(dtype) for x in random_points(9, rows=32, columns=16, width=64))
    for options in COSTS:
        # Unnormalised distances are far above those that epsilon was made for.
        options = {"gradient": gradient, "epsilon": 10.0, **options}
        plain = transport_loss(features.float(), text.float(), **options)
        assert plain.dtype == torch.float32
        assert torch.equal(transport_loss(features, text, **options), plain)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(transport_loss(features, text, **options), plain)
    cost = transport_cost(features, text).to(dtype)
    solved = sinkhorn(cost, epsilon=0.1, gradient=gradient)
    assert solved.plan.dtype == solved.cost.dtype == torch.float32
    assert torch.equal(solved.plan, sinkhorn(cost.float(), epsilon=0.1, gradient=gradient).plan)


def test_a_channel_of_zeros_is_at_distance_one_and_has_no_gradient():
    text = random_points(10)[1]
    for options in ({}, {"kind": "cosine"}):
        features = torch.zeros(3, 2, 5, requires_grad=True)
        cost = transport_cost(features, text, **options)
        assert torch.allclose(cost, torch.ones(3, 2, 4))
        transport_loss(features, text, **options).backward()
        assert (features.grad == 0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epsilon": 0.0}, "epsilon: expected a number above 0"),
        ({"epsilon": -0.1}, "epsilon: expected a number above 0"),
        ({"epsilon": math.nan}, "epsilon: expected a number above 0"),
        ({"epsilon": 1e-8}, "cost: expected at most .* raise epsilon or normalise the rows"),
        ({"tolerance": -1.0}, "tolerance: expected a number above 0"),
        ({"max_iterations": 0}, "max_iterations: expected a whole number"),
        ({"gradient": "half"}, "gradient: expected one of cost, full, none"),
        ({"kind": "manhattan"}, "kind: expected one of squared, cosine"),
        ({"token_mask": torch.zeros(3, 4).bool()}, "in 3 of 3; leave those samples out"),
        ({"token_mask": MASK & MASK[:, [1]]}, "in 1 of 3; leave those samples out"),
        ({"token_mask": MASK[:, :3]}, r"token_mask: expected \(3, 4\) bool, got \(3, 3\)"),
        ({"token_mask": MASK.float()}, "got .* torch.float32; give one truth value per token"),
    ],
)
def test_bad_options_are_refused(change: dict, message: str):
    with pytest.raises(InvalidInputError, match=message):
        transport_loss(*random_points(11), **change)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_features_that_are_not_finite_are_refused(side, value):
    points = random_points(12)
    points[side][0, 0, 0] = value
    for options in COSTS:
        with pytest.raises(InvalidInputError, match=r"expected finite values.*check the features"):
            transport_loss(*points, **options)


def test_shapes_that_do_not_fit_are_refused():
    features, text = random_points(13)
    for pair in (
        (features, text[:, :, :2]),
        (features, text[:2]),
        (features[0], text[0]),
        (features[0], text),
    ):
        with pytest.raises(InvalidInputError, match=r"features \(B, C, D\).*its own text"):
            transport_loss(*pair)
    for pair in (
        (features[:0], text[:0]),
        (features[:, :0], text),
        (features, text[:, :0]),
        (features[:, :, :0], text[:, :, :0]),
    ):
        with pytest.raises(InvalidInputError, match=r"without an empty axis.*skip empty batches"):
            transport_loss(*pair)


def test_a_batch_of_one_is_a_problem_like_any_other():
    features, text = random_points(14)
    alone = torch.stack(
        [transport_loss(features[[i]], text[[i]], **CONVERGED) for i in range(3)]
    ).mean()
    assert float(alone) == pytest.approx(
        float(transport_loss(features, text, **CONVERGED)), abs=ATOL_FP32
    )


@pytest.mark.parametrize(
    ("cost", "mass", "message"),
    [
        (torch.ones(2, 3), None, r"cost: expected \(B, N, M\).*cost\[None\]"),
        (torch.ones(0, 2, 3), None, "without an empty axis"),
        (torch.full((1, 2, 3), math.inf), None, "expected finite values"),
        (torch.ones(1, 2, 3), torch.ones(1, 2) / 2, r"column_mass: expected \(1, 3\)"),
        (torch.ones(1, 2, 3), torch.ones(1, 3), "off by 2; divide by the sum"),
        (torch.ones(1, 2, 3), torch.tensor([[-0.5, 0.5, 1]]), "a smallest value of -0.5"),
        (torch.ones(1, 2, 3), torch.tensor([[math.nan, 0.5, 0.5]]), "divide by the sum"),
    ],
)
def test_problems_that_cannot_be_solved_are_refused(cost, mass, message):
    with pytest.raises(InvalidInputError, match=message):
        sinkhorn(cost, epsilon=0.1, column_mass=mass)


def test_rows_are_those_of_torch_bit_for_bit():
    rows = torch.randn(5, 4, 7, generator=torch.Generator().manual_seed(0))
    rows[1, 2] = 0
    rows[3, 1] = 1e-20
    assert torch.equal(unit_rows(rows), F.normalize(rows, dim=2))


def test_a_row_of_zeros_has_no_gradient():
    rows = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    rows[1] = 0
    rows.requires_grad_()
    (unit_rows(rows) * torch.arange(12.0).view(3, 4)).sum().backward()
    assert (rows.grad[1] == 0).all()
    assert (rows.grad[[0, 2]] != 0).all()
    assert rows.grad.abs().max() < 100


def test_nan_and_infinity_stay_visible():
    rows = unit_rows(torch.tensor([[float("nan"), 1.0], [float("inf"), 1.0]]))
    assert rows.isnan().any(1).all()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_half_precision_is_raised_and_double_stays(given, expected):
    assert as_single_precision(torch.ones(2, 2, dtype=given)).dtype == expected
