from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as transforms

from lico_bench.data.image_files import Fit
from lico_bench.data.regions import (
    Boxes,
    MaskFile,
    XmlBoxes,
    fit_instances,
    fit_region,
    separates_objects,
)
from lico_bench.errors import BrokenFileError, MissingDataError

FITS = st.builds(
    Fit,
    size=st.sampled_from([32, 48]),
    mode=st.sampled_from(["crop", "squash"]),
    resize_frac=st.sampled_from([1.0, 1.142857]),
    cut_bottom_px=st.sampled_from([0, 20]),
)
# Interpolation blurs the border of the painted object by about a pixel on each side.
BORDER_PX = 1.0


@given(
    fit=FITS,
    height=st.integers(60, 120),
    width=st.integers(60, 160),
    left=st.integers(10, 30),
    top=st.integers(5, 15),
)
@settings(max_examples=40, deadline=None)
def test_box_and_image_move_together(
    fit: Fit, height: int, width: int, left: int, top: int
) -> None:
    right, bottom = left + 25, top + 18
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[top:bottom, left:right] = 255
    fitted = fit.apply(Image.fromarray(pixels), height, width)
    bright = torch.from_numpy(np.array(fitted))[..., 0] > 127
    region = fit_region(Boxes(((left, top, right, bottom),)), fit, height, width)
    assert region.shape == (fit.size, fit.size)
    assert edges(region) == pytest.approx(edges(bright), abs=BORDER_PX)


@given(
    fit=FITS,
    height=st.integers(60, 200),
    width=st.integers(60, 200),
    corners=st.tuples(*[st.floats(0, 200, width=32)] * 4),
)
@settings(max_examples=40, deadline=None)
def test_regions_are_fitted_as_torchvision_fits_them(
    fit: Fit, height: int, width: int, corners: tuple[float, float, float, float]
) -> None:
    left, right = sorted((min(corners[0], width), min(corners[2], width)))
    top, bottom = sorted((min(corners[1], height), min(corners[3], height)))
    box = (left, top, right, bottom)
    boxes = tv_tensors.BoundingBoxes(
        torch.tensor([box]), format="XYXY", canvas_size=(height, width)
    )
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[round(top) : round(bottom), round(left) : round(right)] = True

    def expected(region: torch.Tensor) -> torch.Tensor:
        region = transforms.crop(region, 0, 0, height - fit.cut_bottom_px, width)
        region = transforms.resize(region, list(fit.resized(height, width)))
        return transforms.center_crop(region, [fit.size, fit.size]).as_subclass(torch.Tensor)

    (left, top, right, bottom) = expected(boxes)[0]
    centre = torch.arange(fit.size) + 0.5
    rows, columns = (centre >= top) & (centre < bottom), (centre >= left) & (centre < right)
    assert torch.equal(fit_region(Boxes((box,)), fit, height, width), rows[:, None] & columns)
    assert torch.equal(fit.apply_to_mask(mask), expected(tv_tensors.Mask(mask)))


def edges(mask: torch.Tensor) -> tuple[float, float, float, float]:
    rows, columns = (mask.any(axis).nonzero().flatten().float() for axis in (1, 0))
    if not len(rows):
        return (0.0, 0.0, 0.0, 0.0)
    return tuple(float(v) for v in (rows.min(), rows.max(), columns.min(), columns.max()))  # type: ignore[return-value]


def test_region_outside_the_crop_is_empty() -> None:
    fit = Fit(32, "crop", 1.0, 0)
    assert not fit_region(Boxes(((0, 0, 20, 50),)), fit, 100, 300).any()
    assert fit_region(Boxes(((0, 0, 120, 50),)), fit, 100, 300).any()


def test_several_boxes_are_joined_and_none_is_empty() -> None:
    fit = Fit(32, "squash", 1.0, 0)
    region = fit_region(Boxes(((0, 0, 8, 8), (16, 16, 32, 32))), fit, 32, 32)
    assert int(region.sum()) == 8 * 8 + 16 * 16
    assert not fit_region(Boxes(()), fit, 32, 32).any()


def test_each_box_is_an_instance_unless_the_crop_left_nothing_of_it() -> None:
    boxes = Boxes(((0, 0, 10, 100), (110, 20, 150, 60), (140, 0, 190, 100)))
    fit = Fit(32, "crop", 1.0, 0)
    objects = fit_instances(boxes, fit, 100, 300)
    assert objects.shape == (2, 32, 32)  # the first lies left of the middle square
    assert torch.equal(objects.any(0), fit_region(boxes, fit, 100, 300))
    assert fit_instances(Boxes(()), fit, 100, 300).shape == (0, 32, 32)


def test_a_mask_is_one_instance_and_does_not_tell_objects_apart(tmp_path: Path) -> None:
    pixels = np.zeros((20, 20), dtype=np.uint8)
    pixels[2:6, 2:6] = pixels[10:18, 10:18] = 255
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    mask = MaskFile(tmp_path / "mask.png", "grey")
    fit = Fit(20, "squash", 1.0, 0)
    objects = fit_instances(mask, fit, 20, 20)
    assert objects.shape == (1, 20, 20)
    assert torch.equal(objects[0], fit_region(mask, fit, 20, 20))
    assert not separates_objects(mask)
    assert separates_objects(Boxes(()))


def test_xml_gives_the_boxes_of_its_class_alone(tmp_path: Path) -> None:
    path = tmp_path / "image.xml"
    boxes = [("cat", 0, 0, 8, 8), ("dog", 8, 8, 24, 32)]
    items = "".join(
        f"<object><name>{n}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax>"
        f"<ymax>{d}</ymax></bndbox></object>"
        for n, a, b, c, d in boxes
    )
    path.write_text(f"<annotation>{items}</annotation>")
    fit = Fit(32, "squash", 1.0, 0)
    assert int(fit_region(XmlBoxes(path, "dog"), fit, 32, 32).sum()) == 16 * 24
    assert not fit_region(XmlBoxes(tmp_path / "none.xml", "dog"), fit, 32, 32).any()


@pytest.mark.parametrize("text", ["<annotation>", "<a><object><name>dog</name></object></a>"])
def test_broken_xml_names_its_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "image.xml"
    path.write_text(text)
    with pytest.raises(BrokenFileError, match=r"image\.xml: not an annotation"):
        _ = XmlBoxes(path, "dog").corners


def test_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    Image.new("L", (20, 10), 255).save(path)
    with pytest.raises(BrokenFileError, match="expected a mask of 30 x 10 px"):
        MaskFile(path, "grey").read(10, 30)


def test_missing_and_broken_masks_name_their_file(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"mask\.png: mask missing"):
        MaskFile(tmp_path / "mask.png", "grey").read(10, 30)
    (tmp_path / "mask.png").write_bytes(b"not an image")
    with pytest.raises(BrokenFileError, match=r"mask\.png: cannot be decoded"):
        MaskFile(tmp_path / "mask.png", "grey").read(10, 30)
