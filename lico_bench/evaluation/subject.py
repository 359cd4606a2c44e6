"""A model under test and its identity columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import nn

from lico_bench.data import Dataset
from lico_bench.errors import InvalidInputError
from lico_bench.models import BACKBONES
from lico_bench.records import content_key
from lico_bench.saliency import MapCostInputs
from lico_bench.training import TrainedModel

UNKNOWN_CHANNELS = 512  # assumed for user models; only the cost estimate uses it


@dataclass(frozen=True)
class Subject:
    """A model under test and its identity columns.

    Attributes:
        layer: the layer that CAM methods explain; the model's explanation layer if None.
    """

    model: nn.Module
    pair: str
    cell: str
    backbone: str
    arm: str
    seed: int
    labels: str
    layer: str | None = None

    def cost_inputs(self, dataset: Dataset) -> MapCostInputs:
        """Quantities that the cost of a saliency map depends on."""
        known = self.backbone in BACKBONES
        channels = BACKBONES[self.backbone].channels if known else UNKNOWN_CHANNELS
        return MapCostInputs(channels=channels, image_size=dataset.image_size)

    @classmethod
    def of(cls, trained: TrainedModel, cell: str | None = None) -> Subject:
        """Return the subject of a trained model."""
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
    """Return one subject per model; modules by name form one pair."""
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
