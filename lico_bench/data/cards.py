"""Dataset cards: metadata and recipes of a dataset, read from `datasets/<name>.toml`.

A user adds a dataset by placing a card in the data root.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lico_bench.checks import check_choice, find_duplicate, is_name, is_title
from lico_bench.errors import BrokenFileError, UnknownNameError
from lico_bench.records import Option, Source
from lico_bench.runtime import data_root, shipped

PROFILES = ("smoke", "quick", "paper")


@dataclass(frozen=True)
class SourceFile:
    """One file of the publisher, or the steps to get it by hand."""

    url: str
    md5: str | None = None
    folder: str = ""  # target folder, relative to the dataset's folder
    manual: tuple[str, ...] = ()  # if not empty, the file must be fetched by hand


@dataclass(frozen=True)
class StandinFacts:
    """Settings of the synthetic scenes that replace a missing dataset."""

    glyphs: Mapping[str, str]  # class name -> character
    image_size: int
    train: int
    test: int
    rotation_deg: float = 15.0
    fonts: tuple[str, ...] = ("DejaVuSans",)
    filled: bool = True  # the area enclosed by a glyph's strokes belongs to the object
    neighbours: bool = False  # glyphs of other classes appear beside the object

    @property
    def class_names(self) -> tuple[str, ...]:
        """Glyph names in index order."""
        return tuple(self.glyphs)


@dataclass(frozen=True)
class DatasetCard:
    """Metadata and recipes of one dataset.

    Attributes:
        layout: registry name of the reader of the official layout.
        markers: glob patterns; a match of any pattern means that a copy is present.
        expects: description of the official layout, for messages.
        class_names: official names in index order.
        prompt_names: class names for the text encoder's prompts, in index order.
        class_ids: names of the class folders if they differ from the class names, or empty.
        fit: `crop` (resize the shorter side to `resize_frac` times the size, then centre crop)
            or `squash` (resize both sides, ignoring the aspect ratio).
        cut_bottom_px: rows removed from the lower edge, such as a credit strip.
        ground_truth: kinds of object regions that the publisher provides.
        standin: settings of the stand-in, or None if there is none.
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
        """Return the recipe fields of `profile`; for a stand-in, its overrides are applied.

        Raises:
            UnknownNameError: if the card has no such profile.
        """
        values = self._settings(profile, source)
        values.pop("objective", None)
        return values

    def objective(self, profile: str, source: Source) -> dict[str, Option]:
        """Return the objective options of `profile`, for arms with `Arm.uses_card`."""
        return dict(self._settings(profile, source).get("objective", {}))

    def _settings(self, profile: str, source: Source) -> dict[str, Any]:
        if profile not in self.recipes:
            raise UnknownNameError.of(f"profile of {self.name}", profile, self.recipes)
        values = dict(self.recipes[profile])
        overrides = values.pop("standin", {})
        return values | overrides if source == "standin" else values


def card_names(root: str | os.PathLike[str] | None = None) -> tuple[str, ...]:
    """Return the names of all datasets: shipped with the package or in the data root."""
    return tuple(sorted(_card_files(root)))


def load_card(name: str, root: str | os.PathLike[str] | None = None) -> DatasetCard:
    """Load the card of the dataset `name`.

    Raises:
        UnknownNameError: if there is no such card.
        BrokenFileError: if the card is unreadable, incomplete or inconsistent.
    """
    files = _card_files(root)
    if name not in files:
        raise UnknownNameError.of("dataset", name, files)
    return read_card(files[name])


def read_card(path: Path) -> DatasetCard:
    """Read the card in the file `path`; the file's stem is the dataset name.

    Raises:
        BrokenFileError: if the card is unreadable, incomplete or inconsistent.
    """
    try:
        facts = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BrokenFileError(f"{path}: not readable as TOML ({error}); fix the card") from error
    try:
        card = _build_card(path.stem, facts)
    except (KeyError, TypeError, ValueError) as error:
        raise BrokenFileError(
            f"{path}: a value is missing or has the wrong type ({type(error).__name__}: {error}); "
            "fix the card, cifar10.toml is an example"
        ) from error
    _check_card(path, card)
    return card


def _card_files(root: str | os.PathLike[str] | None) -> dict[str, Path]:
    files = {path.stem: path for path in shipped("datasets").glob("*.toml")}
    user_root = data_root(root)
    if user_root is not None:
        # Shipped cards take precedence, so a name means the same dataset on every machine.
        files = {path.stem: path for path in user_root.glob("*.toml")} | files
    return files


def _build_card(name: str, facts: dict[str, Any]) -> DatasetCard:
    layout = facts["layout"]
    class_names = [str(entry) for entry in facts["class_names"]]
    prompt_names = facts.get("prompt_names") or [entry.replace("_", " ") for entry in class_names]
    renamed = {
        "name": name,
        "layout": layout["reader"],
        "markers": tuple(layout["markers"]),
        "expects": layout["expects"],
        "layout_files": layout.get("files", {}),
        "prompt_names": tuple(str(entry) for entry in prompt_names),
        "sources": tuple(_build_dataclass(SourceFile, entry) for entry in facts.get("sources", ())),
        "recipes": facts.pop("recipe", {}),
    }
    if "standin" in facts:
        renamed["standin"] = _build_dataclass(StandinFacts, facts["standin"])
    card: DatasetCard = _build_dataclass(DatasetCard, facts | renamed)
    return card


def _build_dataclass(cls: Any, values: Mapping[str, Any]) -> Any:
    """Build an instance of the dataclass `cls`; lists become tuples."""
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def _check_card(path: Path, card: DatasetCard) -> None:
    def fail(problem: str) -> None:
        raise BrokenFileError(f"{path}: {problem}; fix the card")

    check_choice(f"{path}: fit", card.fit, ("crop", "squash"))
    if not is_name(card.name):
        fail("expected a file name of letters, digits and underscores")
    for text in (card.title, *card.class_names, *card.prompt_names, *card.class_ids):
        if not is_title(text):
            fail(f"expected names of one line without control characters, got {text!r:.60}")
    num_classes = len(card.class_names)
    if num_classes < 2:
        fail(f"expected at least two class names, got {num_classes}")
    for label in ("class_names", "class_ids", "prompt_names"):
        names = getattr(card, label)
        duplicate = find_duplicate(names, key=str.casefold)
        if duplicate:
            fail(f"{label}: '{duplicate}' occurs twice")
        if names and len(names) != num_classes:
            fail(f"{label}: expected {num_classes} entries, one per class, got {len(names)}")
    if len(card.mean) != 3 or len(card.std) != 3 or min(card.std) <= 0:
        fail("mean and std: expected three numbers each, std above 0")
    if not {"train", "test"} <= set(card.official_counts):
        fail("official_counts: expected the numbers of train and test images")
    unknown = set(card.recipes) - set(PROFILES)
    if unknown:
        fail(f"unknown profile {sorted(unknown)}; known: {', '.join(PROFILES)}")
