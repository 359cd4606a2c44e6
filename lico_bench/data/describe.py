"""Dataset metadata for plans and reports, without decoding or drawing images."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lico_bench.data.cards import DatasetCard, StandinFacts, load_card
from lico_bench.data.find_dataset import choose_images
from lico_bench.data.read_split import select_split
from lico_bench.data.readers import digest_of
from lico_bench.data.scenes import VERSION
from lico_bench.data.selection import Selection
from lico_bench.records import Source, content_key


@dataclass(frozen=True)
class DatasetFacts:
    """Metadata of a dataset for plans, manifests and reports.

    Attributes:
        found: per split, number of images in use and number according to the publisher.
        class_names: in index order.
        prompt_names: class names for the text encoder's prompts, in index order.
        notes: sentences that a report must print.
        fingerprint: hex digest that changes with the images.
    """

    name: str
    title: str
    source: Source
    found: Mapping[str, tuple[int, int]]
    class_names: tuple[str, ...]
    prompt_names: tuple[str, ...]
    image_size: tuple[int, int]
    has_regions: bool
    notes: tuple[str, ...]
    fingerprint: str

    def num_images(self, split: str) -> int:
        """Return the number of images in use of a split."""
        return self.found[split][0]

    def summary(self) -> str:
        """Return one line that names the images in use."""
        train, test = self.found["train"], self.found["test"]
        if self.source == "standin":
            return (
                f"{self.name}: STAND-IN, {train[0]:,} training and {test[0]:,} test scenes drawn "
                "here, not the dataset's images"
            )
        return (
            f"{self.name}: real images, {train[0]:,} of {train[1]:,} training, "
            f"{test[0]:,} of {test[1]:,} test"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the entry for the manifest."""
        return asdict(self) | {"found": {k: list(v) for k, v in self.found.items()}}


def describe_dataset(
    name: str,
    *,
    root: str | os.PathLike[str] | None = None,
    source: str = "auto",
    image_size: int | None = None,
    skip_broken: bool = False,
) -> DatasetFacts:
    """Describe the dataset `name` as available on this machine.

    Raises:
        UnknownNameError: for a dataset without a card.
        MissingDataError: if real images are requested and missing.
        BrokenFileError: if index files are damaged or contradict the card.
    """
    card = load_card(name, root)
    chosen = choose_images(card, root, source)
    if isinstance(chosen, StandinFacts):
        return _describe_standin(card, chosen, image_size)
    train, test = (
        select_split(card, chosen, Selection(split), image_size=image_size, skip_broken=skip_broken)
        for split in ("train", "test")
    )
    return DatasetFacts(
        name=name,
        title=card.title,
        source="real",
        found={
            "train": (len(train.index), train.official_count),
            "test": (len(test.index), test.official_count),
        },
        class_names=card.class_names,
        prompt_names=card.prompt_names,
        image_size=(test.fit.size, test.fit.size),
        has_regions=test.index.regions is not None,
        notes=tuple(dict.fromkeys([*train.notes, *test.notes])),
        fingerprint=digest_of([train.fingerprint, test.fingerprint]),
    )


def describe_official(
    name: str, *, root: str | os.PathLike[str] | None = None, image_size: int | None = None
) -> DatasetFacts:
    """Describe the publisher's complete dataset without reading any images, for plans.

    Raises:
        UnknownNameError: for a dataset without a card.
    """
    card = load_card(name, root)
    size = image_size or card.image_size
    counts = {split: card.official_counts[split] for split in ("train", "test")}
    return DatasetFacts(
        name=name,
        title=card.title,
        source="real",
        found={split: (count, count) for split, count in counts.items()},
        class_names=card.class_names,
        prompt_names=card.prompt_names,
        image_size=(size, size),
        has_regions=bool(card.ground_truth),
        notes=(),
        fingerprint=content_key({"official": counts}),
    )


def _describe_standin(
    card: DatasetCard, facts: StandinFacts, image_size: int | None
) -> DatasetFacts:
    size = image_size or facts.image_size
    settings = asdict(facts) | {"glyphs": dict(facts.glyphs), "version": VERSION, "size": size}
    return DatasetFacts(
        name=card.name,
        title=f"{card.title} stand-in",
        source="standin",
        found={"train": (facts.train, facts.train), "test": (facts.test, facts.test)},
        class_names=facts.class_names,
        prompt_names=facts.class_names,
        image_size=(size, size),
        has_regions=True,
        notes=(f"{card.title}: drawn stand-in scenes, not the dataset's images",),
        fingerprint=content_key(settings),
    )
