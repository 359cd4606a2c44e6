"""Dataset metadata for plans and reports, without decoding or drawing images."""

from __future__ import annotations

import os
from dataclasses import asdict

from lico_bench.data.cards import DatasetCard, StandinFacts, load_card
from lico_bench.data.find_dataset import choose_images
from lico_bench.data.read_split import select_split
from lico_bench.data.readers import digest_of
from lico_bench.data.scenes import VERSION, scene_labels
from lico_bench.data.selection import Selection, hold_out, holdout_salt
from lico_bench.records import DatasetFacts, content_key


def describe_dataset(
    name: str,
    *,
    root: str | os.PathLike[str] | None = None,
    source: str = "auto",
    image_size: int | None = None,
    skip_broken: bool = False,
    holdout: float = 0.0,
    seed: int = 0,
) -> DatasetFacts:
    """Describe the dataset `name` as available on this machine.

    Args:
        holdout: share of each training class that serves as test; the test split is not read.
        seed: of the images held out.

    Raises:
        UnknownNameError: for a dataset without a card.
        MissingDataError: if real images are requested and missing.
        BrokenFileError: if index files are damaged or contradict the card.
    """
    card = load_card(name, root)
    chosen = choose_images(card, root, source)
    if isinstance(chosen, StandinFacts):
        return _describe_standin(card, chosen, image_size, holdout, seed)
    train, test = (
        select_split(
            card,
            chosen,
            Selection(split, holdout=holdout or None, seed=seed),
            image_size=image_size,
            skip_broken=skip_broken,
        )
        for split in ("train", "val" if holdout else "test")
    )  # fmt: skip
    return DatasetFacts(
        name=name,
        title=card.title,
        source="real",
        found={
            "train": (len(train.index), train.official_count),
            "test": (len(test.index), len(test.index) if holdout else test.official_count),
        },
        class_names=card.class_names,
        prompt_names=card.prompt_names,
        image_size=(test.fit.size, test.fit.size),
        has_regions=test.index.regions is not None,
        notes=tuple(dict.fromkeys([*train.notes, *test.notes, *_holdout_notes(card, holdout)])),
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
    card: DatasetCard, facts: StandinFacts, image_size: int | None, holdout: float, seed: int
) -> DatasetFacts:
    size = image_size or facts.image_size
    settings = asdict(facts) | {"glyphs": dict(facts.glyphs), "version": VERSION, "size": size}
    train, test = facts.train, facts.test
    if holdout:
        settings["holdout"] = holdout
        labels = scene_labels(card.name, facts)
        ids = tuple(f"train/{i:05d}" for i in range(train))
        test = len(hold_out(labels.numpy(), ids, holdout, salt=holdout_salt(seed)))
        train -= test
    return DatasetFacts(
        name=card.name,
        title=f"{card.title} stand-in",
        source="standin",
        found={"train": (train, train), "test": (test, test)},
        class_names=facts.class_names,
        prompt_names=facts.class_names,
        image_size=(size, size),
        has_regions=True,
        notes=(
            f"{card.title}: drawn stand-in scenes, not the dataset's images",
            *_holdout_notes(card, holdout),
        ),
        fingerprint=content_key(settings),
    )


def _holdout_notes(card: DatasetCard, holdout: float) -> tuple[str, ...]:
    if not holdout:
        return ()
    return (
        f"{card.title}: scored on {holdout:.0%} of each training class, which is held out of "
        "training; the test images are not read",
    )
