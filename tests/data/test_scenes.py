from __future__ import annotations

import hashlib
import subprocess
import sys
import time

import pytest
import torch

from lico_bench.data import card_names, load_card, load_dataset
from lico_bench.data.cards import StandinFacts
from lico_bench.data.scenes import draw_scenes, glyph_masks
from lico_bench.errors import BrokenFileError, MissingDataError

NAMES = [name for name in card_names() if load_card(name).standin is not None]
SCENES_PER_SECOND = 2000  # of 32 px, on two cores, as the project promises


def facts_of(name: str) -> StandinFacts:
    facts = load_card(name).standin
    assert facts is not None
    return facts


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("variant", ["plain", "planted_cue"])
def test_every_class_is_drawn_equally_often_and_every_scene_has_a_region(
    name: str, variant: str
) -> None:
    facts = facts_of(name)
    scenes = draw_scenes(name, facts, "train", variant=variant, count=640)
    counts = torch.bincount(scenes.labels, minlength=len(facts.glyphs))
    assert int(counts.max() - counts.min()) <= 10  # a chunk of 64 leaves a class one short
    share = scenes.regions.float().mean((1, 2))
    assert float(share.min()) > 0.01
    assert float(share.max()) < 0.6


@pytest.mark.parametrize("name", NAMES)
def test_object_stays_inside_the_image(name: str) -> None:
    facts = facts_of(name)
    scenes = draw_scenes(name, facts, "test", count=128)
    border = torch.ones(facts.image_size, facts.image_size, dtype=torch.bool)
    border[1:-1, 1:-1] = False
    touching = (scenes.regions & border).flatten(1).any(1).float().mean()
    assert float(touching) < 0.25  # turned corners may reach the outermost pixel


def test_first_scenes_do_not_depend_on_how_many_follow() -> None:
    facts = facts_of("cifar10")
    few = draw_scenes("cifar10", facts, "test", count=70)
    many = draw_scenes("cifar10", facts, "test", count=200)
    assert torch.equal(few.images, many.images[:70])
    assert torch.equal(few.regions, many.regions[:70])


def test_splits_and_datasets_show_different_scenes() -> None:
    facts = facts_of("cifar10")
    one = draw_scenes("cifar10", facts, "test", count=64).images
    assert not torch.equal(one, draw_scenes("cifar10", facts, "train", count=64).images)
    assert not torch.equal(one, draw_scenes("svhn", facts, "test", count=64).images)


@pytest.mark.slow
def test_scenes_are_the_same_in_another_process_with_other_threads() -> None:
    code = (
        "import hashlib, torch; torch.set_num_threads(2);"
        "from lico_bench.data import load_card; from lico_bench.data.scenes import draw_scenes;"
        "scenes = draw_scenes('svhn', load_card('svhn').standin, 'train', count=64);"
        "print(hashlib.sha256(scenes.images.numpy().tobytes()).hexdigest())"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        scenes = draw_scenes("svhn", facts_of("svhn"), "train", count=64)
    finally:
        torch.set_num_threads(before)
    assert found.stdout.strip() == hashlib.sha256(scenes.images.numpy().tobytes()).hexdigest()


def test_region_is_where_the_image_changes_with_the_class() -> None:
    # The same scenes with other glyphs: everything else uses the same random numbers.
    facts = facts_of("cifar10")
    names = list(facts.glyphs)
    turned = {n: facts.glyphs[names[i - 1]] for i, n in enumerate(names)}
    other = StandinFacts(**{**vars(facts), "glyphs": turned})
    one = draw_scenes("cifar10", facts, "test", count=64)
    two = draw_scenes("cifar10", other, "test", count=64)
    differs = (one.images.int() - two.images.int()).abs().amax(1) > 60
    assert differs.any()
    # Anti-aliased borders cover less than half a pixel and count as outside.
    assert float((differs & ~(one.regions | two.regions)).float().mean()) < 0.01


def test_colour_tells_nothing_of_the_class() -> None:
    facts = facts_of("flowers")
    scenes = draw_scenes("flowers", facts, "train", count=1280)
    weight = scenes.objects[:, None].float()
    colour = (scenes.images.float() * weight).sum((2, 3)) / weight.sum((2, 3))
    spread = colour.std(0)
    for label in range(len(facts.glyphs)):
        own = colour[scenes.labels == label]
        error = spread / len(own) ** 0.5
        # Four standard errors: 30 comparisons, one in 500 runs fails by chance, and runs repeat.
        assert ((own.mean(0) - colour.mean(0)).abs() < 4 * error + 8).all()


def test_planted_mark_tells_the_class_and_the_object_does_not() -> None:
    facts = facts_of("cifar10")
    scenes = draw_scenes("cifar10", facts, "train", variant="planted_cue", count=640)
    assert not (scenes.regions & scenes.objects).any()
    # A nearest-mean classifier on the mean colour: near perfect in the cue, chance in the object.
    for masks, low, high in ((scenes.regions, 0.95, 1.0), (scenes.objects, 0.0, 0.3)):
        weight = masks[:, None].float()
        colour = (scenes.images.float() * weight).sum((2, 3)) / weight.sum((2, 3)).clamp(min=1)
        means = torch.stack([colour[:320][scenes.labels[:320] == k].mean(0) for k in range(10)])
        nearest = torch.cdist(colour[320:], means).argmin(1)
        accuracy = float((nearest == scenes.labels[320:]).float().mean())
        assert low <= accuracy <= high


def test_planted_cue_is_a_variant_of_the_loaded_dataset() -> None:
    plain = load_dataset("cifar10", "test", source="standin", limit=20)
    planted = load_dataset("cifar10", "test", source="standin", limit=20, variant="planted_cue")
    assert plain.fingerprint != planted.fingerprint
    assert planted.has_regions


@pytest.mark.parametrize("name", NAMES)
def test_no_two_classes_look_the_same(name: str) -> None:
    facts = facts_of(name)
    shapes = glyph_masks(tuple(facts.glyphs.values()), facts.fonts[0])[:, 0].flatten(1)
    distance = torch.cdist(shapes, shapes, p=1) / shapes.sum(1)
    distance.fill_diagonal_(float("inf"))
    assert float(distance.min()) > 0.1


def test_character_that_the_font_lacks_is_refused() -> None:
    with pytest.raises(BrokenFileError, match="no glyph"):
        glyph_masks(("\U0001f9ff",), "DejaVuSans")
    with pytest.raises(MissingDataError, match="font missing"):
        glyph_masks(("A",), "ComicSans")


def test_stand_in_is_called_one_wherever_it_is_shown() -> None:
    data = load_dataset("imagenet", "test", source="standin", limit=5)
    assert data.source == "standin"
    assert "stand-in" in data.title
    assert any("not the dataset's images" in note for note in data.notes)
    assert data.class_names == facts_of("imagenet").class_names


@pytest.mark.slow
def test_drawing_is_fast_enough() -> None:
    facts = facts_of("cifar10")
    draw_scenes("cifar10", facts, "train", count=64)
    start = time.perf_counter()
    draw_scenes("cifar10", facts, "train", count=4000)
    assert 4000 / (time.perf_counter() - start) > SCENES_PER_SECOND
