"""Synthetic scenes: the stand-in for a dataset that is not available.

A scene shows one glyph on a textured background with distractors. Position, size, rotation and
colour are random and independent of the class; the object's pixels are known exactly. In the
planted-cue variant a coloured disc beside the object determines the class and the object does
not, so the true reason for a decision is known.
"""

from __future__ import annotations

import math
from functools import lru_cache
from importlib.metadata import distribution
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional

from lico_bench.data.cards import StandinFacts
from lico_bench.errors import BrokenFileError, MissingDataError
from lico_bench.runtime import make_generator

VERSION = 1  # part of every stand-in's fingerprint; increase it when scenes change
CHUNK = 64  # scenes per generator, so that scenes do not depend on the total number
OVERSAMPLING = 2
DISTRACTORS = ("■", "▲", "◆", "●", "◗", "▬", "○", "□", "△", "◇", "◢", "⬢")
DISTRACTORS_PER_SCENE = 3
OBJECT_SCALE = (0.50, 0.80)  # share of the image side
CONTRAST = 0.38  # minimum difference in luma between object and background
CUE_SCALE = 0.28
RASTER_PX = 64  # of a rendered glyph
MARGIN_PX = 2  # keeps the glyph away from the border, where bilinear sampling would smear it
LUMA_WEIGHTS = (0.299, 0.587, 0.114)  # ITU-R BT.601


class Scenes(NamedTuple):
    """A split of synthetic scenes.

    Attributes:
        images: (N, 3, S, S) uint8.
        labels: (N,) int64.
        regions: (N, S, S) bool, the pixels that determine the class: the object or planted cue.
        objects: (N, S, S) bool, the visible part of the glyph.
    """

    images: Tensor
    labels: Tensor
    regions: Tensor
    objects: Tensor


def draw_scenes(
    name: str,
    facts: StandinFacts,
    split: str,
    *,
    image_size: int | None = None,
    variant: str = "plain",
    count: int | None = None,
) -> Scenes:
    """Draw the scenes of `split`; they are the same on every machine.

    Args:
        name: the dataset; part of the random seed.
        facts: the card's stand-in settings.
        image_size: px; None means the card's.
        variant: `plain` or `planted_cue`.
        count: number of scenes; None means the card's. Earlier scenes do not depend on it.
    """
    size = image_size or facts.image_size
    total = count or {"train": facts.train, "test": facts.test}[split]
    chunks = []
    for start in range(0, total, CHUNK):
        generator = make_generator(0, f"standin:{name}:{split}:{variant}:{start}")
        chunks.append(_Chunk(facts, size, generator).draw(is_planted=variant == "planted_cue"))
    return Scenes(*(torch.cat(tensors)[:total] for tensors in zip(*chunks, strict=True)))


def scene_labels(name: str, facts: StandinFacts) -> Tensor:
    """Return the labels of the plain training scenes without drawing them, (N,) int64."""
    labels = [
        _draw_labels(len(facts.glyphs), make_generator(0, f"standin:{name}:train:plain:{start}"))
        for start in range(0, facts.train, CHUNK)
    ]
    return torch.cat(labels)[: facts.train]


def _draw_labels(num_classes: int, generator: torch.Generator) -> Tensor:
    """Draw the labels of a chunk: classes are balanced, the first class is random."""
    start = torch.randint(num_classes, (1,), generator=generator)
    order = torch.randperm(CHUNK, generator=generator)
    return ((torch.arange(CHUNK) + start) % num_classes)[order]


class _Placement(NamedTuple):
    """Positions of shapes.

    Attributes:
        centre: (n, 2), x and y in [-1, 1].
        scale: (n,), share of the image side.
        angle: (n,), radians.
    """

    centre: Tensor
    scale: Tensor
    angle: Tensor


