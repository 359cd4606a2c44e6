"""Synthetic scenes: the stand-in for a dataset that is not available.

A scene shows one glyph on a textured background with distractors. Position, size, rotation and
colour are random and independent of the class; the object's pixels are known exactly. In the
planted-cue variant a coloured disc beside the object determines the class and the object does
not, so the true reason for a decision is known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from lico_bench.data.cards import StandinFacts
from lico_bench.data.glyphs import glyph_masks
from lico_bench.runtime import make_generator

VERSION = 1  # part of every stand-in's fingerprint; increase it when scenes change
CHUNK = 64  # scenes per generator, so that scenes do not depend on the total number
OVERSAMPLING = 2
DISTRACTORS = ("■", "▲", "◆", "●", "◗", "▬", "○", "□", "△", "◇", "◢", "⬢")
DISTRACTORS_PER_SCENE = 3
OBJECT_SCALE = (0.50, 0.80)  # share of the image side
CONTRAST = 0.38  # minimum difference in luma between object and background
CUE_SCALE = 0.28
LUMA_WEIGHTS = (0.299, 0.587, 0.114)  # ITU-R BT.601


@dataclass(frozen=True)
class Scenes:
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
    chunks = [
        _draw_chunk(
            facts, size, variant, make_generator(0, f"standin:{name}:{split}:{variant}:{start}")
        )
        for start in range(0, total, CHUNK)
    ]
    images, labels, regions, objects = (
        torch.cat(tensors)[:total] for tensors in zip(*chunks, strict=True)
    )
    return Scenes(images, labels, regions, objects)


def _draw_chunk(
    facts: StandinFacts, size: int, variant: str, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw images, labels, regions and object masks of one chunk."""
    num_classes = len(facts.glyphs)
    # Classes are balanced within a chunk; the first class is random.
    start = torch.randint(num_classes, (1,), generator=generator)
    order = torch.randperm(CHUNK, generator=generator)
    labels = ((torch.arange(CHUNK) + start) % num_classes)[order]
    is_planted = variant == "planted_cue"
    glyphs = torch.randint(num_classes, (CHUNK,), generator=generator) if is_planted else labels
    canvas, background = _draw_backgrounds(size, generator)
    canvas = _add_distractors(canvas, generator)
    placement = _place_objects(facts, is_planted, generator)
    stroke_colour = _contrasting_colour(background, generator)
    if facts.neighbours:
        canvas = _add_neighbours(canvas, facts, glyphs, placement, stroke_colour, generator)
    coverage = _render(_glyph_shapes(facts, glyphs, generator), placement, size)
    body = coverage[:, 1:] if facts.filled else coverage[:, :1]
    canvas = _paint_object(canvas, coverage[:, :1], body, stroke_colour, generator)
    objects = body[:, 0] >= 0.5
    regions = objects
    if is_planted:
        canvas, cue = _add_cue(canvas, labels, num_classes, placement, generator)
        regions = cue[:, 0] >= 0.5
        objects = objects & ~regions
    grain = 0.02 * torch.randn(CHUNK, 1, size, size, generator=generator)
    images = ((canvas + grain).clamp(0, 1) * 255).round().to(torch.uint8)
    return images, labels, regions, objects


@dataclass(frozen=True)
class _Placement:
    """Positions of shapes.

    Attributes:
        centre: (n, 2), x and y in [-1, 1].
        scale: (n,), share of the image side.
        angle: (n,), radians.
    """

    centre: Tensor
    scale: Tensor
    angle: Tensor


