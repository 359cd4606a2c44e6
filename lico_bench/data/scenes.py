"""Drawn scenes that stand in for a dataset that is not there.

One nameable glyph on textured clutter with distractors; place, size, turn and colour are random and
tell nothing of the class, and the object's pixels are known exactly. In the planted-cue variant a
coloured mark beside the object tells the class and the object does not, so the true reason for a
decision is known.
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

VERSION = 1  # part of every stand-in's fingerprint: raise it when scenes look different
CHUNK = 64  # scenes per generator, so that the first scenes do not depend on how many follow
OVERSAMPLING = 2
DISTRACTORS = ("■", "▲", "◆", "●", "◗", "▬", "○", "□", "△", "◇", "◢", "⬢")
DISTRACTORS_PER_SCENE = 3
OBJECT_SCALE = (0.50, 0.80)  # of the shorter side
CONTRAST = 0.38  # least difference of brightness between object and ground
CUE_SCALE = 0.28
RED_GREEN_BLUE = (0.299, 0.587, 0.114)  # brightness of a colour, ITU-R BT.601


@dataclass(frozen=True)
class Scenes:
    """A split of drawn scenes.

    Attributes:
        images: (N, 3, S, S) uint8.
        labels: (N,) int64.
        regions: (N, S, S) bool, what decides the class: the object, or the planted mark.
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
    """The scenes of `split`, the same on every machine.

    Args:
        name: the dataset, which the random numbers depend on.
        facts: what is drawn; from the card.
        image_size: px; None takes the card's.
        variant: `plain` or `planted_cue`.
        count: how many; None takes the card's. The first ones do not depend on it.
    """
    size = image_size or facts.image_size
    total = count or {"train": facts.train, "test": facts.test}[split]
    parts = [
        _draw_chunk(
            facts, size, variant, make_generator(0, f"standin:{name}:{split}:{variant}:{start}")
        )
        for start in range(0, total, CHUNK)
    ]
    images, labels, regions, objects = (
        torch.cat(part)[:total] for part in zip(*parts, strict=True)
    )
    return Scenes(images, labels, regions, objects)