class _Chunk:
    """Draws n = CHUNK scenes on one canvas (n, 3, S, S) with values in [0, 1]."""

    def __init__(self, facts: StandinFacts, size: int, generator: torch.Generator) -> None:
        self.facts, self.size, self.generator = facts, size, generator
        self.canvas = torch.empty(0)

    def draw(self, *, is_planted: bool) -> Scenes:
        num_classes = len(self.facts.glyphs)
        labels = _draw_labels(num_classes, self.generator)
        glyphs = self._integers(0, num_classes) if is_planted else labels
        background = self._paint_background()
        self._add_distractors()
        placement = self._place_objects(is_planted)
        stroke_colour = self._contrasting_colour(background)
        if self.facts.neighbours:
            self._add_neighbours(glyphs, placement, stroke_colour)
        coverage = _render(self._glyph_shapes(glyphs), placement, self.size)
        body = coverage[:, 1:] if self.facts.filled else coverage[:, :1]
        self._paint_object(coverage[:, :1], body, stroke_colour)
        objects = body[:, 0] >= 0.5
        regions = objects
        if is_planted:
            regions = self._add_cue(labels, placement)[:, 0] >= 0.5
            objects = objects & ~regions
        grain = 0.02 * torch.randn(CHUNK, 1, self.size, self.size, generator=self.generator)
        images = ((self.canvas + grain).clamp(0, 1) * 255).round().to(torch.uint8)
        return Scenes(images, labels, regions, objects)

    def _paint_background(self) -> Tensor:
        """Paint textured backgrounds and return their mean colours (n, 3)."""
        colour = self._uniform(0.2, 0.8, 1) + self._uniform(-0.2, 0.2, 3)
        canvas = colour.clamp(0, 1)[:, :, None, None]
        for cells, amplitude in ((3, 0.12), (9, 0.08)):
            # Brightness varies more than colour, as in photographs.
            noise = torch.randn(CHUNK, 1, cells, cells, generator=self.generator)
            noise = noise + 0.4 * torch.randn(CHUNK, 3, cells, cells, generator=self.generator)
            canvas = canvas + amplitude * functional.interpolate(
                noise, size=(self.size, self.size), mode="bicubic", align_corners=False
            )
        angle = self._uniform(0, math.pi, 1, 1)
        waves = self._uniform(2, 7, 1, 1)
        strength = self._uniform(0, 0.12, 1, 1)
        axis = torch.linspace(-1, 1, self.size)
        along = torch.cos(angle) * axis[None, None, :] + torch.sin(angle) * axis[None, :, None]
        stripes = strength * torch.sin(math.pi * waves * along)
        self.canvas = (canvas + stripes[:, None]).clamp(0, 1)
        return colour

    def _add_distractors(self) -> None:
        shapes = glyph_masks(DISTRACTORS, "DejaVuSans")[:, :1]
        for _ in range(DISTRACTORS_PER_SCENE):
            index = self._integers(0, len(shapes))
            placement = _Placement(
                self._uniform(-1, 1, 2), self._uniform(0.12, 0.34), self._uniform(0, 2 * math.pi)
            )
            colour = self._uniform(0.1, 0.9, 3)
            opacity = self._uniform(0.4, 0.8, 1, 1, 1)
            self._paint(colour, opacity * _render(shapes[index], placement, self.size))

    def _place_objects(self, is_planted: bool) -> _Placement:
        low, high = OBJECT_SCALE
        scale = self._uniform(low, 0.62 if is_planted else high)
        max_shift = 1 - scale  # keeps the object within the image
        # With neighbours, the labelled digit stays near the centre.
        max_shift = max_shift * (0.4 if self.facts.neighbours else 1.0)
        centre = self._uniform(-1, 1, 2) * max_shift[:, None]
        max_angle = math.radians(self.facts.rotation_deg)
        return _Placement(centre, scale, self._uniform(-max_angle, max_angle))

    def _contrasting_colour(self, colour: Tensor) -> Tensor:
        """Draw colours (n, 3) of random hue whose luma differs by CONTRAST or more."""
        weights = torch.tensor(LUMA_WEIGHTS)
        luma = colour @ weights
        share = self._uniform(0, 1)
        lighter = (luma < 0.5).float()
        target = lighter * (luma + CONTRAST + share * (1 - CONTRAST - luma).clamp(min=0))
        target = target + (1 - lighter) * (luma - CONTRAST) * (1 - share)
        chroma = self._uniform(0, 1, 3)
        chroma = chroma - (chroma @ weights)[:, None]
        return (target[:, None] + 0.5 * chroma).clamp(0, 1)

    def _add_neighbours(self, glyphs: Tensor, placement: _Placement, colour: Tensor) -> None:
        """Add glyphs of other classes left and right of the object, clipped by the border."""
        num_classes = len(self.facts.glyphs)
        for side in (-1.0, 1.0):
            neighbours = (glyphs + self._integers(1, num_classes)) % num_classes
            gap = self._uniform(1.15, 1.45) * placement.scale
            shift = torch.stack([side * gap, torch.zeros(CHUNK)], dim=1)
            shifted = placement._replace(centre=placement.centre + shift)
            is_present = (torch.rand(CHUNK, generator=self.generator) < 0.5).float()
            shapes = self._glyph_shapes(neighbours)[:, :1]
            alpha = is_present[:, None, None, None] * _render(shapes, shifted, self.size)
            self._paint(colour, alpha)

    def _glyph_shapes(self, classes: Tensor) -> Tensor:
        """Return strokes and filled outlines (n, 2, R, R) of `classes`, each in a random font."""
        characters = tuple(self.facts.glyphs.values())
        masks = torch.stack([glyph_masks(characters, font) for font in self.facts.fonts])
        return masks[self._integers(0, len(masks)), classes]

    def _paint_object(self, strokes: Tensor, body: Tensor, stroke_colour: Tensor) -> None:
        """Paint the objects: soft shadow, body and strokes, with a vertical shading gradient."""
        size = self.size
        kernel = size // 16 * 2 + 1
        shadow = functional.avg_pool2d(body, kernel, stride=1, padding=kernel // 2)
        shadow = torch.roll(shadow, (size // 32, size // 32), (2, 3))
        self.canvas = self.canvas * (1 - 0.25 * shadow)
        slope = self._uniform(-0.12, 0.12, 1, 1, 1)
        shade = slope * torch.linspace(-1, 1, size)[None, None, :, None]
        fill = self._contrasting_colour(stroke_colour)
        self._paint(fill, body, shade)
        self._paint(stroke_colour, strokes, shade)

    def _add_cue(self, labels: Tensor, placement: _Placement) -> Tensor:
        """Add a ringed disc whose hue encodes the class; returns its coverage (n, 1, S, S)."""
        # The corner opposite the object, so that disc and object rarely overlap.
        corner = -torch.sign(placement.centre + 1e-6)
        centre = corner * self._uniform(1 - 1.6 * CUE_SCALE, 1 - CUE_SCALE, 2)
        x, y = _offsets(centre, self.size)
        distance = torch.sqrt(x**2 + y**2)[:, None]
        cue = _downsample((distance < CUE_SCALE).float())
        disc = _downsample((distance < 0.72 * CUE_SCALE).float())
        share = (labels / len(self.facts.glyphs))[:, None]
        angle = 2 * math.pi * share - torch.arange(3) * 2 * math.pi / 3
        colour = (0.5 + 0.5 * torch.cos(angle))[:, :, None, None]
        ringed = torch.lerp(torch.ones_like(colour), colour, disc)
        self.canvas = torch.lerp(self.canvas, ringed, cue)
        return cue

    def _paint(self, colour: Tensor, coverage: Tensor, shade: Tensor | None = None) -> None:
        """Blend colours (n, 3) into the canvas by coverage (n, 1, S, S)."""
        plane = colour[:, :, None, None]
        plane = plane if shade is None else (plane + shade).clamp(0, 1)
        self.canvas = torch.lerp(self.canvas, plane, coverage)

    def _uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Draw (n, *shape) values uniform in [low, high)."""
        return low + (high - low) * torch.rand((CHUNK, *shape), generator=self.generator)

    def _integers(self, low: int, high: int) -> Tensor:
        """Draw (n,) integers uniform in [low, high)."""
        return torch.randint(low, high, (CHUNK,), generator=self.generator)


def _render(shapes: Tensor, placement: _Placement, size: int) -> Tensor:
    """Rotate, scale and move `shapes` (n, c, R, R); returns coverage (n, c, S, S)."""
    x, y = _offsets(placement.centre, size)
    cos = (torch.cos(placement.angle) / placement.scale)[:, None, None]
    sin = (torch.sin(placement.angle) / placement.scale)[:, None, None]
    # Written out: a batched product of such small matrices takes three times as long.
    grid = torch.stack([cos * x + sin * y, cos * y - sin * x], dim=-1)
    return _downsample(functional.grid_sample(shapes, grid, align_corners=False))


def _offsets(centre: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return x (n, 1, F) and y (n, F, 1) of oversampled pixels relative to `centre` (n, 2)."""
    fine = size * OVERSAMPLING
    axis = (torch.arange(fine) + 0.5) / fine * 2 - 1
    x = axis[None, None, :] - centre[:, 0, None, None]
    y = axis[None, :, None] - centre[:, 1, None, None]
    return x, y


def _downsample(canvas: Tensor) -> Tensor:
    return functional.avg_pool2d(canvas, OVERSAMPLING)


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
    # U+FFFF is never assigned, so the font renders its placeholder.
    is_missing = bytes(face.getmask(character)) == bytes(face.getmask("\uffff"))
    if box is None or is_missing:
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


def _font_file(font: str) -> Path:
    # Importing matplotlib takes longer than rendering a thousand scenes.
    fonts = distribution("matplotlib").locate_file("matplotlib/mpl-data/fonts/ttf")
    path = Path(str(fonts)) / f"{font}.ttf"
    if not path.is_file():
        raise MissingDataError(
            f"{path}: font missing; choose one of the fonts in {path.parent} in the card"
        )
    return path
