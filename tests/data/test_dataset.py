"""Batches and subsets of a dataset."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lico_bench.data import (
    load_dataset,
)
from lico_bench.errors import InvalidInputError
from lico_bench.records import AUGMENTATIONS
from lico_bench.runtime import make_generator
from tests.data import miniatures
from tests.data.miniatures import load_real


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
@pytest.mark.parametrize("name", ["svhn", "cub200"])
def test_batches_repeat_with_the_generators_seed(root: Path, name: str, augmentation: str) -> None:
    miniatures.OFFICIAL[name](root)
    data = load_real(root, name, image_size=32)
    order = torch.randperm(len(data), generator=make_generator(0, "order")).split(3)

    def epoch(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        generator = make_generator(seed, "augmentation")
        pairs = list(data.batches(order, augmentation=augmentation, generator=generator))
        state = generator.get_state()
        return torch.cat([i for i, _ in pairs]), torch.cat([k for _, k in pairs]), state

    images, labels, state = epoch(0)
    again, _, _ = epoch(0)
    assert torch.equal(images, again)
    assert torch.equal(labels, data.labels[torch.cat(order)])
    assert images.dtype == torch.float32
    assert float(images.max()) <= 1
    if augmentation == "none":
        assert torch.equal(images, data.read(torch.cat(order)))
    else:
        assert not torch.equal(images, data.read(torch.cat(order)))
        assert not torch.equal(images, epoch(1)[0])
    # The generator state after a batch does not depend on the augmentation.
    plain = make_generator(0, "augmentation")
    for part in order:
        torch.rand(len(part), 5, generator=plain)
    assert torch.equal(state, plain.get_state())


def test_random_augmentation_without_generator_is_refused(root: Path) -> None:
    data = load_dataset("svhn", "test", root=root, source="standin", limit=4)
    with pytest.raises(InvalidInputError, match="pass generator="):
        data.batches([torch.arange(4)], augmentation="flip")


def test_subset_keeps_images_labels_regions_and_ids_together(root: Path) -> None:
    for source in ("real", "standin"):
        if source == "real":
            miniatures.cub200(root)
        data = load_dataset("cub200", "test", root=root, source=source, image_size=32)
        part = data.subset([2, 0])
        assert torch.equal(part.images, data.read([2, 0]))
        assert torch.equal(part.read_regions([0, 1]), data.read_regions([2, 0]))
        assert part.image_ids == (data.image_ids[2], data.image_ids[0])
        assert part.labels.tolist() == data.labels[[2, 0]].tolist()
        assert part.fingerprint != data.fingerprint


@pytest.mark.parametrize(
    ("indices", "complaint"),
    [([9999], r"positions in \[0, 4\)"), ([-1], "positions"), ([[0]], "one axis"),
     (torch.ones(4, dtype=torch.bool), "got a mask")],
)  # fmt: skip
def test_impossible_indices_are_refused(indices: object, complaint: str) -> None:
    data = load_dataset("svhn", "test", source="standin", limit=4)
    with pytest.raises(InvalidInputError, match=complaint):
        data.read(indices)  # type: ignore[arg-type]


def test_subset_with_an_index_twice_is_refused() -> None:
    data = load_dataset("svhn", "test", source="standin", limit=4)
    with pytest.raises(InvalidInputError, match="twice"):
        data.subset([0, 0])
