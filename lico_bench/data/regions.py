"""Object regions of stored images: bounding boxes or masks, read on demand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import torch
from torch import Tensor

from lico_bench.data.image_files import (
    UPRIGHT,
    Fit,
    ImageHeader,
    open_image,
    orient_boxes,
    to_rgb,
    turn_upright,
)
from lico_bench.errors import BrokenFileError

Corners = tuple[float, float, float, float]  # left, top, right, bottom in px, half-open
MASK_THRESHOLD = 128  # CUB mask values are the share of annotators who marked the pixel, times 255
BLUE_BACKGROUND = (0, 0, 254)  # background colour of the flower masks
BLUE_TOLERANCE = 60  # JPEG compression shifts the background colour
BOX_TAGS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class Boxes:
    """Bounding boxes of the object; empty if the image is not annotated."""

    corners: tuple[Corners, ...]


@dataclass(frozen=True)
class XmlBoxes:
    """Bounding boxes of one class in a PASCAL VOC annotation file, read on demand."""

    path: Path
    class_id: str

    @property
    def corners(self) -> tuple[Corners, ...]:
        """Return the boxes; none if the file does not exist."""
        # ImageNet annotates all validation images but only some training images.
        return read_xml_boxes(self.path, self.class_id) if self.path.is_file() else ()


@dataclass(frozen=True)
class MaskFile:
    """A mask image; `kind` is `grey` (bright pixels are the object) or `blue` (background)."""

    path: Path
    kind: str

    def read(self, height: int, width: int, orientation: int = UPRIGHT) -> Tensor:
        """Return the mask of an image stored with this size and orientation, upright, bool.

        Raises:
            MissingDataError: if the file does not exist.
            BrokenFileError: if it cannot be decoded or its size differs from the image's.
        """
        with open_image(self.path, str(self.path), "unpack the masks again", kind="mask") as image:
            if image.size != (width, height):
                raise BrokenFileError(
                    f"{self.path}: expected a mask of {width} x {height} px, the size of its "
                    f"image, got {image.width} x {image.height}; "
                    "unpack both from the official archives"
                )
            pixels = np.asarray(turn_upright(to_rgb(image), orientation))
        if self.kind == "grey":
            return torch.from_numpy(pixels.mean(-1) >= MASK_THRESHOLD)
        distance = np.abs(pixels.astype(np.int16) - np.array(BLUE_BACKGROUND, np.int16))
        return torch.from_numpy(distance.max(-1) > BLUE_TOLERANCE)


Region = Boxes | XmlBoxes | MaskFile


def fit_region(
    region: Region, fit: Fit, height: int, width: int, orientation: int = UPRIGHT
) -> Tensor:
    """Apply the image's transform to `region`; returns (S, S) bool.

    The result is all False if the crop removed the region.

    Args:
        height, width, orientation: of the stored image, see `image_files.ImageHeader`.
    """
    return fit_instances(region, fit, height, width, orientation).any(0)


def fit_instances(
    region: Region, fit: Fit, height: int, width: int, orientation: int = UPRIGHT
) -> Tensor:
    """Apply the image's transform to each object; returns (I, S, S) bool.

    Objects that the crop removed are left out. A mask counts as one object.
    """
    header = ImageHeader(height, width, orientation)
    if isinstance(region, MaskFile):
        objects = fit.apply_to_mask(region.read(height, width, orientation))[None]
    else:
        boxes = torch.tensor(region.corners, dtype=torch.float32).reshape(-1, 4)
        boxes = fit.apply_to_boxes(orient_boxes(boxes, header), *header.upright_size)
        # A pixel belongs to a box if its centre lies in it.
        centre = torch.arange(fit.size) + 0.5
        in_columns = (centre >= boxes[:, 0:1]) & (centre < boxes[:, 2:3])
        in_rows = (centre >= boxes[:, 1:2]) & (centre < boxes[:, 3:4])
        objects = in_rows[:, :, None] & in_columns[:, None, :]
    return objects[objects.flatten(1).any(1)]


def separates_objects(region: Region) -> bool:
    """Whether `region` separates several objects in one image: boxes do, masks do not."""
    return not isinstance(region, MaskFile)


def read_corners(values: Sequence[Any], location: str) -> Corners:
    """Convert four stored values to the corners of a box.

    Args:
        location: where the values were read, for messages.

    Raises:
        BrokenFileError: unless they are four finite numbers.
    """
    try:
        left, top, right, bottom = map(float, values)
    except (TypeError, ValueError):
        left = top = right = bottom = math.nan
    corners = (left, top, right, bottom)
    if not all(map(math.isfinite, corners)):
        raise BrokenFileError(
            f"{location}: expected four numbers for a box, got {values!r:.80}; "
            "unpack the official archive again"
        )
    return corners


def read_xml_boxes(path: Path, class_id: str) -> tuple[Corners, ...]:
    """Return the boxes of all objects named `class_id` in the annotation file `path`.

    Raises:
        BrokenFileError: if the file is not a PASCAL VOC annotation.
    """
    location = f"{path}: not an annotation with boxes"
    try:
        root = ElementTree.fromstring(path.read_bytes())
    except (ElementTree.ParseError, ValueError) as error:
        raise BrokenFileError(f"{location} ({error}); unpack it again") from error
    return tuple(
        read_corners([item.findtext(f"bndbox/{tag}", "missing") for tag in BOX_TAGS], location)
        for item in root.iter("object")
        if item.findtext("name") == class_id
    )
