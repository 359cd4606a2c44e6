"""A model under test, with the columns that say which one it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from lico_bench.errors import InvalidInputError
from lico_bench.records import content_key
from lico_bench.training import TrainedModel


@dataclass(frozen=True)
class Subject:
    """A model under test and the columns that say which one it is."""

    model: nn.Module
    pair: str
    cell: str
    backbone: str
    arm: str
    seed: int
    labels: str

    @classmethod
    def of(cls, trained: TrainedModel, cell: str | None = None) -> Subject:
        """The subject that a training made."""
        recipe = trained.recipe
        return cls(
            model=trained.classifier,
            pair=recipe.pair_key,
            cell=cell or f"{recipe.arm}-s{recipe.seed}-{recipe.pair_key}",
            backbone=recipe.backbone,
            arm=recipe.arm,
            seed=recipe.seed,
            labels=str(recipe.labels),
        )


def subjects_of(
    models: TrainedModel | Sequence[TrainedModel] | Mapping[str, nn.Module],
) -> list[Subject]:
    """One subject per model; modules by name are taken as one pair."""
    if isinstance(models, TrainedModel):
        return [Subject.of(models)]
    if isinstance(models, Mapping):
        pair = content_key(sorted(models))
        return [
            Subject(model, pair=pair, cell=arm, backbone="own", arm=arm, seed=0, labels="full")
            for arm, model in models.items()
        ]
    if not models:
        raise InvalidInputError("evaluate: expected at least one model, got none")
    return [Subject.of(trained) for trained in models]
