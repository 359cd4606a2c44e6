"""How an image, and its region with it, comes to the size that models see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lico_bench.data.cards import DatasetCard


@dataclass(frozen=True)
class Fit:
    """The evaluation transform: the same call serves an image, a mask and boxes."""

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
        """Height and width after resizing an image of `height` x `width`, before the crop."""
        if self.mode == "squash":
            return self.size, self.size
        shorter = round(self.size * self.resize_frac)
        height -= self.cut_bottom_px
        if height <= width:
            return shorter, max(shorter, round(width * shorter / height))
        return max(shorter, round(height * shorter / width)), shorter

    def apply(self, thing: Any, height: int, width: int) -> Any:
        """`thing` (PIL image, tv_tensor or image tensor) at the final size.

        `height` and `width` are those of the stored image. `thing` may have been decoded at a
        reduced scale when nothing is cut from its bottom: the target size is the same.
        """
        from torchvision.transforms.v2 import functional as transforms  # seconds to import

        if self.cut_bottom_px:
            thing = transforms.crop(thing, 0, 0, height - self.cut_bottom_px, width)
        target = list(self.resized(height, width))
        thing = transforms.resize(thing, target, antialias=True)
        return transforms.center_crop(thing, [self.size, self.size])
