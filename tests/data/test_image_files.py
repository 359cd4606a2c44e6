from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as transforms

from lico_bench.data import image_files as module
from lico_bench.data.image_batches import draw
from lico_bench.data.image_files import ArrayImages, FileImages, Fit
from lico_bench.errors import BrokenFileError, MissingDataError
from lico_bench.runtime import make_generator
from tests.data.miniatures import paint

CPU = torch.device("cpu")
# Decoding at half scale averages blocks in the frequency domain, resizing averages pixels.
ATOL_DRAFT = 12


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, ...]:
    paths = tuple(tmp_path / f"{i}.jpg" for i in range(30))
    for i, path in enumerate(paths):
        paint(path, seed=i)
    return paths


def open_files(files: tuple[Path | bytes, ...], size: int = 32) -> FileImages:
    fit = Fit(size, "crop", 1.142857, 0)
    return FileImages(files, tuple(f"image {i}" for i in range(len(files))), fit)


def test_stream_is_the_same_for_every_number_of_workers(
    files: tuple[Path, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    results = []
    for count in (1, 4):
        monkeypatch.setattr(module, "num_workers", lambda count=count: count)
        generator = make_generator(0, "crops")
        steps = [(order, draw(len(order), generator)) for order in torch.arange(30).split(11)]
        results.append(torch.cat(list(open_files(files).stream(steps, CPU))))
    assert torch.equal(*results)
    assert results[0].shape == (30, 3, 32, 32)


def test_second_reading_comes_from_memory_and_is_equal(files: tuple[Path, ...]) -> None:
    images = open_files(files)
    first = images.take(torch.arange(30))
    for path in files:
        path.unlink()
    assert torch.equal(images.take(torch.tensor([7, 3])), first[[7, 3]])


def test_memory_stays_bounded_when_images_exceed_the_cache(
    files: tuple[Path, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = open_files(files).take(torch.arange(30))
    monkeypatch.setattr(module, "CACHE_BYTES", 10)
    images = open_files(files)
    assert torch.equal(images.take(torch.arange(30)), expected)
    assert images._cache is None


def test_decoding_at_reduced_scale_gives_nearly_the_same_image(tmp_path: Path) -> None:
    # A smooth image: on noise two ways of averaging differ for good reason.
    y, x = np.mgrid[0:400, 0:600]
    smooth = np.stack([x / 600, y / 400, (x + y) / 1000], axis=-1) * 255
    path = tmp_path / "smooth.jpg"
    Image.fromarray(smooth.astype(np.uint8)).save(path, quality=95)
    fit = Fit(32, "crop", 1.142857, 0)
    slow = fit.apply(Image.open(path).convert("RGB"), 400, 600)
    fast = FileImages((path,), ("a",), fit).decode(0)
    difference = fast.permute(1, 2, 0).int() - torch.from_numpy(np.array(slow)).int()
    assert difference.abs().max() <= ATOL_DRAFT


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "I;16"])
def test_every_colour_mode_becomes_three_channels(tmp_path: Path, mode: str) -> None:
    name = "a.tif" if mode in ("CMYK", "I;16") else "a.png"
    Image.new(mode, (50, 40)).save(tmp_path / name)
    assert open_files((tmp_path / name,)).take(torch.tensor([0])).shape == (1, 3, 32, 32)


def test_encoded_bytes_are_read_like_files(files: tuple[Path, ...]) -> None:
    encoded = open_files(tuple(path.read_bytes() for path in files))
    every = torch.arange(30)
    assert torch.equal(encoded.take(every), open_files(files).take(every))


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "it is empty"), (b"<html>gone</html>", "unknown image format"), ("half", "truncated")],
)
def test_broken_file_is_named_with_a_remedy(
    files: tuple[Path, ...], content: bytes | str, reason: str
) -> None:
    whole = files[4].read_bytes()
    files[4].write_bytes(whole[: len(whole) // 2] if content == "half" else content)  # type: ignore[arg-type]
    with pytest.raises(BrokenFileError, match=reason) as caught:
        open_files(files).take(torch.arange(30))
    assert str(files[4]) in str(caught.value)
    assert "--skip-broken" in str(caught.value)


def test_missing_file_is_named(files: tuple[Path, ...]) -> None:
    files[2].unlink()
    with pytest.raises(MissingDataError, match=r"2\.jpg: image missing"):
        open_files(files).take(torch.tensor([2]))


def test_broken_bytes_are_named_by_image() -> None:
    with pytest.raises(BrokenFileError, match="image 0: cannot be decoded"):
        open_files((b"nothing",)).take(torch.tensor([0]))


def test_stream_given_up_early_ends_its_workers(files: tuple[Path, ...]) -> None:
    stream = open_files(files).stream(((torch.arange(30), None) for _ in range(100)), CPU)
    assert next(stream).shape[0] == 30
    stream.close()  # type: ignore[attr-defined]
    with pytest.raises(StopIteration):
        next(stream)


def test_array_images_are_gathered_and_cut_out() -> None:
    pixels = torch.arange(4, dtype=torch.uint8)[:, None, None, None].expand(4, 3, 5, 6).contiguous()
    images = ArrayImages(pixels)
    assert images.size == (5, 6)
    assert images.take(torch.tensor([3, 1]))[:, 0, 0, 0].tolist() == [3, 1]
    assert images.subset(torch.tensor([2])).take(torch.tensor([0]))[0, 0, 0, 0] == 2


@pytest.mark.parametrize("fit", [Fit(32, "crop", 1.142857, 0), Fit(24, "squash", 1.0, 7)])
@pytest.mark.parametrize("side", [(40, 61), (97, 33), (32, 32), (25, 90)])
def test_files_are_fitted_as_torchvision_fits_their_pixels(fit: Fit, side: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*side, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    expected = image
    if fit.cut_bottom_px:
        expected = transforms.crop(expected, 0, 0, side[0] - fit.cut_bottom_px, side[1])
    expected = transforms.resize(expected, list(fit.resized(*side)), antialias=True)
    expected = transforms.center_crop(expected, [fit.size, fit.size])
    assert np.array_equal(np.asarray(fit.apply(image, *side)), np.asarray(expected))
