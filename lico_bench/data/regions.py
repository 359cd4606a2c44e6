"""Object regions of stored images: bounding boxes or masks, read on demand."""

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
    broken_image_error,
    open_image,
    orient_boxes,
    orient_mask,
    to_rgb,
)
from lico_bench.errors import BrokenFileError, MissingDataError

Corners = tuple[float, float, float, float]  # left, top, right, bottom in px, half-open
MASK_THRESHOLD = 128  # CUB mask values are the share of annotators who marked the pixel, times 255
BLUE_BACKGROUND = (0, 0, 254)  # background colour of the flower masks
BLUE_TOLERANCE = 60  # JPEG compression shifts the background colour
REMEDY = "unpack the masks again"
BOX_TAGS = ("xmin", "ymin", "xmax", "ymax")


def read_corners(left: Any, top: Any, right: Any, bottom: Any) -> Corners:
    """Convert four values to corners.

    Raises:
        ValueError, TypeError: if a value is not a finite number.
    """
    corners = (float(left), float(top), float(right), float(bottom))
    if not all(map(math.isfinite, corners)):
        raise ValueError(f"expected finite corners, got {corners}")
    return corners


class Region(Protocol):
    """An object region that can be rendered for a stored image."""

    def to_tensor(self, height: int, width: int) -> Tensor:
        """Return boxes or a mask as a tv_tensor in the pixel coordinates of the stored image."""


@dataclass(frozen=True)
class Boxes:
    """Bounding boxes of the object; empty if the image is not annotated."""

    corners: tuple[Corners, ...]

    def to_tensor(self, height: int, width: int) -> Tensor:
        """Return the boxes on a canvas of the image's size."""
        boxes = torch.tensor(self.corners, dtype=torch.float32).reshape(-1, 4)
        return _bounding_boxes(boxes, height, width)


@dataclass(frozen=True)
class XmlBoxes:
    """Bounding boxes of one class in a PASCAL VOC annotation file."""

    path: Path
    class_id: str

    def to_tensor(self, height: int, width: int) -> Tensor:
        """Return the boxes on a canvas of the image's size; empty if the file does not exist."""
        # ImageNet annotates all validation images but only some training images.
        corners = read_xml_boxes(self.path, self.class_id) if self.path.is_file() else ()
        return Boxes(corners).to_tensor(height, width)


@dataclass(frozen=True)
class MaskFile:
    """A mask image; `kind` is `grey` (bright pixels are the object) or `blue` (background)."""

    path: Path
    kind: str

    def to_tensor(self, height: int, width: int) -> Tensor:
        """Return the mask.

        Raises:
            MissingDataError: if the file does not exist.
            BrokenFileError: if it cannot be decoded or its size differs from the image's.
        """
        pixels = _mask_pixels(self.path)
        if pixels.shape[:2] != (height, width):
            raise BrokenFileError(
                f"{self.path}: expected a mask of {width} x {height} px, the size of its image, "
                f"got {pixels.shape[1]} x {pixels.shape[0]}; "
                "unpack both from the official archives"
            )
        if self.kind == "grey":
            is_object = pixels.mean(-1) >= MASK_THRESHOLD
        else:
            distance = np.abs(pixels.astype(np.int16) - np.array(BLUE_BACKGROUND, np.int16))
            is_object = distance.max(-1) > BLUE_TOLERANCE
        from torchvision import tv_tensors  # seconds to import

        mask: Tensor = tv_tensors.Mask(torch.from_numpy(is_object))
        return mask


def fit_region(
    region: Region, fit: Fit, height: int, width: int, orientation: int = UPRIGHT
) -> Tensor:
    """Apply the image's transform to `region`; returns (S, S) bool.

    The result is all False if the crop removed the region.

    Args:
        height, width, orientation: of the stored image, see `image_files.ImageHeader`.
    """
    from torchvision import tv_tensors  # seconds to import

    fitted = _transform(region, fit, ImageHeader(height, width, orientation))
    if isinstance(fitted, tv_tensors.BoundingBoxes):
        return _fill_boxes(fitted.as_subclass(Tensor), fit.size).any(0)
    mask: Tensor = fitted.as_subclass(Tensor).bool()
    return mask


def fit_instances(
    region: Region, fit: Fit, height: int, width: int, orientation: int = UPRIGHT
) -> Tensor:
    """Like `fit_region`, with one mask per object; returns (I, S, S) bool.

    Objects that the crop removed are omitted. A mask file counts as one object.
    """
    from torchvision import tv_tensors  # seconds to import

    fitted = _transform(region, fit, ImageHeader(height, width, orientation))
    if isinstance(fitted, tv_tensors.BoundingBoxes):
        objects = _fill_boxes(fitted.as_subclass(Tensor), fit.size)
    else:
        objects = fitted.as_subclass(Tensor).bool()[None]
    return objects[objects.flatten(1).any(1)]


def separates_objects(region: Region) -> bool:
    """Whether `region` separates several objects in one image: boxes do, masks do not."""
    return not isinstance(region, MaskFile)


def read_xml_boxes(path: Path, class_id: str) -> tuple[Corners, ...]:
    """Return the boxes of all objects named `class_id` in the annotation file `path`.

    Raises:
        BrokenFileError: if the file is not a PASCAL VOC annotation.
    """
    try:
        root = ElementTree.fromstring(path.read_bytes())
        return tuple(
            read_corners(*(item.findtext(f"bndbox/{tag}", "missing") for tag in BOX_TAGS))
            for item in root.iter("object")
            if item.findtext("name") == class_id
        )
    except (ElementTree.ParseError, ValueError) as error:
        raise BrokenFileError(
            f"{path}: not an annotation with boxes ({error}); unpack it again"
        ) from error


def _transform(region: Region, fit: Fit, header: ImageHeader) -> Any:
    """Orient the region like its image, then apply the image transform."""
    from torchvision import tv_tensors  # seconds to import

    stored = region.to_tensor(header.height, header.width)
    height, width = header.upright_size
    if header.orientation != UPRIGHT:
        plain = stored.as_subclass(Tensor)
        if isinstance(stored, tv_tensors.BoundingBoxes):
            stored = _bounding_boxes(orient_boxes(plain, header), height, width)
        else:
            stored = tv_tensors.Mask(orient_mask(plain, header.orientation))
    return fit.apply(stored, height, width)


def _mask_pixels(path: Path) -> np.ndarray:
    try:
        image = open_image(path, f"mask {path}", REMEDY)
    except FileNotFoundError as error:
        raise MissingDataError(f"{path}: mask missing; unpack the masks again") from error
    with image:
        try:
            return np.asarray(to_rgb(image))
        except DECODING_ERRORS as error:
            raise broken_image_error(path, f"mask {path}", error, REMEDY) from error


def _bounding_boxes(boxes: Tensor, height: int, width: int) -> Tensor:
    from torchvision import tv_tensors  # seconds to import

    result: Tensor = tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(height, width))
    return result


def _fill_boxes(boxes: Tensor, size: int) -> Tensor:
    """Convert boxes (B, 4) to (B, S, S) bool, True where the pixel centre lies in the box."""
    centre = torch.arange(size) + 0.5
    in_columns = (centre >= boxes[:, 0:1]) & (centre < boxes[:, 2:3])
    in_rows = (centre >= boxes[:, 1:2]) & (centre < boxes[:, 3:4])
    return in_rows[:, :, None] & in_columns[:, None, :]
