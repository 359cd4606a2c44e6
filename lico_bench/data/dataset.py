"""One split of one dataset, ready to be trained on or explained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from lico_bench.checks import check_choice
from lico_bench.data import augmentation as augment
from lico_bench.data.image_source import FileImages, ImageSource
from lico_bench.data.regions import (
    Region,
    fit_instances,
    fit_region,
    tells_objects_apart,
)
from lico_bench.data.split_index import digest_of
from lico_bench.errors import InvalidInputError
from lico_bench.records import AUGMENTATIONS, Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Indices = Tensor | NDArray[np.int64] | list[int] | range | slice


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images, labels and regions of one split.

    Attributes:
        source: `real` images or the drawn `standin`.
        class_names: in index order; those of the glyphs for a stand-in.
        prompt_names: what a text encoder is told of each class.
        labels: (N,) int64.
        image_ids: unique and stable across machines.
        found_count: images of this split that were found, before budgets and limits.
        official_count: images the publisher counts.
        mean: of the training images, per channel.
        std: of the training images, per channel.
        test_from_train: the official test is absent; a fixed fifth of train serves as test.
        notes: sentences that a report must print.
        fingerprint: hex digits that change when the files or the choice of images change.
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
    image_source: ImageSource
    region_source: Tensor | tuple[Region, ...] | None = None

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def num_classes(self) -> int:
        """Number of classes, those without an image here included."""
        return len(self.class_names)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in px."""
        return self.image_source.size

    @property
    def has_regions(self) -> bool:
        """Whether it is known where the objects are."""
        return self.region_source is not None

    @property
    def has_instances(self) -> bool:
        """Whether several objects in one image would be told apart."""
        if self.region_source is None or isinstance(self.region_source, Tensor):
            return self.region_source is not None  # a drawn scene has one object
        return any(tells_objects_apart(region) for region in self.region_source)

    @property
    def images(self) -> Tensor:
        """(N, 3, H, W) float32 in [0, 1]: the whole split, 12 bytes a pixel in memory."""
        return self.read(range(len(self)))

    @property
    def regions(self) -> Tensor | None:
        """(N, H, W) bool of the whole split, 1 byte a pixel in memory; None if unknown."""
        return self.read_regions(range(len(self))) if self.has_regions else None

    def read(self, indices: Indices) -> Tensor:
        """(n, 3, H, W) float32 in [0, 1], after the evaluation transform.

        Raises:
            BrokenFileError: if an image cannot be decoded.
        """
        return self.image_source.take(self._positions(indices)).float().div_(255)

    def read_regions(self, indices: Indices) -> Tensor:
        """(n, H, W) bool, True on the object; all False where the crop left nothing of it.

        Raises:
            InvalidInputError: if this dataset has no regions.
        """
        positions = self._positions(indices)
        if self.region_source is None:
            raise InvalidInputError(
                f"{self.title}: no object regions are known; leave out the localisation metrics"
            )
        if isinstance(self.region_source, Tensor):
            return self.region_source[positions]
        if not isinstance(self.image_source, FileImages):
            raise InvalidInputError(f"{self.title}: regions in files need images in files")
        out = torch.zeros(len(positions), *self.image_size, dtype=torch.bool)
        for place, index in enumerate(positions.tolist()):
            stored = self.image_source.stored(index)
            out[place] = fit_region(self.region_source[index], self.image_source.fit, *stored)
        return out

    def read_instances(self, indices: Indices) -> list[Tensor]:
        """Per image (I, H, W) bool, one mask for each marked object that the crop left.

        Raises:
            InvalidInputError: if this dataset has no regions.
        """
        positions = self._positions(indices)
        if self.region_source is None or isinstance(self.region_source, Tensor):
            regions = self.read_regions(positions)
            return [region[None][region.any()[None]] for region in regions]
        if not isinstance(self.image_source, FileImages):
            raise InvalidInputError(f"{self.title}: regions in files need images in files")
        found = []
        for index in positions.tolist():
            stored = self.image_source.stored(index)
            found.append(fit_instances(self.region_source[index], self.image_source.fit, *stored))
        return found

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
        """Images and labels of each batch in `order`, on `device`.

        Args:
            order: one 1-D int64 tensor of positions per batch; read a few batches ahead.
            augmentation: one of `records.AUGMENTATIONS`.
            crop_padding_px: how far a padded crop may move an image each way.
            generator: a CPU generator; each batch draws (n, 5) numbers from it, in order and in
                the calling thread, whatever the augmentation.
            device: where the batches go.
            skip: so many batches at the front are drawn like the others, and not read.
            part: number and count of equal parts of each batch, of which that one is read; the
                draws are those of the whole batch.

        Yields:
            (n, 3, H, W) float32 in [0, 1], of the part, and the labels (n,) int64 of the batch.

        Raises:
            InvalidInputError: for an unknown augmentation, or a random one without generator.
        """
        check_choice("augmentation", augmentation, AUGMENTATIONS)
        if augmentation != "none" and generator is None:
            raise InvalidInputError(
                f"augmentation '{augmentation}' draws at random; pass generator=, "
                "a torch.Generator on the CPU"
            )
        return self._batches(
            order, augmentation, crop_padding_px, generator, torch.device(device), skip, part
        )

    def subset(self, indices: Indices) -> Dataset:
        """The images at `indices`, in that order, as a dataset of its own."""
        positions = self._positions(indices)
        ids = tuple(self.image_ids[i] for i in positions.tolist())
        if len(set(ids)) != len(ids):
            raise InvalidInputError("subset: expected each index once, got one twice")
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

    def _batches(
        self,
        order: Iterable[Tensor],
        augmentation: str,
        padding_px: int,
        generator: torch.Generator | None,
        device: torch.device,
        skip: int,
        part: tuple[int, int],
    ) -> Iterator[tuple[Tensor, Tensor]]:
        ahead: list[tuple[Tensor, Tensor]] = []
        is_resized = augmentation == "resized_crop_flip"
        index, count = part

        def steps() -> Iterator[tuple[Tensor, Tensor | None]]:
            for number, indices in enumerate(order):
                # Without a generator nothing below looks at the draws.
                drawn = (
                    torch.ones(len(indices), augment.DRAWS)
                    if generator is None
                    else augment.draw(len(indices), generator)
                )
                if number < skip:
                    continue
                drawn = drawn.chunk(count)[index]
                ahead.append((indices, drawn))
                yield indices.chunk(count)[index], drawn if is_resized else None

        for images in self.image_source.stream(steps(), device):
            indices, drawn = ahead.pop(0)
            if "crop" in augmentation and not is_resized:
                images = augment.crop(images, drawn, padding_px)
            if "flip" in augmentation:
                images = augment.flip(images, drawn)
            yield images.float().div_(255), self.labels[indices].to(device)

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
                f"indices: expected one axis, got shape {tuple(positions.shape)}"
            )
        if len(positions) and not 0 <= int(positions.min()) <= int(positions.max()) < len(self):
            raise InvalidInputError(
                f"indices: expected positions in [0, {len(self)}), "
                f"got [{int(positions.min())}, {int(positions.max())}]"
            )
        return positions
