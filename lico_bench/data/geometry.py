"""How a picture, and its region with it, comes to the size that models see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from PIL import Image

from lico_bench.data.cards import DatasetCard


@dataclass(frozen=True)
class Fit:
    """The evaluation transform: the same call serves a picture, a mask and boxes."""

    size: int
    mode: str
    resize_frac: float
    cut_bottom_px: int

    @classmethod
    def of(cls, card: DatasetCard, image_size: int | None = None) -> Fit:
        """The card's transform at `image_size`, or at the card's own size."""
        size = image_size or card.image_size
        return cls(size, card.fit, card.resize_frac, card.cut_bottom_px)

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after resizing a picture of `height` x `width`, before the crop."""
        if self.mode == "squash":
            return self.size, self.size
        shorter = round(self.size * self.resize_frac)
        height -= self.cut_bottom_px
        if height <= width:
            return shorter, max(shorter, round(width * shorter / height))
        return max(shorter, round(height * shorter / width)), shorter

    def apply(self, thing: Any, height: int, width: int) -> Any:
        """`thing` (PIL picture, tv_tensor or image tensor) at the final size.

        `height` and `width` are those of the stored picture. `thing` may have been decoded at a
        reduced scale when nothing is cut from its bottom: the target size is the same.
        """
        if isinstance(thing, Image.Image):
            return self._apply_to_file(thing, height, width)
        from torchvision.transforms.v2 import functional as transforms  # seconds to import

        if self.cut_bottom_px:
            thing = transforms.crop(thing, 0, 0, height - self.cut_bottom_px, width)
        target = list(self.resized(height, width))
        thing = transforms.resize(thing, target, antialias=True)
        return transforms.center_crop(thing, [self.size, self.size])

    def _apply_to_file(self, image: Image.Image, height: int, width: int) -> Image.Image:
        """What torchvision's functions do to a PIL image, without the seconds of their import."""
        if self.cut_bottom_px:
            image = image.crop((0, 0, width, height - self.cut_bottom_px))
        rows, columns = self.resized(height, width)
        if image.size != (columns, rows):
            image = image.resize((columns, rows), Image.Resampling.BILINEAR)
        top, left = round((rows - self.size) / 2), round((columns - self.size) / 2)
        return image.crop((left, top, left + self.size, top + self.size))
