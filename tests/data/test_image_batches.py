from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lico_bench.data import image_batches
from lico_bench.runtime import make_generator

ONE_STEP = 1  # of 255: rounding after interpolation


def random_images(num: int, size: int = 8) -> torch.Tensor:
    values = torch.randint(0, 256, (num, 3, size, size), generator=make_generator(0, "pictures"))
    return values.to(torch.uint8)


@given(seed=st.integers(0, 50), padding=st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_crop_is_a_window_of_the_padded_image(seed: int, padding: int) -> None:
    images = random_images(5)
    draws = image_batches.draw(5, make_generator(seed, "draws"))
    moved = image_batches.crop(images, draws, padding)
    for image, result, row in zip(images, moved, draws, strict=True):
        padded = torch.zeros(3, 8 + 2 * padding, 8 + 2 * padding, dtype=torch.uint8)
        padded[:, padding : padding + 8, padding : padding + 8] = image
        top, left = (int(float(v) * (2 * padding + 1)) for v in row[1:3])
        assert torch.equal(result, padded[:, top : top + 8, left : left + 8])


def test_crop_reaches_every_place_and_no_other() -> None:
    draws = image_batches.draw(4000, make_generator(0, "draws"))
    image = torch.zeros(1, 3, 9, 9, dtype=torch.uint8)
    image[0, :, 4, 4] = 1
    moved = image_batches.crop(image.expand(4000, -1, -1, -1), draws, 2)
    places = {tuple(p.tolist()) for p in moved[:, 0].nonzero()[:, 1:]}
    assert places == {(y, x) for y in range(2, 7) for x in range(2, 7)}


def test_flip_mirrors_half_of_the_images_and_leaves_the_rest() -> None:
    images = random_images(400)
    draws = image_batches.draw(400, make_generator(0, "draws"))
    flipped = image_batches.flip(images, draws)
    mirrored = (flipped == images.flip(-1)).flatten(1).all(1)
    same = (flipped == images).flatten(1).all(1)
    assert (mirrored ^ same).all()
    assert 150 < int(mirrored.sum()) < 250


@given(seed=st.integers(0, 200), height=st.integers(1, 60), width=st.integers(1, 60))
@settings(deadline=None)
def test_resized_crop_box_lies_in_the_image(seed: int, height: int, width: int) -> None:
    row = image_batches.draw(1, make_generator(seed, "draws"))[0]
    top, left, box_height, box_width = image_batches.crop_box(row, height, width)
    assert top >= 0
    assert left >= 0
    assert 1 <= box_height <= height - top
    assert 1 <= box_width <= width - left


def test_resized_crop_of_a_ramp_is_the_ramp_of_its_box() -> None:
    # Bilinear sampling is exact on a linear ramp, so values give the position of each source pixel.
    size = 64
    ramp = torch.arange(size).mul(3).to(torch.uint8).expand(6, 3, size, size).contiguous()
    draws = image_batches.draw(6, make_generator(2, "draws"))
    result = image_batches.resized_crop(ramp, draws)
    for image, row in zip(result, draws, strict=True):
        _, left, _, width = image_batches.crop_box(row, size, size)
        centres = left + (torch.arange(size) + 0.5) * width / size - 0.5
        expected = 3 * centres.clamp(0, size - 1)
        assert (image[0, size // 2].float() - expected).abs().max() <= ONE_STEP


def test_every_batch_draws_the_same_quantity() -> None:
    generator = make_generator(0, "draws")
    first = image_batches.draw(3, generator)
    second = image_batches.draw(2, generator)
    again = torch.rand(15, generator=make_generator(0, "draws")).reshape(3, 5)
    assert torch.equal(first, again)
    assert second.shape == (2, image_batches.DRAWS)
