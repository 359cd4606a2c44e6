"""SVHN in its MATLAB files."""

from __future__ import annotations

from pathlib import Path

import scipy.io
import torch

from tests.data import miniatures
from tests.data.miniatures import load_real


def test_svhn_label_ten_is_digit_zero_and_axes_are_in_place(root: Path) -> None:
    folder = miniatures.svhn(root)
    stored = scipy.io.loadmat(folder / "train_32x32.mat")
    data = load_real(root, "svhn", "train")
    assert data.labels[:11].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    image = stored["X"][:, :, :, 4]
    assert torch.equal(
        (data.read([4])[0] * 255).round().to(torch.uint8).permute(1, 2, 0),
        torch.from_numpy(image),
    )
    assert data.prompt_names[0] == "zero"
