"""Shapes of characters, drawn large with a font that comes with a package we need anyway."""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from lico_bench.errors import BrokenFileError, MissingDataError

RASTER_PX = 64
MARGIN_PX = 2  # keeps bilinear sampling at the border from smearing the shape outwards


def glyph_masks(characters: tuple[str, ...], font: str) -> Tensor:
    """(G, 2, 64, 64) float32 coverage in [0, 1], each shape centred and as large as fits.

    Channel 0 holds the strokes, channel 1 the same with everything they enclose filled.

    Raises:
        MissingDataError: if the font is not installed.
        BrokenFileError: if the font has no such character.
    """
    return torch.stack([_glyph_mask(character, font) for character in characters])


@lru_cache(maxsize=512)
def _glyph_mask(character: str, font: str) -> Tensor:
    face = ImageFont.truetype(str(_font_file(font)), 2 * RASTER_PX)
    left, top, right, bottom = (round(v) for v in face.getbbox(character))
    canvas = Image.new("L", (max(1, right - left), max(1, bottom - top)))
    ImageDraw.Draw(canvas).text((-left, -top), character, fill=255, font=face)
    box = canvas.getbbox()
    if box is None or _is_missing(character, face):
        raise BrokenFileError(
            f"font {font} has no shape for {character!r}; choose another character in the card"
        )
    from scipy import ndimage  # a second to import

    shape = canvas.crop(box)
    room = RASTER_PX - 2 * MARGIN_PX
    scale = room / max(shape.size)
    size = (max(1, round(shape.width * scale)), max(1, round(shape.height * scale)))
    shape = shape.resize(size, Image.Resampling.LANCZOS)
    out = Image.new("L", (RASTER_PX, RASTER_PX))
    out.paste(shape, ((RASTER_PX - shape.width) // 2, (RASTER_PX - shape.height) // 2))
    strokes = np.array(out)
    # Faint strokes still enclose: a hole must not leak through an anti-aliased line.
    filled = np.where(ndimage.binary_fill_holes(strokes > 64) & (strokes <= 64), 255, strokes)
    return torch.from_numpy(np.stack([strokes, filled])).float() / 255


def _is_missing(character: str, face: ImageFont.FreeTypeFont) -> bool:
    """Whether the font draws its box for unknown characters (U+FFFF is never assigned)."""
    return bytes(face.getmask(character)) == bytes(face.getmask("\uffff"))


def _font_file(font: str) -> Path:
    # Looked up without importing matplotlib, which takes longer than drawing a thousand scenes.
    spec = importlib.util.find_spec("matplotlib")
    if spec is None or spec.origin is None:
        raise MissingDataError(
            "stand-ins are drawn with the DejaVu fonts of matplotlib, which is not installed; "
            "install lico-bench with its dependencies"
        )
    path = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / f"{font}.ttf"
    if not path.is_file():
        raise MissingDataError(f"{path}: font missing; choose one of those beside it in the card")
    return path
