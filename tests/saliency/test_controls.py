"""Controls: maps that ignore the model."""

from __future__ import annotations

import torch

from lico_bench.saliency import explain


def test_the_random_control_is_another_for_another_image(case):
    maps = explain(*case, method="random_map")
    assert not torch.equal(maps[0], maps[1])
    assert abs(float(maps.mean()) - 0.5) < 0.02


def test_the_centre_control_peaks_in_the_middle(case):
    maps = explain(*case, method="center_map")
    assert maps[0].argmax() in (15 * 32 + 15, 15 * 32 + 16, 16 * 32 + 15, 16 * 32 + 16)


def test_the_edge_control_finds_an_edge():
    images = torch.zeros(1, 3, 32, 32)
    images[:, :, :, 16:] = 1
    maps = explain(torch.nn.Identity(), images, torch.tensor([0]), method="edge_map")
    assert maps[0].amax(0).nonzero().flatten().tolist() == [15, 16]
