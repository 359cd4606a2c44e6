"""Dataset cards: every fact about a dataset that is no image, read from `datasets/<name>.toml`.

A user adds a dataset by dropping a card of their own into the data root.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lico_bench.checks import check_choice, is_name, is_title
from lico_bench.errors import BrokenFileError, UnknownNameError
from lico_bench.records import Option, Source
from lico_bench.runtime import data_root, shipped

PROFILES = ("smoke", "quick", "paper")


@dataclass(frozen=True)
class SourceFile:
    """One file that the publisher offers, or the steps a person must take to get it."""

    url: str
    md5: str | None = None
    folder: str = ""  # where it belongs, inside the dataset's folder
    manual: tuple[str, ...] = ()  # not empty: no program may fetch it


@dataclass(frozen=True)
class StandinFacts:
    """What the drawn scenes that stand in for a dataset show."""

    glyphs: Mapping[str, str]  # class name -> character
    image_size: int
    train: int
    test: int
    rotation_deg: float = 15.0
    fonts: tuple[str, ...] = ("DejaVuSans",)
    filled: bool = True  # what a glyph's strokes enclose is part of the object
    neighbours: bool = False  # parts of other classes' glyphs stand beside the object

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the glyphs, in index order."""
        return tuple(self.glyphs)


@dataclass(frozen=True)
class DatasetCard:
    """The facts about one dataset.

    Attributes:
        layout: name of the reader of the official layout.
        markers: glob patterns, any of which shows that a copy in that layout is present.
        expects: the official layout in words, for messages.
        class_names: official names in index order.
        prompt_names: what a text encoder is told, in index order.
        class_ids: names of class folders where they differ from the names, or empty.
        fit: `crop` (shorter side to `resize_frac` times the size, then the centre) or `squash`.
        cut_bottom_px: rows at the lower edge that are no image.
        ground_truth: kinds of regions that the publisher offers.
        standin: None if nothing can stand in for the dataset.
    """

    name: str
    title: str
    layout: str
    markers: tuple[str, ...]
    expects: str
    class_names: tuple[str, ...]
    official_counts: Mapping[str, int]
    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    licence: str
    citation: str
    prompt_names: tuple[str, ...] = ()
    class_ids: tuple[str, ...] = ()
    fit: Literal["crop", "squash"] = "crop"
    resize_frac: float = 1.0
    cut_bottom_px: int = 0
    ground_truth: tuple[str, ...] = ()
    layout_files: Mapping[str, Any] = field(default_factory=dict)
    sources: tuple[SourceFile, ...] = ()
    standin: StandinFacts | None = None
    recipes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)

    def recipe(self, profile: str, source: Source) -> dict[str, Any]:
        """Recipe fields of `profile`; a stand-in's own values lie over those of the real images.

        Raises:
            UnknownNameError: if the card has no such profile.
        """
        values = self._settings(profile, source)
        values.pop("objective", None)
        return values

    def objective(self, profile: str, source: Source) -> dict[str, Option]:
        """Options of `profile` for the arms that take a card's (`Arm.uses_card`), by name."""
        return dict(self._settings(profile, source).get("objective", {}))

    def _settings(self, profile: str, source: Source) -> dict[str, Any]:
        if profile not in self.recipes:
            raise UnknownNameError.of(f"profile of {self.name}", profile, self.recipes)
        values = dict(self.recipes[profile])
        overlay = values.pop("standin", {})
        return values | overlay if source == "standin" else values


def card_names(root: str | os.PathLike[str] | None = None) -> tuple[str, ...]:
    """Names of all datasets: those shipped with the package and those in the data root."""
    return tuple(sorted(_card_files(root)))


def load_card(name: str, root: str | os.PathLike[str] | None = None) -> DatasetCard:
    """The card of the dataset called `name`.

    Raises:
        UnknownNameError: if there is no such card.
        BrokenFileError: if the card is unreadable, incomplete, or contradicts itself.
    """
    files = _card_files(root)
    if name not in files:
        raise UnknownNameError.of("dataset", name, files)
    return read_card(files[name])


