"""The evaluation transform: resize and crop an image, and its region, to the model's size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from PIL import Image

from lico_bench.data.cards import DatasetCard


@dataclass(frozen=True)
class Fit:
    """The evaluation transform; it applies to images, masks and boxes alike.

    `repr(Fit)` is part of dataset fingerprints: do not rename the class or its fields.
    """

    size: int
    mode: str
    resize_frac: float
    cut_bottom_px: int

    @classmethod
    def of(cls, card: DatasetCard, image_size: int | None = None) -> Fit:
        """Return the card's transform at `image_size`, or at the card's size if None."""
        size = image_size or card.image_size
        return cls(size, card.fit, card.resize_frac, card.cut_bottom_px)

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width after resizing an image, before the centre crop."""
        if self.mode == "squash":
            return self.size, self.size
        shorter = round(self.size * self.resize_frac)
        height -= self.cut_bottom_px
        if height <= width:
            return shorter, max(shorter, round(width * shorter / height))
        return max(shorter, round(height * shorter / width)), shorter

    def apply(self, image: Any, height: int, width: int) -> Any:
        """Transform a PIL image, tv_tensor or image tensor to the final size.

        Args:
            height, width: of the upright image at full scale. If `cut_bottom_px` is 0, `image`
                may have been decoded at a reduced scale: the target size is the same.
        """
        if isinstance(image, Image.Image):
            return self._apply_to_file(image, height, width)
        from torchvision.transforms.v2 import functional as transforms  # seconds to import

        if self.cut_bottom_px:
            image = transforms.crop(image, 0, 0, height - self.cut_bottom_px, width)
        image = transforms.resize(image, list(self.resized(height, width)), antialias=True)
        return transforms.center_crop(image, [self.size, self.size])

    def _apply_to_file(self, image: Image.Image, height: int, width: int) -> Image.Image:
        """Apply to a PIL image what torchvision's functions do; importing them takes seconds."""
        if self.cut_bottom_px:
            image = image.crop((0, 0, width, height - self.cut_bottom_px))
        rows, columns = self.resized(height, width)
        if image.size != (columns, rows):
            image = image.resize((columns, rows), Image.Resampling.BILINEAR)
        top, left = round((rows - self.size) / 2), round((columns - self.size) / 2)
        return image.crop((left, top, left + self.size, top + self.size))
