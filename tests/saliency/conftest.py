"""pytorch-grad-cam as an oracle: its maps, and ours brought to its scale."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

from lico_bench.models import build_classifier

# The library rescales each map to [0, 1] twice in float32 and resizes with OpenCV.
ATOL_LIBRARY = 1e-4


class Logits(nn.Module):
    """pytorch-grad-cam wants a model that returns a tensor."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, images):
        return self.classifier(images).logits


class Library:
    """Maps of pytorch-grad-cam, and the comparison with ours."""

    def maps(self, cam_class, classifier, images, targets, *, layer: str) -> np.ndarray:
        module = dict(classifier.named_modules())[layer]
        with cam_class(Logits(classifier), [module]) as cam:
            return cam(images, [ClassifierOutputTarget(int(t)) for t in targets])

    def assert_equal(self, ours: torch.Tensor, theirs: np.ndarray) -> None:
        maps = ours.numpy()
        low, high = maps.min((1, 2), keepdims=True), maps.max((1, 2), keepdims=True)
        is_flat = (low == high)[:, 0, 0]
        assert is_flat.mean() <= 0.5  # a flat map compares nothing
        scaled = (maps[~is_flat] - low[~is_flat]) / (high - low)[~is_flat]
        np.testing.assert_allclose(scaled, theirs[~is_flat], atol=ATOL_LIBRARY)


@pytest.fixture(scope="session")
def library() -> Library:
    return Library()


@pytest.fixture
def build():
    def build_one(backbone: str, num_classes: int = 4) -> nn.Module:
        return build_classifier(
            backbone, num_classes=num_classes, mean=(0.5,) * 3, std=(0.25,) * 3, seed=0
        ).eval()

    return build_one


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(12, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def case():
    classifier = build_classifier(
        "wrn_10_1", num_classes=4, mean=(0.5,) * 3, std=(0.25,) * 3, seed=0
    ).train()
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return classifier, images, torch.tensor([0, 1, 2, 3])