def read_card(path: Path) -> DatasetCard:
    """The card in the file `path`; its stem is the dataset's name."""
    try:
        facts = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BrokenFileError(f"{path}: not readable as TOML ({error}); mend the card") from error
    try:
        card = _build_card(path.stem, facts)
    except (KeyError, TypeError, ValueError) as error:
        raise BrokenFileError(
            f"{path}: a value is missing or of the wrong kind ({type(error).__name__}: {error}); "
            "mend the card, cifar10.toml is an example"
        ) from error
    _check_card(path, card)
    return card


def _card_files(root: str | os.PathLike[str] | None) -> dict[str, Path]:
    files = {path.stem: path for path in shipped("datasets").glob("*.toml")}
    own = data_root(root)
    if own is not None:
        # A shipped card is never replaced: rows of two machines must mean the same dataset.
        files = {path.stem: path for path in own.glob("*.toml")} | files
    return files


def _build_card(name: str, facts: dict[str, Any]) -> DatasetCard:
    layout = dict(facts.pop("layout"))
    standin = facts.pop("standin", None)
    sources = tuple(_frozen(SourceFile, entry) for entry in facts.pop("sources", []))
    names = tuple(str(entry) for entry in facts["class_names"])
    spoken = facts.pop("prompt_names", None) or [entry.replace("_", " ") for entry in names]
    card: DatasetCard = _frozen(
        DatasetCard,
        facts
        | {
            "name": name,
            "layout": layout["reader"],
            "markers": tuple(layout["markers"]),
            "expects": layout["expects"],
            "layout_files": layout.get("files", {}),
            "prompt_names": tuple(str(entry) for entry in spoken),
            "sources": sources,
            "standin": None if standin is None else _frozen(StandinFacts, standin),
            "recipes": facts.pop("recipe", {}),
        },
    )
    return card


def _frozen(kind: Any, values: Mapping[str, Any]) -> Any:
    """An instance of the dataclass `kind` with lists made tuples."""
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def _check_card(path: Path, card: DatasetCard) -> None:
    def refuse(problem: str) -> None:
        raise BrokenFileError(f"{path}: {problem}; mend the card")

    check_choice(f"{path}: fit", card.fit, ("crop", "squash"))
    for label, names in (("class name", card.class_names), ("class id", card.class_ids)):
        twice = _repeated(names)
        if twice:
            refuse(f"{label} '{twice}' occurs twice")
    twice = _repeated(card.prompt_names)
    if twice:
        refuse(f"prompt name '{twice}' occurs twice")
    if not is_name(card.name):
        refuse("expected a file name of letters, digits and underscores")
    for text in (card.title, *card.class_names, *card.prompt_names, *card.class_ids):
        if not is_title(text):
            refuse(f"expected names of one line without control signs, got {text!r:.60}")
    num_classes = len(card.class_names)
    if num_classes < 2:
        refuse(f"expected at least two class names, got {num_classes}")
    for label, names in (("prompt_names", card.prompt_names), ("class_ids", card.class_ids)):
        if names and len(names) != num_classes:
            refuse(f"{label}: expected {num_classes} entries, one per class, got {len(names)}")
    if len(card.mean) != 3 or len(card.std) != 3 or min(card.std) <= 0:
        refuse("mean and std: expected three numbers each, std above 0")
    if not {"train", "test"} <= set(card.official_counts):
        refuse("official_counts: expected the numbers of train and test images")
    unknown = set(card.recipes) - set(PROFILES)
    if unknown:
        refuse(f"unknown profile {sorted(unknown)}; known: {', '.join(PROFILES)}")


def _repeated(names: tuple[str, ...]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name.casefold() in seen:
            return name
        seen.add(name.casefold())
    return None
