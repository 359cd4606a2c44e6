"""Sizes of the residual networks."""

from __future__ import annotations

import pytest

from tests.models.small_classifier import build


def test_wide_resnet_28_2_has_the_published_size():
    parameters = sum(p.numel() for p in build("wrn_28_2").parameters())
    assert parameters == pytest.approx(1.47e6, rel=0.01)  # 1.5 M in the literature, 10 classes
