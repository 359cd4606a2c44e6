"""Randomised networks and other classes; similarities against SciPy and scikit-image."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from skimage.metrics import structural_similarity as library_ssim
from torch import nn

from lico_bench.errors import InvalidInputError
from lico_bench.metrics import METRICS
from lico_bench.metrics.randomisation import (
    cascade,
    random_logit,
    randomisation_stages,
    randomised,
    rank_correlation,
    sanity_check,
    similarity_of,
    structural_similarity,
)
from lico_bench.models import build_classifier
from lico_bench.saliency import explain
from lico_bench.stats.sanity import sanity_verdict
from tests.metrics.explained_case import (
    NUM_IMAGES,
    colour_images,
    in_batches,
    inputs_of,
    trained_net,
)

ATOL_BATCH = 1e-4  # a batch of one may take another kernel, which moves a rank or two
ATOL_FP32 = 1e-5
SEEDS = 8  # draws of the random weights, to judge the method and not one draw


def test_the_small_network_is_trained():
    images, labels, _ = colour_images(50, seed=9)
    assert (trained_net()(images).argmax(1) == labels).float().mean() > 0.9


def test_grad_cam_of_a_trained_network_passes():
    cascades = []
    for seed in range(SEEDS):
        result = METRICS["sanity_check"].apply(inputs_of(seed=seed))
        (curve,) = result.curves
        assert curve.name == "cascade"
        assert torch.equal(result.values, curve.values[:, -1].abs())
        assert curve.fractions.tolist() == [0, 0.25, 0.5, 0.75, 1]
        cascades.append(curve.values)
    assert sanity_verdict(torch.cat(cascades).numpy()).outcome == "pass"


@pytest.mark.parametrize("method", ["edge_map", "center_map", "random_map"])
def test_a_control_fails_with_one_at_every_stage(method: str):
    inputs = inputs_of(method)
    assert torch.allclose(sanity_check(inputs), torch.ones(NUM_IMAGES), atol=ATOL_FP32)
    _, values = cascade(inputs)
    assert torch.allclose(values, torch.ones_like(values), atol=ATOL_FP32)
    assert sanity_verdict(values.numpy()).outcome == "fail"


def test_the_cascade_starts_with_the_trained_network():
    names, values = cascade(inputs_of())
    assert names == ("trained", "head", "conv2", "norm", "conv1")
    assert values.shape == (NUM_IMAGES, 5)
    assert (values[:, 0] == 1).all()


class FixedStartConv(nn.Conv2d):
    """A layer that starts from numbers of its own, whatever generator is seeded."""

    def reset_parameters(self) -> None:
        rng = torch.Generator().manual_seed(self.in_channels)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=rng) / 4)


def test_quantus_mprt_walks_the_same_cascade():
    import quantus

    network = nn.Sequential(
        FixedStartConv(3, 6, 3, padding=1), nn.ReLU(),
        FixedStartConv(6, 8, 3, padding=1), nn.ReLU(),
        FixedStartConv(8, 4, 16), nn.Flatten(),
    ).eval()  # fmt: skip
    with torch.no_grad():
        for number, parameter in enumerate(network.parameters()):
            parameter.copy_(
                torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
            )

    def explainer(model, images, targets):
        return explain(model, images, targets, method="grad_cam", layer="2")

    inputs = inputs_of()
    maps = explainer(network, inputs.images, inputs.targets)
    inputs = replace(inputs, network=network, explainer=explainer, maps=maps)
    _, values = cascade(inputs)
    with torch.random.fork_rng(devices=[]):
        theirs = quantus.MPRT(
            layer_order="top_down", normalise=False, abs=False, disable_warnings=True
        )(
            model=network, x_batch=inputs.images.numpy(), y_batch=inputs.targets.numpy(),
            a_batch=inputs.maps[:, None].numpy(), channel_first=True,
            explain_func=lambda model, inputs, targets: explainer(
                model, torch.from_numpy(inputs), torch.from_numpy(targets)
            )[:, None].numpy(),
        )  # fmt: skip
    assert list(theirs) == ["original", "4", "2", "0"]
    np.testing.assert_allclose(values.T, np.array(list(theirs.values())), atol=1e-4)


def test_the_network_and_the_global_generators_are_left_alone():
    network = trained_net()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.random.get_rng_state()
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002 - the global state is watched
    network.train()
    try:
        sanity_check(inputs_of())
        assert all(module.training for module in network.modules())
    finally:
        network.eval()
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in network.parameters())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002


def test_the_same_seed_draws_the_same_network_and_another_one_another():
    first, again, other = (sanity_check(inputs_of(seed=seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("size", [1, 3])
def test_scores_do_not_depend_on_the_batch(size: int):
    whole = in_batches(sanity_check, NUM_IMAGES)
    assert torch.allclose(in_batches(sanity_check, size), whole, atol=ATOL_BATCH)


def test_each_stage_changes_its_modules_and_keeps_those_below():
    network = trained_net()
    trained = {name: value.clone() for name, value in network.state_dict().items()}
    redrawn: set[str] = set()
    stages = randomisation_stages(network, 8)
    for name, copy in randomised(network, stages=8, seed=0):
        redrawn.update(stages[name])
        for key, value in copy.state_dict().items():
            is_below = key.rpartition(".")[0] not in redrawn
            assert torch.equal(value, trained[key]) == is_below
    assert redrawn == {"head", "conv2", "norm", "conv1"}


def test_a_module_that_does_not_say_how_it_starts_keeps_its_spread():
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(3 + torch.arange(1000.0) / 1000)

        def forward(self, x):
            return x * self.weight

    network = nn.Sequential(Scale())
    ((_, copy),) = randomised(network, stages=8, seed=0)
    drawn, trained = copy[0].weight.detach(), network[0].weight.detach()
    assert not torch.equal(drawn, trained)
    assert float(drawn.mean()) == pytest.approx(3.5, abs=0.05)
    assert float(drawn.std()) == pytest.approx(float(trained.std()), rel=0.1)


@pytest.mark.parametrize("backbone", ["wrn_10_1", "wrn_28_2", "resnet18"])
@pytest.mark.parametrize("stages", [1, 3, 8])
def test_stages_hold_every_module_once_from_the_output_back(backbone: str, stages: int):
    network = build_classifier(backbone, num_classes=4, mean=(0.5,) * 3, std=(0.25,) * 3, seed=0)
    found = randomisation_stages(network, stages)
    assert len(found) <= stages
    owners = [n for n, m in network.named_modules() if list(m.parameters(recurse=False))]
    members = [member for stage in found.values() for member in stage]
    assert members == owners[::-1]
    if stages > 1:
        assert next(iter(found.values())) == ("head",)
    if backbone == "wrn_10_1" and stages == 8:
        assert list(found) == [
            "head", "features.4", "features.3", "features.2", "features.1", "features.0",
        ]  # fmt: skip


def test_a_network_in_a_wrapper_has_the_same_stages():
    class Wrapper(nn.Module):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Linear(4, 2))
    plain, wrapped = (randomisation_stages(n, 8) for n in (network, Wrapper(network)))
    assert list(wrapped) == [f"network.{name}" for name in plain]


def test_nothing_to_randomise_is_refused():
    inputs = replace(inputs_of("edge_map"), network=nn.Identity())
    with pytest.raises(InvalidInputError, match="parameters to randomise"):
        sanity_check(inputs)
    with pytest.raises(InvalidInputError, match="expected the explained network"):
        sanity_check(replace(inputs, network=None))
    with pytest.raises(InvalidInputError, match="stages"):
        sanity_check(inputs_of(), stages=0)


def pairs(seed: int, *, count: int = 6, ties: bool = False):
    rng = torch.Generator().manual_seed(seed)
    first, noise = torch.randn(2, count, 20, 25, generator=rng)
    share = torch.linspace(0, 1, count)[:, None, None]
    second = share * first + (1 - share) * noise
    return ((first * 2).round(), second.relu()) if ties else (first, second)


@pytest.mark.parametrize("ties", [False, True])
def test_rank_correlation_equals_scipys(ties: bool):
    first, second = pairs(0, ties=ties)
    ours = rank_correlation(first, second)
    for row in range(len(first)):
        theirs = stats.spearmanr(first[row].flatten(), second[row].flatten()).statistic
        assert float(ours[row]) == pytest.approx(theirs, abs=ATOL_FP32)


def test_structural_similarity_equals_scikit_images():
    first, second = pairs(1)
    ours = structural_similarity(first, second)
    for row in range(len(first)):
        a, b = (
            ((m - m.min()) / (m.max() - m.min())).double().numpy()
            for m in (first[row], second[row])
        )
        theirs = library_ssim(a, b, win_size=7, data_range=1.0)
        assert float(ours[row]) == pytest.approx(theirs, abs=ATOL_FP32)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.sampled_from([1e-6, 0.3, 40.0]))
def test_similarities_are_symmetric_and_forget_the_scale(seed: int, scale: float):
    first, second = pairs(seed, count=2)
    for kind in ("spearman", "ssim"):
        value = similarity_of(first, second, kind)
        assert torch.allclose(value, similarity_of(second, first, kind), atol=ATOL_FP32)
        assert torch.allclose(value, similarity_of(first * scale, second, kind), atol=ATOL_FP32)
        assert (value.abs() <= 1).all()


def test_a_map_equals_itself_and_opposes_its_negative():
    first, _ = pairs(2)
    for kind in ("spearman", "ssim"):
        assert torch.allclose(similarity_of(first, first, kind), torch.ones(6), atol=ATOL_FP32)
    assert torch.allclose(rank_correlation(first, -first), -torch.ones(6), atol=ATOL_FP32)


def test_two_flat_maps_are_alike_and_one_flat_map_is_like_nothing():
    flat, other = torch.full((1, 8, 8), 3.0), torch.rand(1, 8, 8)
    assert rank_correlation(flat, torch.zeros(1, 8, 8)).tolist() == [1]
    assert rank_correlation(flat, other).tolist() == [0]
    assert rank_correlation(other, flat).tolist() == [0]
    assert structural_similarity(flat, torch.zeros(1, 8, 8)).tolist() == [1]
    assert structural_similarity(flat, other).abs() < 0.1


def test_maps_smaller_than_the_window_are_compared():
    first, second = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(3))
    ours = structural_similarity(first, second)
    assert ours.shape == (3,)
    assert np.isfinite(ours.numpy()).all()


def test_an_unknown_similarity_is_refused():
    with pytest.raises(InvalidInputError, match="expected one of spearman, ssim"):
        similarity_of(torch.zeros(1, 8, 8), torch.zeros(1, 8, 8), "cosine")


def test_a_method_that_does_not_look_at_the_class_has_one():
    for method in ("edge_map", "center_map", "random_map"):
        for kind in ("ssim", "spearman"):
            value = random_logit(inputs_of(method), similarity=kind)
            assert torch.allclose(value, torch.ones(NUM_IMAGES), atol=ATOL_FP32)


def test_maps_of_a_trained_network_change_with_the_class():
    assert random_logit(inputs_of()).mean() < 0.5


def test_the_score_is_the_similarity_to_the_map_of_the_class_asked_for():
    inputs = inputs_of()
    requested = []
    inner = inputs.explainer
    inputs = replace(inputs, explainer=lambda m, x, y: (requested.append(y), inner(m, x, y))[1])
    found = random_logit(inputs, similarity="spearman")
    (others,) = requested
    assert (others != inputs.targets).all()
    maps = inner(inputs.network, inputs.images, others)
    for row in range(NUM_IMAGES):
        pair = (inputs.maps[row].flatten(), maps[row].flatten())
        assert float(found[row]) == pytest.approx(stats.spearmanr(*pair).statistic, abs=ATOL_FP32)


def test_every_other_class_is_drawn_about_equally_often():
    counts: Counter[int] = Counter()
    for seed in range(60):
        inputs = inputs_of("center_map", seed=seed)
        inputs = replace(
            inputs,
            targets=torch.ones_like(inputs.targets),
            explainer=lambda _m, x, y: (counts.update(y.tolist()), torch.rand(x[:, 0].shape))[1],
        )
        random_logit(inputs)
    assert set(counts) == {0, 2}
    assert abs(counts[0] / counts.total() - 0.5) < 0.1  # four standard errors of 420 draws


@pytest.mark.parametrize("size", [1, 3])
def test_random_logits_do_not_depend_on_the_batch(size: int):
    whole = in_batches(random_logit, NUM_IMAGES)
    assert torch.allclose(in_batches(random_logit, size), whole, atol=ATOL_BATCH)


def test_the_global_generators_are_left_alone():
    state = torch.random.get_rng_state()
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002 - the global state is watched
    random_logit(inputs_of())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002
