"""Images of every format, size, orientation and false header, with their regions."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from lico_bench.data import Dataset
from lico_bench.data.folder import load_folder
from lico_bench.data.image_files import MAX_PIXELS, FileImages, Fit
from lico_bench.data.regions import Boxes, MaskFile, fit_instances, fit_region
from lico_bench.errors import BrokenFileError, LicoBenchError

WIDTH, HEIGHT = 48, 32
BOX = (6, 4, 22, 12)  # left, top, right, bottom; nowhere symmetric
ATOL_JPEG = 8  # of 255, quality 95 without subsampling
WHOLE = Fit(32, "squash", 1.0, 0)


def scene() -> Image.Image:
    """A black image with a white rectangle at BOX."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    left, top, right, bottom = BOX
    pixels[top:bottom, left:right] = 255
    return Image.fromarray(pixels)


def opened(path: Path, fit: Fit = WHOLE) -> FileImages:
    return FileImages((path,), (path.name,), fit)


def stored(image: Image.Image, path: Path, orientation: int, **options: object) -> None:
    """Save the upright `image` with the given EXIF orientation."""
    inverse = {2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    rotated = image if orientation == 1 else image.transpose(turns[inverse[orientation]])
    rotated.save(path, exif=exif, **options)


def stored_box(path: Path) -> tuple[int, int, int, int]:
    """Return the rectangle in stored pixels; the decoder must not rotate the image."""
    with Image.open(path) as image:
        if image.format == "TIFF":
            with Image.open(path) as again:
                del again.tag_v2[0x0112]
                pixels = np.asarray(again.convert("L"))
        else:
            pixels = np.asarray(image.convert("L"))
    rows, columns = (pixels > 128).any(1).nonzero()[0], (pixels > 128).any(0).nonzero()[0]
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_image_and_region_are_turned_upright_together(tmp_path, orientation, suffix):
    path = tmp_path / f"a{suffix}"
    options = {".jpg": {"quality": 95, "subsampling": 0}, ".webp": {"lossless": True}}
    stored(scene(), path, orientation, **options.get(suffix, {}))
    left, top, right, bottom = stored_box(path)
    plain = tmp_path / "plain.png"
    scene().save(plain)
    expected = opened(plain).decode(0).int()
    images = opened(path)
    assert (images.decode(0).int() - expected).abs().max() <= ATOL_JPEG
    header = images.header(0)
    assert header.upright_size == (HEIGHT, WIDTH)
    upright = fit_region(Boxes((BOX,)), WHOLE, HEIGHT, WIDTH)
    turned = fit_region(Boxes(((left, top, right, bottom),)), WHOLE, *header)
    assert torch.equal(turned, upright)
    assert fit_instances(Boxes(((left, top, right, bottom),)), WHOLE, *header).shape[0] == 1
    mask = np.zeros((header.height, header.width), dtype=np.uint8)
    mask[top:bottom, left:right] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    marked = fit_region(MaskFile(tmp_path / "mask.png", "grey"), WHOLE, *header)
    assert (marked == upright).float().mean() > 0.99  # resized as pixels, not as corners


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_tiff_which_its_decoder_turns_is_turned_once(tmp_path, orientation):
    stored(scene(), tmp_path / "a.tif", orientation)
    scene().save(tmp_path / "plain.png")
    turned, plain = opened(tmp_path / "a.tif"), opened(tmp_path / "plain.png")
    assert torch.equal(turned.decode(0), plain.decode(0))
    assert turned.header(0).upright_size == (HEIGHT, WIDTH)


@pytest.mark.parametrize("crop", [None, torch.tensor([0.5, 0.5, 0.5, 0.5, 0.5])])
def test_training_crops_come_from_the_upright_image(tmp_path, crop):
    stored(scene(), tmp_path / "a.png", 6)
    scene().save(tmp_path / "plain.png")
    turned, plain = opened(tmp_path / "a.png"), opened(tmp_path / "plain.png")
    assert torch.equal(turned.decode(0, crop), plain.decode(0, crop))


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_invalid_orientation_is_ignored(tmp_path, value):
    exif = Image.Exif()
    exif[0x0112] = value
    scene().save(tmp_path / "a.png", exif=exif)
    assert opened(tmp_path / "a.png").header(0) == (HEIGHT, WIDTH, 1)


def png_of(width: int, height: int, *, kind: bytes = b"\x08\x02\0\0\0") -> bytes:
    """Return a PNG with the given size in its header and no valid pixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        body = name + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">II", width, height) + kind)
            + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b""))  # fmt: skip


def declared(kind: str, width: int, height: int) -> bytes:
    """Return a small image whose header declares another size."""
    stream = io.BytesIO()
    if kind == "PNG":
        return png_of(width, height)
    Image.new("RGB", (8, 8)).save(stream, format=kind)
    content = bytearray(stream.getvalue())
    if kind == "JPEG":
        at = content.index(b"\xff\xc0") + 5
        content[at : at + 4] = struct.pack(">HH", min(height, 65535), min(width, 65535))
    elif kind == "GIF":
        content[6:10] = struct.pack("<HH", min(width, 65535), min(height, 65535))
    elif kind == "BMP":
        content[18:26] = struct.pack("<ii", width, height)
    else:
        for tag, value in ((256, width), (257, height)):
            entry = struct.pack("<HHI", tag, 4, 1)
            short = struct.pack("<HHI", tag, 3, 1)
            at = content.find(entry) if entry in content else content.find(short)
            content[at : at + 12] = entry + struct.pack("<I", value)
    return bytes(content)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("size", [(9_000, 9_000), (60_000, 60_000)])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_giant_size_is_refused_before_it_is_decoded_and_the_file_is_named(tmp_path, kind, size):
    path = tmp_path / f"giant.{kind.lower()}"
    path.write_bytes(declared(kind, *size))
    assert path.stat().st_size < 10_000
    with pytest.raises(BrokenFileError, match=r"giant\.\w+: .*pixels"):
        opened(path).decode(0)
    with pytest.raises(BrokenFileError, match="giant"):
        opened(path).header(0)


def test_size_of_a_mask_is_limited_too(tmp_path):
    (tmp_path / "mask.png").write_bytes(declared("PNG", 60_000, 60_000))
    with pytest.raises(BrokenFileError, match=rf"mask\.png.*{MAX_PIXELS:,} pixels"):
        MaskFile(tmp_path / "mask.png", "grey").read(10, 10)


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (0, 0)])
def test_image_without_pixels_is_refused(tmp_path, size):
    (tmp_path / "a.png").write_bytes(png_of(*size))
    with pytest.raises(BrokenFileError, match=r"a\.png"):
        opened(tmp_path / "a.png").decode(0)


SHADES = np.tile(np.arange(0, 256, 8, dtype=np.uint8), (32, 1))


def grey_as(mode: str, path: Path) -> None:
    image = Image.fromarray(SHADES)
    if mode == "16 bits":
        image = Image.fromarray(SHADES.astype(np.uint16) * 257)
    elif mode == "16 bits, other order":
        path = path.with_suffix(".tif")
        Image.fromarray((SHADES.astype(">u2") * 257).astype(">u2")).save(path)
        return
    elif mode == "palette":
        image = image.convert("P")
    elif mode == "alpha":
        image = image.convert("LA")
    elif mode == "colours and alpha":
        image = image.convert("RGBA")
    elif mode == "colours":
        image = image.convert("RGB")
    image.save(path)


@pytest.mark.parametrize(
    "mode",
    ["grey", "16 bits", "16 bits, other order", "palette", "alpha", "colours and alpha", "colours"],
)
def test_same_shades_are_read_from_every_kind_of_pixels(tmp_path, mode):
    grey_as(mode, tmp_path / "a.png")
    (path,) = tmp_path.iterdir()
    found = opened(path).decode(0)
    assert torch.equal(found, torch.from_numpy(SHADES)[None].expand(3, -1, -1))


def test_sixteen_bits_of_a_portable_map_are_read_like_those_of_a_png(tmp_path):
    Image.fromarray(SHADES.astype(np.uint16) * 257).save(tmp_path / "a.pgm")
    assert torch.equal(opened(tmp_path / "a.pgm").decode(0)[0], torch.from_numpy(SHADES))


def test_single_bits_are_black_and_white(tmp_path):
    Image.fromarray(SHADES > 128).save(tmp_path / "a.png")
    found = opened(tmp_path / "a.png").decode(0)[1].numpy()
    np.testing.assert_array_equal(found, np.where(SHADES > 128, 255, 0))


def test_cmyk_becomes_the_colours_that_viewers_show(tmp_path):
    Image.new("RGB", (32, 32), (200, 40, 90)).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    found = opened(tmp_path / "a.jpg").decode(0).float().mean((1, 2))
    assert (found - torch.tensor([200.0, 40.0, 90.0])).abs().max() <= ATOL_JPEG


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_values_without_a_known_white_are_refused(tmp_path, dtype):
    Image.fromarray(SHADES.astype(dtype) * 10_000).save(tmp_path / "a.tif")
    with pytest.raises(BrokenFileError, match="32 bits"):
        opened(tmp_path / "a.tif").decode(0)


def test_palette_with_transparent_entries_gives_its_colours_without_a_warning(tmp_path):
    image = Image.fromarray(SHADES).convert("P")
    image.save(tmp_path / "a.png", transparency=bytes(range(256)))
    assert torch.equal(opened(tmp_path / "a.png").decode(0)[0], torch.from_numpy(SHADES))


def test_profile_of_another_colour_space_changes_no_value(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    Image.fromarray(SHADES).save(tmp_path / "a.png", icc_profile=profile)
    assert torch.equal(opened(tmp_path / "a.png").decode(0)[0], torch.from_numpy(SHADES))


def test_first_frame_of_a_moving_image_is_taken(tmp_path):
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    for suffix in ("gif", "png", "webp"):
        path = tmp_path / f"a.{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
        assert opened(path).decode(0)[0].float().mean() > 200, suffix


def test_format_is_detected_from_the_content_and_not_the_name(tmp_path):
    scene().save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert opened(tmp_path / "a.jpg").header(0) == (HEIGHT, WIDTH, 1)


@pytest.mark.parametrize(
    "content", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(x) print\n",
                b"\xd7\xcd\xc6\x9a" + bytes(40), b"<svg xmlns='http://www.w3.org/2000/svg'/>"],
)  # fmt: skip
def test_kinds_that_other_programs_would_decode_are_not_tried(tmp_path, content):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(BrokenFileError, match="unknown image format"):
        opened(tmp_path / "a.jpg").decode(0)


def test_size_of_rotated_user_images_is_the_upright_size(tmp_path):
    (tmp_path / "shown").mkdir()
    for number in range(2):
        stored(scene().resize((40, 40)), tmp_path / "shown" / f"{number}.png", 6)
    found = load_folder(tmp_path / "shown")
    assert isinstance(found.dataset, Dataset)
    assert found.dataset.image_size == (40, 40)


@pytest.mark.parametrize("name", ["a\x1b[2Jb.png", "a\nb.png", "\u202egnp.png"])
def test_user_image_with_control_characters_in_its_name_is_refused(tmp_path, name):
    folder = tmp_path / "p"
    folder.mkdir()
    scene().save(folder / "plain.png")
    (folder / "plain.png").rename(folder / name)
    with pytest.raises(LicoBenchError, match="control characters") as caught:
        load_folder(folder)
    assert not any(sign in str(caught.value) for sign in "\x1b\n\u202e")