def _draw_backgrounds(size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return textured backgrounds (n, 3, S, S) and their mean colours (n, 3)."""
    colour = _uniform((CHUNK, 1), 0.2, 0.8, generator) + _uniform((CHUNK, 3), -0.2, 0.2, generator)
    canvas = colour.clamp(0, 1)[:, :, None, None]
    for cells, amplitude in ((3, 0.12), (9, 0.08)):
        # Brightness varies more than colour, as in photographs.
        noise = torch.randn(CHUNK, 1, cells, cells, generator=generator)
        noise = noise + 0.4 * torch.randn(CHUNK, 3, cells, cells, generator=generator)
        canvas = canvas + amplitude * functional.interpolate(
            noise, size=(size, size), mode="bicubic", align_corners=False
        )
    angle = _uniform((CHUNK, 1, 1), 0, math.pi, generator)
    waves = _uniform((CHUNK, 1, 1), 2, 7, generator)
    strength = _uniform((CHUNK, 1, 1), 0, 0.12, generator)
    axis = torch.linspace(-1, 1, size)
    along = torch.cos(angle) * axis[None, None, :] + torch.sin(angle) * axis[None, :, None]
    stripes = strength * torch.sin(math.pi * waves * along)
    return (canvas + stripes[:, None]).clamp(0, 1), colour


def _add_distractors(canvas: Tensor, generator: torch.Generator) -> Tensor:
    shapes = glyph_masks(DISTRACTORS, "DejaVuSans")[:, :1]
    for _ in range(DISTRACTORS_PER_SCENE):
        index = torch.randint(len(shapes), (CHUNK,), generator=generator)
        placement = _Placement(
            _uniform((CHUNK, 2), -1, 1, generator),
            _uniform((CHUNK,), 0.12, 0.34, generator),
            _uniform((CHUNK,), 0, 2 * math.pi, generator),
        )
        colour = _uniform((CHUNK, 3), 0.1, 0.9, generator)[:, :, None, None]
        opacity = _uniform((CHUNK, 1, 1, 1), 0.4, 0.8, generator)
        coverage = _render(shapes[index], placement, canvas.shape[-1])
        canvas = torch.lerp(canvas, colour, opacity * coverage)
    return canvas


def _place_objects(facts: StandinFacts, is_planted: bool, generator: torch.Generator) -> _Placement:
    low, high = OBJECT_SCALE
    scale = _uniform((CHUNK,), low, 0.62 if is_planted else high, generator)
    max_shift = 1 - scale  # keeps the object within the image
    # With neighbours, the labelled digit stays near the centre.
    max_shift = max_shift * (0.4 if facts.neighbours else 1.0)
    centre = _uniform((CHUNK, 2), -1, 1, generator) * max_shift[:, None]
    max_angle = math.radians(facts.rotation_deg)
    return _Placement(centre, scale, _uniform((CHUNK,), -max_angle, max_angle, generator))


def _contrasting_colour(colour: Tensor, generator: torch.Generator) -> Tensor:
    """Draw colours (n, 3) of random hue whose luma differs from `colour` by at least CONTRAST."""
    weights = torch.tensor(LUMA_WEIGHTS)
    luma = colour @ weights
    share = _uniform((CHUNK,), 0, 1, generator)
    lighter = (luma < 0.5).float()
    target = lighter * (luma + CONTRAST + share * (1 - CONTRAST - luma).clamp(min=0))
    target = target + (1 - lighter) * (luma - CONTRAST) * (1 - share)
    chroma = _uniform((CHUNK, 3), 0, 1, generator)
    chroma = chroma - (chroma @ weights)[:, None]
    return (target[:, None] + 0.5 * chroma).clamp(0, 1)


def _add_neighbours(
    canvas: Tensor,
    facts: StandinFacts,
    glyphs: Tensor,
    placement: _Placement,
    colour: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Add glyphs of other classes left and right of the object, clipped by the border."""
    num_classes = len(facts.glyphs)
    for side in (-1.0, 1.0):
        offsets = torch.randint(1, num_classes, (CHUNK,), generator=generator)
        neighbours = (glyphs + offsets) % num_classes
        gap = _uniform((CHUNK,), 1.15, 1.45, generator) * placement.scale
        shift = torch.stack([side * gap, torch.zeros(CHUNK)], dim=1)
        shifted = _Placement(placement.centre + shift, placement.scale, placement.angle)
        is_present = (torch.rand(CHUNK, generator=generator) < 0.5).float()[:, None, None, None]
        shapes = _glyph_shapes(facts, neighbours, generator)[:, :1]
        alpha = is_present * _render(shapes, shifted, canvas.shape[-1])
        canvas = torch.lerp(canvas, colour[:, :, None, None], alpha)
    return canvas


def _glyph_shapes(facts: StandinFacts, classes: Tensor, generator: torch.Generator) -> Tensor:
    """Return strokes and filled outlines (n, 2, R, R) of `classes`, each in a random font."""
    characters = tuple(facts.glyphs.values())
    masks = torch.stack([glyph_masks(characters, font) for font in facts.fonts])
    return masks[torch.randint(len(masks), (CHUNK,), generator=generator), classes]


def _paint_object(
    canvas: Tensor,
    strokes: Tensor,
    body: Tensor,
    stroke_colour: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Paint the objects: soft shadow, body and strokes, with a vertical shading gradient."""
    size = canvas.shape[-1]
    kernel = size // 16 * 2 + 1
    shadow = functional.avg_pool2d(body, kernel, stride=1, padding=kernel // 2)
    canvas = canvas * (1 - 0.25 * torch.roll(shadow, (size // 32, size // 32), (2, 3)))
    slope = _uniform((CHUNK, 1, 1, 1), -0.12, 0.12, generator)
    shade = slope * torch.linspace(-1, 1, size)[None, None, :, None]
    fill = _contrasting_colour(stroke_colour, generator)
    canvas = torch.lerp(canvas, (fill[:, :, None, None] + shade).clamp(0, 1), body)
    return torch.lerp(canvas, (stroke_colour[:, :, None, None] + shade).clamp(0, 1), strokes)


def _add_cue(
    canvas: Tensor,
    labels: Tensor,
    num_classes: int,
    placement: _Placement,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Add a ringed disc whose hue encodes the class; also returns its coverage (n, 1, S, S)."""
    # The corner opposite the object, so that disc and object rarely overlap.
    corner = -torch.sign(placement.centre + 1e-6)
    centre = corner * _uniform((CHUNK, 2), 1 - 1.6 * CUE_SCALE, 1 - CUE_SCALE, generator)
    x, y = _offsets(centre, canvas.shape[-1])
    distance = torch.sqrt(x**2 + y**2)[:, None]
    cue = _downsample((distance < CUE_SCALE).float())
    disc = _downsample((distance < 0.72 * CUE_SCALE).float())
    angle = 2 * math.pi * (labels / num_classes)[:, None] - torch.arange(3) * 2 * math.pi / 3
    colour = (0.5 + 0.5 * torch.cos(angle))[:, :, None, None]
    return torch.lerp(canvas, torch.lerp(torch.ones_like(colour), colour, disc), cue), cue


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


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)
