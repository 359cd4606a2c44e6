from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lico_bench.data import card_names, load_card
from lico_bench.data.cards import PROFILES, read_card
from lico_bench.data.readers import READERS
from lico_bench.errors import BrokenFileError, UnknownNameError
from lico_bench.models.backbones import BACKBONES
from lico_bench.records import Recipe
from lico_bench.runtime import shipped
from tests.data.user_cards import MINIMAL

EIGHT = ("aircraft", "cars", "cifar10", "cifar100", "cub200", "flowers", "imagenet", "svhn")
# Numbers from the publishers.
NUM_CLASSES = dict(zip(EIGHT, (100, 196, 10, 100, 200, 102, 1000, 10), strict=True))


def test_the_eight_datasets_have_cards() -> None:
    assert set(EIGHT) <= set(card_names())


@pytest.mark.parametrize("name", EIGHT)
def test_card_has_the_publishers_number_of_classes(name: str) -> None:
    card = load_card(name)
    assert len(card.class_names) == len(card.prompt_names) == NUM_CLASSES[name]


@pytest.mark.parametrize("name", card_names())
@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("source", ["real", "standin"])
def test_every_recipe_of_a_card_is_a_recipe_with_a_known_backbone(
    name: str, profile: str, source: str
) -> None:
    values = load_card(name).recipe(profile, source)  # type: ignore[arg-type]
    recipe = Recipe(dataset=name, arm="baseline", source=source, **values)  # type: ignore[arg-type]
    assert recipe.backbone in BACKBONES


@pytest.mark.parametrize("name", card_names())
def test_card_names_a_reader_that_exists_and_a_way_to_get_the_files(name: str) -> None:
    card = load_card(name)
    assert card.layout in READERS
    assert card.sources
    assert card.licence
    assert card.citation


@pytest.mark.parametrize("name", card_names())
def test_every_recipe_value_says_where_it_comes_from(name: str) -> None:
    lines = (shipped("datasets") / f"{name}.toml").read_text().splitlines()
    section = ""
    for line in lines:
        if line.startswith("["):
            section = line
        elif section in ("[recipe.paper]", "[recipe.quick]") and "=" in line and line[0] != "#":
            assert "#" in line, f"{name} {section}: {line}"


def test_cifar10_keeps_the_archives_order_of_classes() -> None:
    assert load_card("cifar10").class_names == (
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
    )  # fmt: skip


def test_standin_recipe_lies_over_the_real_one() -> None:
    card = load_card("cub200")
    real, drawn = card.recipe("quick", "real"), card.recipe("quick", "standin")
    assert real["image_size"] == 64
    assert drawn["image_size"] != 64
    assert drawn["schedule"] == real["schedule"]
    assert "standin" not in real


def test_unknown_dataset_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'cifar10'"):
        load_card("cifar_10")


def test_unknown_profile_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="paper"):
        load_card("svhn").recipe("papr", "real")


def test_user_adds_a_dataset_with_one_card(root: Path) -> None:
    (root / "mine.toml").write_text(MINIMAL)
    card = load_card("mine", root)
    assert "mine" in card_names(root)
    assert card.prompt_names == ("left", "right")
    assert card.standin is None


def test_user_card_never_replaces_a_shipped_one(root: Path) -> None:
    (root / "cifar10.toml").write_text(MINIMAL)
    assert load_card("cifar10", root).title == "CIFAR-10"


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('"right"]', '"Left"]', "'Left' occurs twice"),
        ('["left", "right"]', '["left"]', "at least two"),
        ("std = [0.25, 0.25, 0.25]", "std = [0.25, 0.25, 0]", "std above 0"),
        ("test = 5", "exam = 5", "official_counts"),
        ('title = "Mine"', "title = ", "TOML"),
        ('title = "Mine"', "", "title"),
        ('title = "Mine"', 'title = "Mine"\nshape = "round"', "shape"),
        ('title = "Mine"', 'title = "Mine"\nprompt_names = ["one"]', "one per class"),
        ('title = "Mine"', 'title = "Mine"\nprompt_names = ["a", "a"]', "'a' occurs twice"),
        ("[layout]", "[recipe.fast]\nepochs = 1\n[layout]", "profile"),
        ("[layout]", "[outlay]", "layout"),
    ],
)
def test_faulty_card_is_refused_with_its_file_name(
    root: Path, old: str, new: str, complaint: str
) -> None:
    path = root / "mine.toml"
    path.write_text(MINIMAL.replace(old, new))
    with pytest.raises(BrokenFileError, match=complaint) as caught:
        read_card(path)
    assert str(path) in str(caught.value)
    assert "fix the card" in str(caught.value)


def test_listing_and_locating_datasets_imports_no_torch() -> None:
    code = (
        "import sys; from lico_bench.data import card_names, load_card, resolve_source;"
        "[(load_card(n), resolve_source(n)) for n in card_names()];"
        "assert not {'torch', 'numpy', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
