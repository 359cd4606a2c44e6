"""One split of a dataset: images, labels and object regions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor

from lico_bench.checks import check_choice
from lico_bench.data import image_batches
from lico_bench.data.image_files import ArrayImages, FileImages
from lico_bench.data.readers import digest_of
from lico_bench.data.regions import Region, fit_instances, separates_objects
from lico_bench.errors import InvalidInputError
from lico_bench.records import AUGMENTATIONS, Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Indices = Tensor | NDArray[np.int64] | list[int] | range | slice


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images, labels and regions of one split.

    Attributes:
        source: `real` images or the synthetic `standin`.
        class_names: in index order; the glyph names for a stand-in.
        prompt_names: class names for the text encoder's prompts, in index order.
        labels: (N,) int64.
        image_ids: unique and stable across machines.
        found_count: number of images found for this split, before label budgets and limits.
        official_count: number of images according to the publisher.
        mean: channel means of the training images.
        std: channel standard deviations of the training images.
        test_from_train: True if the official test split is absent and a fixed fifth of the
            training images serves as test.
        notes: sentences that a report must print.
        fingerprint: hex digest that changes with the files or the selection of images.
    """

    name: str
    title: str
    split: str
    source: Source
    class_names: tuple[str, ...]
    prompt_names: tuple[str, ...]
    labels: Tensor
    image_ids: tuple[str, ...]
    found_count: int
    official_count: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    test_from_train: bool
    notes: tuple[str, ...]
    fingerprint: str
    image_source: ArrayImages | FileImages
    region_source: Tensor | tuple[Region, ...] | None = None

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def num_classes(self) -> int:
        """Number of classes, including classes without images in this split."""
        return len(self.class_names)

    @property
    def chance(self) -> float:
        """Accuracy of the best constant guess, the share of the most frequent label."""
        return float(torch.bincount(self.labels).max()) / len(self.labels)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in px."""
        return self.image_source.size

    @property
    def has_regions(self) -> bool:
        """Whether object regions are available."""
        return self.region_source is not None

    @property
    def has_instances(self) -> bool:
        """Whether the regions separate several objects in one image."""
        if self.region_source is None or isinstance(self.region_source, Tensor):
            return self.region_source is not None  # a stand-in scene has one object
        return any(separates_objects(region) for region in self.region_source)

    @property
    def images(self) -> Tensor:
        """All images, (N, 3, H, W) float32 in [0, 1]; takes 12 bytes of memory per pixel."""
        return self.read(range(len(self)))

    @property
    def regions(self) -> Tensor | None:
        """All regions, (N, H, W) bool, 1 byte of memory per pixel; None if unavailable."""
        return self.read_regions(range(len(self))) if self.has_regions else None

    def read(self, indices: Indices) -> Tensor:
        """Return the images at `indices`, (n, 3, H, W) float32 in [0, 1].

        The images have passed through the evaluation transform.

        Raises:
            BrokenFileError: if an image cannot be decoded.
        """
        return self.image_source.take(self._positions(indices)).float().div_(255)

    def read_regions(self, indices: Indices) -> Tensor:
        """Return the object regions at `indices`, (n, H, W) bool, True on the object.

        A region is all False if the crop removed the object.

        Raises:
            InvalidInputError: if this dataset has no regions.
        """
        if isinstance(self.region_source, Tensor):
            return self.region_source[self._positions(indices)]
        objects = [each.any(0) for each in self.read_instances(indices)]
        return torch.stack(objects) if objects else torch.zeros(0, *self.image_size).bool()

    def read_instances(self, indices: Indices) -> list[Tensor]:
        """Return per image (I, H, W) bool, one mask per annotated object within the crop.

        Raises:
            InvalidInputError: if this dataset has no regions.
        """
        positions = self._positions(indices)
        if self.region_source is None:
            raise InvalidInputError(
                f"{self.title}: no object regions are available; leave out the localisation metrics"
            )
        if isinstance(self.region_source, Tensor):
            return [region[None][region.any()[None]] for region in self.region_source[positions]]
        images = cast(FileImages, self.image_source)  # stored images alone have stored regions
        return [
            fit_instances(self.region_source[index], images.fit, *images.header(index))
            for index in positions.tolist()
        ]

    def batches(
        self,
        order: Iterable[Tensor],
        *,
        augmentation: str = "none",
        crop_padding_px: int = 4,
        generator: torch.Generator | None = None,
        device: str | torch.device = "cpu",
        skip: int = 0,
        part: tuple[int, int] = (0, 1),
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Iterate over the images and labels of each batch in `order`, on `device`.

        Args:
            order: one 1-D int64 tensor of positions per batch; consumed a few batches ahead.
            augmentation: one of `records.AUGMENTATIONS`.
            crop_padding_px: maximum shift of a padded crop in each direction.
            generator: a CPU generator; each batch draws (n, 5) numbers from it, in order and in
                the calling thread, for every augmentation.
            device: device of the returned batches.
            skip: number of leading batches that draw their random numbers but are not read.
            part: (index, count); each batch is split into `count` equal parts and only the part
                `index` is read. Random numbers are drawn for the whole batch.

        Yields:
            Images of the part, (n, 3, H, W) float32 in [0, 1], and labels of the batch, (n,) int64.

        Raises:
            InvalidInputError: for an unknown augmentation, or a random one without a generator.
        """
        check_choice("augmentation", augmentation, AUGMENTATIONS)
        if augmentation != "none" and generator is None:
            raise InvalidInputError(
                f"augmentation '{augmentation}' is random; pass generator=, "
                "a torch.Generator on the CPU"
            )
        rng = generator or torch.Generator()  # the draws of "none" are unused
        is_resized = augmentation == "resized_crop_flip"
        pending: list[tuple[Tensor, Tensor]] = []

        def steps() -> Iterator[tuple[Tensor, Tensor | None]]:
            for number, indices in enumerate(order):
                draws = image_batches.draw(len(indices), rng)
                if number >= skip:
                    draws = draws.chunk(part[1])[part[0]]
                    pending.append((indices, draws))
                    yield indices.chunk(part[1])[part[0]], draws if is_resized else None

        def augmented() -> Iterator[tuple[Tensor, Tensor]]:
            for images in self.image_source.stream(steps(), torch.device(device)):
                indices, draws = pending.pop(0)
                if "crop" in augmentation and not is_resized:
                    images = image_batches.crop(images, draws, crop_padding_px)
                if "flip" in augmentation:
                    images = image_batches.flip(images, draws)
                yield images.float().div_(255), self.labels[indices].to(device)

        return augmented()

    def subset(self, indices: Indices) -> Dataset:
        """Return a dataset of the images at `indices`, in that order.

        Raises:
            InvalidInputError: if an index occurs twice or is out of range.
        """
        positions = self._positions(indices)
        ids = tuple(self.image_ids[i] for i in positions.tolist())
        if len(set(ids)) != len(ids):
            raise InvalidInputError(
                "subset: expected each index once, got one twice; remove the duplicates"
            )
        regions = self.region_source
        if isinstance(regions, Tensor):
            regions = regions[positions]
        elif regions is not None:
            regions = tuple(regions[i] for i in positions.tolist())
        return replace(
            self,
            labels=self.labels[positions],
            image_ids=ids,
            fingerprint=digest_of([self.fingerprint, *ids]),
            image_source=self.image_source.subset(positions),
            region_source=regions,
        )

    def _positions(self, indices: Indices) -> Tensor:
        if isinstance(indices, slice):
            indices = range(*indices.indices(len(self)))
        if isinstance(indices, range):
            indices = list(indices)
        positions = torch.as_tensor(indices)
        if positions.dtype == torch.bool:
            raise InvalidInputError(
                "indices: expected positions, got a mask; pass mask.nonzero().flatten()"
            )
        positions = positions.to(torch.int64)
        if positions.ndim != 1:
            raise InvalidInputError(
                f"indices: expected one axis, got shape {tuple(positions.shape)}; "
                "pass a flat list of positions"
            )
        if len(positions) and not 0 <= int(positions.min()) <= int(positions.max()) < len(self):
            raise InvalidInputError(
                f"indices: expected positions in [0, {len(self)}), "
                f"got [{int(positions.min())}, {int(positions.max())}]"
            )
        return positions
