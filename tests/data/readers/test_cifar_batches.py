"""CIFAR in its pickled batches."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import torch

from tests.data import miniatures
from tests.data.miniatures import load_real


def test_cifar_pixels_and_labels_are_those_of_the_batches(root: Path) -> None:
    folder = miniatures.cifar10(root)
    data = load_real(root, "cifar10", "train")
    batch = pickle.loads((folder / "data_batch_2").read_bytes())
    # Rows hold 1024 red, 1024 green and 1024 blue values, line by line.
    expected = batch["data"][3].reshape(3, 32, 32) / np.float32(255)
    assert torch.equal(data.read([23])[0], torch.from_numpy(expected))
    assert data.labels[20:40].tolist() == batch["labels"]
    assert data.image_ids[23] == "train/00023"
