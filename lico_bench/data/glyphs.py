"""Glyph masks of characters, rendered with the fonts shipped by matplotlib."""

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
MARGIN_PX = 2  # keeps the glyph away from the border, where bilinear sampling would smear it


def glyph_masks(characters: tuple[str, ...], font: str) -> Tensor:
    """Render glyphs, (G, 2, 64, 64) float32 coverage in [0, 1], centred and scaled to fit.

    Channel 0 holds the strokes, channel 1 the strokes with enclosed areas filled.

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
            f"font {font} has no glyph for {character!r}; choose another character in the card"
        )
    from scipy import ndimage  # a second to import

    glyph = canvas.crop(box)
    scale = (RASTER_PX - 2 * MARGIN_PX) / max(glyph.size)
    size = (max(1, round(glyph.width * scale)), max(1, round(glyph.height * scale)))
    glyph = glyph.resize(size, Image.Resampling.LANCZOS)
    raster = Image.new("L", (RASTER_PX, RASTER_PX))
    raster.paste(glyph, ((RASTER_PX - glyph.width) // 2, (RASTER_PX - glyph.height) // 2))
    strokes = np.array(raster)
    # The low threshold closes holes behind thin anti-aliased lines.
    filled = np.where(ndimage.binary_fill_holes(strokes > 64) & (strokes <= 64), 255, strokes)
    return torch.from_numpy(np.stack([strokes, filled])).float() / 255


def _is_missing(character: str, face: ImageFont.FreeTypeFont) -> bool:
    """Whether the font renders its placeholder glyph (U+FFFF is never assigned)."""
    return bytes(face.getmask(character)) == bytes(face.getmask("\uffff"))


def _font_file(font: str) -> Path:
    # Importing matplotlib takes longer than rendering a thousand scenes.
    spec = importlib.util.find_spec("matplotlib")
    if spec is None or spec.origin is None:
        raise MissingDataError(
            "stand-ins need the DejaVu fonts of matplotlib, which is not installed; "
            "install lico-bench with its dependencies"
        )
    path = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / f"{font}.ttf"
    if not path.is_file():
        raise MissingDataError(
            f"{path}: font missing; choose one of the fonts in {path.parent} in the card"
        )
    return path
