"""A model under test, with the columns that say which one it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import nn

from lico_bench.data import Dataset
from lico_bench.errors import InvalidInputError
from lico_bench.models import BACKBONES
from lico_bench.records import content_key
from lico_bench.saliency import Setting
from lico_bench.training import TrainedModel

UNKNOWN_CHANNELS = 512  # of a model that no registry knows; only a cost is made of it


@dataclass(frozen=True)
class Subject:
    """A model under test and the columns that say which one it is.

    Attributes:
        layer: what methods of the CAM family look at; the model's own if None.
    """

    model: nn.Module
    pair: str
    cell: str
    backbone: str
    arm: str
    seed: int
    labels: str
    layer: str | None = None

    def setting(self, dataset: Dataset) -> Setting:
        """What the cost of its maps depends on."""
        known = self.backbone in BACKBONES
        channels = BACKBONES[self.backbone].channels if known else UNKNOWN_CHANNELS
        return Setting(channels=channels, image_size=dataset.image_size)

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
    *,
    layer: str | None = None,
) -> list[Subject]:
    """One subject per model; modules by name are taken as one pair."""
    if isinstance(models, TrainedModel):
        models = [models]
    if isinstance(models, Mapping):
        pair = content_key(sorted(models))
        return [
            Subject(
                model,
                pair=pair,
                cell=arm,
                backbone="own",
                arm=arm,
                seed=0,
                labels="full",
                layer=layer,
            )
            for arm, model in models.items()
        ]
    if not models:
        raise InvalidInputError("evaluate: expected at least one model, got none")
    return [replace(Subject.of(trained), layer=layer) for trained in models]
