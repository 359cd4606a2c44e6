"""Where the object is in a stored image: boxes or a mask, read only when asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from xml.etree import ElementTree

import numpy as np
import torch
from torch import Tensor

from lico_bench.data.geometry import Fit
from lico_bench.data.image_files import (
    DECODING_ERRORS,
    UPRIGHT,
    ImageHeader,
    as_rgb,
    broken_image,
    open_image,
    turn_boxes,
    turn_mask,
)
from lico_bench.errors import BrokenFileError, MissingDataError

Corners = tuple[float, float, float, float]  # left, top, right, bottom in px, right and bottom open
SEGMENTED_AT = 128  # CUB masks hold the share of annotators who marked the pixel, times 255
BLUE_BACKGROUND = (0, 0, 254)  # what the flower masks put where no flower is
REMEDY = "unpack the masks again"
BLUE_TOLERANCE = 60  # the masks are JPEG files: the blue is not exact


SIDES = ("xmin", "ymin", "xmax", "ymax")


def read_corners(left: Any, top: Any, right: Any, bottom: Any) -> Corners:
    """Four numbers as corners.

    Raises:
        ValueError, TypeError: if one is no finite number.
    """
    corners = (float(left), float(top), float(right), float(bottom))
    if not all(map(math.isfinite, corners)):
        raise ValueError(f"expected finite corners, got {corners}")
    return corners


class Region(Protocol):
    """Something that can be laid over a stored image of a given size."""

    def on(self, height: int, width: int) -> Tensor:
        """A tv_tensor (boxes or mask) in the image's own pixels."""


@dataclass(frozen=True)
class Boxes:
    """Rectangles around the object; none means that nobody marked it."""

    corners: tuple[Corners, ...]

    def on(self, height: int, width: int) -> Tensor:
        """The boxes on a canvas of the image's size."""
        boxes = torch.tensor(self.corners, dtype=torch.float32).reshape(-1, 4)
        return _bounding_boxes(boxes, height, width)


@dataclass(frozen=True)
class XmlBoxes:
    """Boxes of one class in an annotation file of the PASCAL form."""

    path: Path
    class_id: str

    def on(self, height: int, width: int) -> Tensor:
        """The boxes on a canvas of the image's size; none if the file does not exist."""
        # ImageNet annotates every validation image but only part of the training ones.
        corners = read_xml_boxes(self.path, self.class_id) if self.path.is_file() else ()
        return Boxes(corners).on(height, width)


@dataclass(frozen=True)
class MaskFile:
    """An image in which the object is marked: `grey` (bright is object) or `blue` background."""

    path: Path
    kind: str

    def on(self, height: int, width: int) -> Tensor:
        """The mask, checked to have the image's size."""
        pixels = _mask_pixels(self.path)
        if pixels.shape[:2] != (height, width):
            raise BrokenFileError(
                f"{self.path}: expected a mask of {width} x {height} px like its image, got "
                f"{pixels.shape[1]} x {pixels.shape[0]}; unpack both from the official archives"
            )
        if self.kind == "grey":
            inside = pixels.mean(-1) >= SEGMENTED_AT
        else:
            distance = np.abs(pixels.astype(np.int16) - np.array(BLUE_BACKGROUND, np.int16))
            inside = distance.max(-1) > BLUE_TOLERANCE
        from torchvision import tv_tensors  # seconds to import

        mask: Tensor = tv_tensors.Mask(torch.from_numpy(inside))
        return mask


def fit_region(
    region: Region, fit: Fit, height: int, width: int, orientation: int = UPRIGHT
) -> Tensor:
    """(S, S) bool: `region` of a stored image after the transform that the image goes through.

    All False where the crop left nothing of the region.

    Args:
        height, width, orientation: of the image as stored, see `image_files.Stored`.
    """
    from torchvision import tv_tensors  # seconds to import

    laid = _laid(region, fit, ImageHeader(height, width, orientation))
    if isinstance(laid, tv_tensors.BoundingBoxes):
        return _filled(laid.as_subclass(Tensor), fit.size)
    mask: Tensor = laid.as_subclass(Tensor).bool()
    return mask


def fit_instances(
    region: Region, fit: Fit, height: int, width: int, orientation: int = UPRIGHT
) -> Tensor:
    """(I, S, S) bool: each object of `region` alone, after the same transform as `fit_region`.

    Objects that the crop left nothing of are left out. A mask does not tell objects apart and
    counts as one.
    """
    from torchvision import tv_tensors  # seconds to import

    laid = _laid(region, fit, ImageHeader(height, width, orientation))
    if isinstance(laid, tv_tensors.BoundingBoxes):
        objects = _each_filled(laid.as_subclass(Tensor), fit.size)
    else:
        objects = laid.as_subclass(Tensor).bool()[None]
    return objects[objects.flatten(1).any(1)]


def tells_objects_apart(region: Region) -> bool:
    """Whether several objects in one image would be several instances: boxes do, masks do not."""
    return not isinstance(region, MaskFile)


def read_xml_boxes(path: Path, class_id: str) -> tuple[Corners, ...]:
    """Boxes of the objects named `class_id` in the annotation file `path`."""
    try:
        root = ElementTree.fromstring(path.read_bytes())
        return tuple(
            _corners(item) for item in root.iter("object") if item.findtext("name") == class_id
        )
    except (ElementTree.ParseError, ValueError) as error:
        raise BrokenFileError(
            f"{path}: not an annotation with boxes ({error}); unpack it again"
        ) from error


def _laid(region: Region, fit: Fit, stored: ImageHeader) -> Any:
    """The region, turned as its image is and then through the transform."""
    from torchvision import tv_tensors  # seconds to import

    found = region.on(stored.height, stored.width)
    height, width = stored.upright
    if stored.orientation != UPRIGHT:
        plain = found.as_subclass(Tensor)
        if isinstance(found, tv_tensors.BoundingBoxes):
            found = _bounding_boxes(turn_boxes(plain, stored), height, width)
        else:
            found = tv_tensors.Mask(turn_mask(plain, stored.orientation))
    return fit.apply(found, height, width)


def _corners(item: ElementTree.Element) -> Corners:
    corners = [item.findtext(f"bndbox/{side}", "missing") for side in SIDES]
    return read_corners(*corners)


def _mask_pixels(path: Path) -> np.ndarray:
    try:
        image = open_image(path, f"mask {path}", REMEDY)
    except FileNotFoundError as error:
        raise MissingDataError(f"{path}: mask missing; unpack the masks again") from error
    with image:
        try:
            return np.asarray(as_rgb(image))
        except DECODING_ERRORS as error:
            raise broken_image(path, f"mask {path}", error, REMEDY) from error


def _bounding_boxes(boxes: Tensor, height: int, width: int) -> Tensor:
    from torchvision import tv_tensors  # seconds to import

    laid: Tensor = tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(height, width))
    return laid


def _filled(boxes: Tensor, size: int) -> Tensor:
    """(S, S) bool, True at every pixel whose centre lies in one of `boxes` (B, 4)."""
    return _each_filled(boxes, size).any(0)


def _each_filled(boxes: Tensor, size: int) -> Tensor:
    """(B, S, S) bool, True at every pixel whose centre lies in the box."""
    centre = torch.arange(size) + 0.5
    in_columns = (centre >= boxes[:, 0:1]) & (centre < boxes[:, 2:3])
    in_rows = (centre >= boxes[:, 1:2]) & (centre < boxes[:, 3:4])
    return in_rows[:, :, None] & in_columns[:, None, :]