def _draw_chunk(
    facts: StandinFacts, size: int, variant: str, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images, labels, regions and object masks of one chunk."""
    num_classes = len(facts.glyphs)
    # A chunk is balanced as far as it goes; where it starts in the round of classes is random.
    start = torch.randint(num_classes, (1,), generator=generator)
    order = torch.randperm(CHUNK, generator=generator)
    labels = ((torch.arange(CHUNK) + start) % num_classes)[order]
    is_planted = variant == "planted_cue"
    shown = torch.randint(num_classes, (CHUNK,), generator=generator) if is_planted else labels
    canvas, ground = _textures(size, generator)
    canvas = _add_distractors(canvas, generator)
    placed = _place_objects(facts, is_planted, generator)
    ink = _contrasting(ground, generator)
    if facts.neighbours:
        canvas = _add_neighbours(canvas, facts, shown, placed, ink, generator)
    drawn = _stamp(_shapes(facts, shown, generator), placed, size)
    body = drawn[:, 1:] if facts.filled else drawn[:, :1]
    canvas = _paint(canvas, drawn[:, :1], body, ink, generator)
    objects = body[:, 0] >= 0.5
    regions = objects
    if is_planted:
        canvas, mark = _add_cue(canvas, labels, num_classes, placed, generator)
        regions = mark[:, 0] >= 0.5
        objects = objects & ~regions
    grain = 0.02 * torch.randn(CHUNK, 1, size, size, generator=generator)
    images = ((canvas + grain).clamp(0, 1) * 255).round().to(torch.uint8)
    return images, labels, regions, objects


@dataclass(frozen=True)
class _Place:
    """Where shapes go: centres in [-1, 1], sizes as a share of the side, turns in radians."""

    centre: Tensor  # (n, 2), x and y
    scale: Tensor  # (n,)
    turn: Tensor  # (n,)


def _textures(size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(n, 3, S, S) grounds and the (n, 3) colour each is built around."""
    ground = _uniform((CHUNK, 1), 0.2, 0.8, generator) + _uniform((CHUNK, 3), -0.2, 0.2, generator)
    canvas = ground.clamp(0, 1)[:, :, None, None]
    for cells, depth in ((3, 0.12), (9, 0.08)):
        # Mostly light and shade, a little colour: rainbows would be no likeness of anything.
        noise = torch.randn(CHUNK, 1, cells, cells, generator=generator)
        noise = noise + 0.4 * torch.randn(CHUNK, 3, cells, cells, generator=generator)
        canvas = canvas + depth * functional.interpolate(
            noise, size=(size, size), mode="bicubic", align_corners=False
        )
    angle = _uniform((CHUNK, 1, 1), 0, math.pi, generator)
    waves = _uniform((CHUNK, 1, 1), 2, 7, generator)
    strength = _uniform((CHUNK, 1, 1), 0, 0.12, generator)
    axis = torch.linspace(-1, 1, size)
    along = torch.cos(angle) * axis[None, None, :] + torch.sin(angle) * axis[None, :, None]
    stripes = strength * torch.sin(math.pi * waves * along)
    return (canvas + stripes[:, None]).clamp(0, 1), ground


def _add_distractors(canvas: Tensor, generator: torch.Generator) -> Tensor:
    shapes = glyph_masks(DISTRACTORS, "DejaVuSans")[:, :1]
    for _ in range(DISTRACTORS_PER_SCENE):
        which = torch.randint(len(shapes), (CHUNK,), generator=generator)
        place = _Place(
            _uniform((CHUNK, 2), -1, 1, generator),
            _uniform((CHUNK,), 0.12, 0.34, generator),
            _uniform((CHUNK,), 0, 2 * math.pi, generator),
        )
        colour = _uniform((CHUNK, 3), 0.1, 0.9, generator)[:, :, None, None]
        cover = _uniform((CHUNK, 1, 1, 1), 0.4, 0.8, generator)
        canvas = torch.lerp(canvas, colour, cover * _stamp(shapes[which], place, canvas.shape[-1]))
    return canvas


def _place_objects(facts: StandinFacts, is_planted: bool, generator: torch.Generator) -> _Place:
    low, high = OBJECT_SCALE
    scale = _uniform((CHUNK,), low, 0.62 if is_planted else high, generator)
    free = 1 - scale  # how far the centre may move and the object stay inside
    # Beside a digit stand its neighbours, so that the one that counts is in the middle.
    free = free * (0.4 if facts.neighbours else 1.0)
    centre = _uniform((CHUNK, 2), -1, 1, generator) * free[:, None]
    turn = math.radians(facts.rotation_deg)
    return _Place(centre, scale, _uniform((CHUNK,), -turn, turn, generator))


def _contrasting(ground: Tensor, generator: torch.Generator) -> Tensor:
    """(n, 3) colours of random hue, lighter or darker than `ground` by at least CONTRAST."""
    weights = torch.tensor(RED_GREEN_BLUE)
    brightness = ground @ weights
    share = _uniform((CHUNK,), 0, 1, generator)
    lighter = (brightness < 0.5).float()
    wanted = lighter * (brightness + CONTRAST + share * (1 - CONTRAST - brightness).clamp(min=0))
    wanted = wanted + (1 - lighter) * (brightness - CONTRAST) * (1 - share)
    hue = _uniform((CHUNK, 3), 0, 1, generator)
    hue = hue - (hue @ weights)[:, None]  # colour without brightness
    return (wanted[:, None] + 0.5 * hue).clamp(0, 1)


def _add_neighbours(
    canvas: Tensor,
    facts: StandinFacts,
    shown: Tensor,
    placed: _Place,
    ink: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Glyphs of other classes left and right, in the same ink, cut off by the border."""
    num_classes = len(facts.glyphs)
    for side in (-1.0, 1.0):
        other = (shown + torch.randint(1, num_classes, (CHUNK,), generator=generator)) % num_classes
        gap = _uniform((CHUNK,), 1.15, 1.45, generator) * placed.scale
        offset = torch.stack([side * gap, torch.zeros(CHUNK)], dim=1)
        place = _Place(placed.centre + offset, placed.scale, placed.turn)
        is_there = (torch.rand(CHUNK, generator=generator) < 0.5).float()[:, None, None, None]
        shapes = _shapes(facts, other, generator)[:, :1]
        alpha = is_there * _stamp(shapes, place, canvas.shape[-1])
        canvas = torch.lerp(canvas, ink[:, :, None, None], alpha)
    return canvas


def _shapes(facts: StandinFacts, classes: Tensor, generator: torch.Generator) -> Tensor:
    """(n, 2, R, R) strokes and filled outlines of `classes`, each in a random one of the fonts."""
    characters = tuple(facts.glyphs.values())
    faces = torch.stack([glyph_masks(characters, font) for font in facts.fonts])
    return faces[torch.randint(len(faces), (CHUNK,), generator=generator), classes]


def _paint(
    canvas: Tensor, strokes: Tensor, body: Tensor, ink: Tensor, generator: torch.Generator
) -> Tensor:
    """`canvas` with the object: a soft shadow, its body, its strokes, a gentle shade across."""
    size = canvas.shape[-1]
    kernel = size // 16 * 2 + 1
    shadow = functional.avg_pool2d(body, kernel, stride=1, padding=kernel // 2)
    canvas = canvas * (1 - 0.25 * torch.roll(shadow, (size // 32, size // 32), (2, 3)))
    slope = _uniform((CHUNK, 1, 1, 1), -0.12, 0.12, generator)
    shade = slope * torch.linspace(-1, 1, size)[None, None, :, None]
    filling = _contrasting(ink, generator)
    canvas = torch.lerp(canvas, (filling[:, :, None, None] + shade).clamp(0, 1), body)
    return torch.lerp(canvas, (ink[:, :, None, None] + shade).clamp(0, 1), strokes)


def _add_cue(
    canvas: Tensor, labels: Tensor, num_classes: int, placed: _Place, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """`canvas` with a ringed disc whose hue tells the class, and the (n, 1, S, S) mark."""
    # In the corner farthest from the object, so that the two seldom touch.
    corner = -torch.sign(placed.centre + 1e-6)
    centre = corner * _uniform((CHUNK, 2), 1 - 1.6 * CUE_SCALE, 1 - CUE_SCALE, generator)
    fine = canvas.shape[-1] * OVERSAMPLING
    axis = (torch.arange(fine) + 0.5) / fine * 2 - 1
    far_x = axis[None, None, :] - centre[:, 0, None, None]
    far_y = axis[None, :, None] - centre[:, 1, None, None]
    distance = torch.sqrt(far_x**2 + far_y**2)[:, None]
    mark = _reduced((distance < CUE_SCALE).float())
    disc = _reduced((distance < 0.72 * CUE_SCALE).float())
    turn = 2 * math.pi * (labels / num_classes)[:, None] - torch.arange(3) * 2 * math.pi / 3
    hue = (0.5 + 0.5 * torch.cos(turn))[:, :, None, None]
    return torch.lerp(canvas, torch.lerp(torch.ones_like(hue), hue, disc), mark), mark


def _stamp(shapes: Tensor, place: _Place, size: int) -> Tensor:
    """(n, c, S, S) coverage of `shapes` (n, c, R, R), turned, scaled and moved to `place`."""
    fine = size * OVERSAMPLING
    axis = (torch.arange(fine) + 0.5) / fine * 2 - 1
    x = axis[None, None, :] - place.centre[:, 0, None, None]
    y = axis[None, :, None] - place.centre[:, 1, None, None]
    cos = (torch.cos(place.turn) / place.scale)[:, None, None]
    sin = (torch.sin(place.turn) / place.scale)[:, None, None]
    # Written out: a batched product of such small matrices takes three times as long.
    grid = torch.stack([cos * x + sin * y, cos * y - sin * x], dim=-1)
    return _reduced(functional.grid_sample(shapes, grid, align_corners=False))


def _reduced(canvas: Tensor) -> Tensor:
    return functional.avg_pool2d(canvas, OVERSAMPLING)


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)
