"""Gradient methods against captum, closed forms and the completeness of integrated gradients."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
import torch.nn.functional as F
from captum.attr import GuidedBackprop, IntegratedGradients
from torch import nn

from lico_bench.errors import InvalidInputError
from lico_bench.models import build_classifier
from lico_bench.runtime import make_generator
from lico_bench.saliency import SALIENCY, MapCostInputs, explain

RTOL_ORACLE = 1e-4  # float32 gradients of some 10 layers, other batch sizes
ATOL_ORACLE = 1e-6
METHODS = ("gradient", "smooth_grad", "integrated_gradients", "guided_backprop")


class Quadratic(nn.Module):
    """Logit k is Σ a_k x², whose gradient 2 a_k x is linear along any path."""

    def __init__(self):
        super().__init__()
        rng = torch.Generator().manual_seed(1)
        self.register_buffer("factors", torch.randn(2, 3, 8, 8, generator=rng))

    def forward(self, images):
        return torch.einsum("nchw,kchw->nk", images.square(), self.factors)


class Logits(nn.Module):
    """captum wants a model that returns a tensor."""

    def __init__(self, classifier):
        super().__init__()
        self.classifier = classifier

    def forward(self, images):
        return self.classifier(images).logits


def build(backbone: str):
    return build_classifier(
        backbone, num_classes=4, mean=(0.4, 0.5, 0.6), std=(0.25,) * 3, seed=0
    ).eval()


def pictures(number: int, side: int):
    return torch.rand(number, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def quadratic():
    return Quadratic(), pictures(2, 8), torch.tensor([1, 0])


def test_the_gradient_of_a_quadratic_is_its_closed_form(quadratic):
    model, images, targets = quadratic
    exact = 2 * model.factors[targets] * images
    for reduce, expected in {
        "max_abs": exact.abs().amax(1),
        "sum_abs": exact.abs().sum(1),
        "sum": exact.sum(1),
    }.items():
        made = explain(model, images, targets, method="gradient", reduce=reduce)
        torch.testing.assert_close(made, expected)


def test_the_gradient_equals_finite_differences():
    classifier = build("wrn_10_1").double()
    images, targets = pictures(1, 16).double(), torch.tensor([2])
    made = explain(classifier, images, targets, method="gradient", reduce="sum")
    step = 1e-6
    for row, column in ((0, 0), (7, 9), (15, 3)):
        either = images.repeat(2, 1, 1, 1)
        either[0, :, row, column] += step
        either[1, :, row, column] -= step
        with torch.no_grad():
            up, down = classifier(either).logits[:, 2]
        slope = float(up - down) / (2 * step)
        assert float(made[0, row, column]) == pytest.approx(slope, rel=1e-3, abs=1e-6)


def test_smooth_grad_without_noise_is_the_gradient(quadratic):
    plain = explain(*quadratic, method="gradient", reduce="sum_abs")
    smooth = explain(*quadratic, method="smooth_grad", noise=0.0, samples=3)
    torch.testing.assert_close(smooth, plain)


def test_smooth_grad_is_the_mean_over_its_noisy_copies(quadratic):
    model, images, targets = quadratic
    made = explain(*quadratic, method="smooth_grad", samples=40, noise=0.2, seed=5, reduce="sum")
    slow = torch.zeros_like(images)
    for sample in range(40):
        pattern = torch.randn(3, 8, 8, generator=make_generator(5, f"smooth_grad:{sample}"))
        for i, image in enumerate(images):
            noisy = image + 0.2 * (image.max() - image.min()) * pattern
            slow[i] += 2 * model.factors[targets[i]] * noisy / 40
    torch.testing.assert_close(made, slow.sum(1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("backbone", ["wrn_10_1", "resnet18"])
def test_integrated_gradients_equal_captum(backbone: str):
    classifier, images, targets = build(backbone), pictures(3, 32), torch.tensor([0, 3, 1])
    made = explain(classifier, images, targets, method="integrated_gradients", steps=8)
    theirs = IntegratedGradients(Logits(classifier)).attribute(
        images, classifier.mean.expand_as(images), targets, n_steps=8, method="riemann_middle"
    )
    torch.testing.assert_close(made, theirs.sum(1), atol=ATOL_ORACLE, rtol=RTOL_ORACLE)


def test_integrated_gradients_of_a_quadratic_are_exact(quadratic):
    model, images, targets = quadratic
    made = explain(*quadratic, method="integrated_gradients", steps=1, fill=0.3)
    exact = model.factors[targets] * (images.square() - 0.3**2)
    torch.testing.assert_close(made, exact.sum(1), atol=1e-5, rtol=1e-5)


def test_integrated_gradients_add_up_to_the_change_of_the_logit():
    classifier, images, targets = build("wrn_10_1"), pictures(2, 16), torch.tensor([0, 3])
    with torch.no_grad():
        ends = [classifier(x).logits for x in (images, torch.full_like(images, 0.2))]
    change = (ends[0] - ends[1]).gather(1, targets[:, None])[:, 0]
    gaps = []
    for steps in (4, 256):
        made = explain(
            classifier, images, targets, method="integrated_gradients", steps=steps, fill=0.2
        )
        gaps.append((made.sum((1, 2)) - change).abs().max() / change.abs().max())
    assert gaps[1] < 0.01  # ReLU kinks on the path: the error falls with the steps
    assert gaps[1] < gaps[0]


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_guided_backprop_equals_captum(backbone: str):
    # torchvision's ReLU modules work in place and are used several times.
    classifier, images, targets = build(backbone), pictures(2, 32), torch.tensor([0, 3])
    made = explain(classifier, images, targets, method="guided_backprop")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # captum announces its hooks
        theirs = GuidedBackprop(Logits(copy.deepcopy(classifier))).attribute(images, targets)
    torch.testing.assert_close(made, theirs.abs().amax(1), atol=ATOL_ORACLE, rtol=RTOL_ORACLE)


@pytest.mark.parametrize("relu", [F.relu, torch.relu, F.relu_, lambda x: x.relu_(), nn.ReLU()])
def test_guided_backprop_finds_a_relu_however_it_is_called(relu):
    class TwoLayers(nn.Module):
        def forward(self, images):
            inner = relu(3 * images.mean((2, 3)) - 0.5)  # (N, 3)
            return torch.stack([relu(inner[:, 0] - inner[:, 1] + 1), inner[:, 2]], 1)

    images = torch.full((1, 3, 2, 2), 0.5)
    made = explain(TwoLayers(), images, torch.tensor([0]), method="guided_backprop", reduce="sum")
    plain = explain(TwoLayers(), images, torch.tensor([0]), method="gradient", reduce="sum")
    assert torch.allclose(plain, torch.zeros(()))  # red and green cancel
    torch.testing.assert_close(made, torch.full((1, 2, 2), 3 / 4))  # green's -3/4 is left out


def test_guided_backprop_through_a_wide_resnet_differs_from_the_gradient_and_changes_nothing():
    classifier, images, targets = build("wrn_10_1"), pictures(2, 16), torch.tensor([0, 3])
    before = explain(classifier, images, targets, method="gradient")
    guided = explain(classifier, images, targets, method="guided_backprop")
    after = explain(classifier, images, targets, method="gradient")
    assert torch.equal(before, after)
    assert not torch.allclose(before, guided, rtol=0.1)


def test_guided_backprop_without_a_relu_is_refused(quadratic):
    with pytest.raises(InvalidInputError, match="expected a model with ReLU"):
        explain(*quadratic, method="guided_backprop")


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_is_its_images_one_by_one(method: str):
    # 20 images and 9 states do not divide a micro-batch of 64.
    classifier, images = build("wrn_10_1"), pictures(20, 16)
    targets = torch.arange(20) % 4
    options = {"smooth_grad": {"samples": 9}, "integrated_gradients": {"steps": 9}}.get(method, {})
    whole = explain(classifier, images, targets, method=method, **options)
    for i in (0, 7, 19):
        alone = explain(classifier, images[i : i + 1], targets[i : i + 1], method=method, **options)
        torch.testing.assert_close(alone[0], whole[i], atol=ATOL_ORACLE, rtol=RTOL_ORACLE)


def test_a_micro_batch_that_does_not_fit_is_halved(quadratic):
    class Narrow(Quadratic):
        def forward(self, images):
            if len(images) > 8:
                raise MemoryError
            return super().forward(images)

    _, images, targets = quadratic
    roomy, narrow = (
        explain(model, images, targets, method="smooth_grad", samples=11)
        for model in (Quadratic(), Narrow())
    )
    torch.testing.assert_close(narrow, roomy, atol=ATOL_ORACLE, rtol=RTOL_ORACLE)


@pytest.mark.parametrize(
    ("method", "options", "passes"),
    [
        ("gradient", {}, 1),
        ("smooth_grad", {"samples": 7}, 7),
        ("integrated_gradients", {"steps": 6}, 6),
    ],
)
def test_as_many_images_are_asked_as_the_method_declares(
    quadratic, method: str, options: dict, passes: int
):
    shown = []
    model, images, targets = quadratic
    handle = model.register_forward_pre_hook(lambda _module, given: shown.append(len(given[0])))
    explain(model, images, targets, method=method, **options)
    handle.remove()
    assert sum(shown) == 2 * passes
    cost_inputs = MapCostInputs(channels=1, image_size=(8, 8))
    assert SALIENCY[method].cost(cost_inputs, **options) == 3 * passes


@pytest.mark.parametrize("method", METHODS)
def test_the_model_is_left_as_it_was_after_an_error(method: str):
    classifier = build("wrn_10_1").train()
    with pytest.raises(InvalidInputError, match=r"expected classes in \[0, 4\), got 4"):
        explain(classifier, pictures(1, 16), torch.tensor([4]), method=method)
    assert all(module.training for module in classifier.modules())
    assert all(p.requires_grad and p.grad is None for p in classifier.parameters())


def test_a_model_that_detaches_is_refused(quadratic):
    class Detached(nn.Module):
        def forward(self, images):
            return images.detach().mean((2, 3))

    _, images, targets = quadratic
    with pytest.raises(InvalidInputError, match="expected logits with a gradient"):
        explain(Detached(), images, targets, method="gradient")


@pytest.mark.parametrize(
    ("method", "options", "sentence"),
    [
        ("gradient", {"reduce": "mean"}, "reduce: expected one of max_abs"),
        ("smooth_grad", {"samples": 0}, "samples: expected a whole number"),
        ("smooth_grad", {"noise": -0.1}, "noise: expected a number of at least 0"),
        ("integrated_gradients", {"steps": 0}, "steps: expected a whole number"),
        ("integrated_gradients", {"fill": -1.0}, "fill: expected 'mean' or a grey level"),
    ],
)
def test_an_option_out_of_range_is_refused(quadratic, method: str, options: dict, sentence: str):
    with pytest.raises(InvalidInputError, match=sentence):
        explain(*quadratic, method=method, **options)
