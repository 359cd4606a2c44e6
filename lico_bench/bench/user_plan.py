"""Plan the scoring of user models on user images; `runner.execute` runs the plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from lico_bench.bench.compute_cost import ComputeCost
from lico_bench.bench.plan import build_manifest
from lico_bench.data import Dataset
from lico_bench.data.folder import UserImages
from lico_bench.errors import InvalidInputError
from lico_bench.evaluation import EvalConfig
from lico_bench.models import logits_of, scoring
from lico_bench.models.user_model import UserModel, imagenet_names, load_user_model, try_model
from lico_bench.models.user_options import NO_NORMALISATION, name_models
from lico_bench.records import DatasetFacts, content_key
from lico_bench.saliency import SaliencyMethod
from lico_bench.store.run_records import (
    ArmRecord,
    CellEntry,
    CellRecipe,
    Manifest,
    SuiteRecord,
)

USER_KIND = "own_models"  # `kind` of a suite whose run folder holds scores but no models
USER_CODE_VERSION = 2  # increased when a change in scoring invalidates stored cells
NEEDS_LABELS = ("accuracy", "brier")
BATCH = 32


@dataclass(frozen=True)
class UserCell:
    """A user model to score.

    Attributes:
        key: readable name with a hash of weights, images and settings.
        pair: hash of images and settings, shared by the models.
        backbone: name of the model factory.
        user_images: the images of all models of the run.
    """

    key: str
    pair: str
    arm: str
    backbone: str
    model: UserModel
    user_images: UserImages

    @property
    def title(self) -> str:
        """Display name: images and arm."""
        return f"{self.user_images.dataset.name} {self.arm}"

    @property
    def cost(self) -> ComputeCost:
        """Cost by which progress is measured: one unit per model, which is not trained."""
        return ComputeCost(0, 0, 0, 0, 0.0, 1.0, 0, 0, 0, 0)

    @property
    def without(self) -> tuple[str, ...]:
        """Metrics that are left out, since they need labels."""
        return () if self.user_images.is_labelled else NEEDS_LABELS

    def entry(self) -> CellEntry:
        """Return the manifest entry: the model's origin in place of a training recipe."""
        model = self.model
        return CellEntry(
            key=self.key,
            pair=self.pair,
            recipe=CellRecipe(
                dataset=self.user_images.dataset.name,
                arm=self.arm,
                seed=0,
                other={
                    "model": model.reference,
                    "weights": None if model.weights is None else str(model.weights),
                    "weights_sha256": model.digest,
                    "layer": model.explained_layer,
                    "normalise": model.normalisation.name,
                    "mean": list(model.normalisation.mean),
                    "std": list(model.normalisation.std),
                    "image_size": self.user_images.dataset.image_size[0],
                },
            ),
        )


@dataclass(frozen=True)
class UserPlan:
    """One or two user models, their images and the evaluation settings.

    Attributes:
        models: by arm, the reference first.
        user_images: images with the model's classes; predicted labels if they have none.
        root: None; the images are loaded already.
    """

    models: Mapping[str, UserModel]
    user_images: UserImages
    eval_config: EvalConfig
    root: None = None

    @cached_property
    def cells(self) -> tuple[UserCell, ...]:
        """The models as cells."""
        return tuple(self._cell(arm, model) for arm, model in self.models.items())

    @property
    def name(self) -> str:
        """Default name of the run folder."""
        first = self.cells[0]
        return f"{self.user_images.dataset.name}-{first.backbone}-{self._key()[:8]}"

    def manifest(self) -> Manifest:
        """Return the run's manifest."""
        eval_config, data = self.eval_config, self.user_images.dataset
        return build_manifest(
            SuiteRecord(
                name=self.name,
                kind=USER_KIND,
                profile="own models",
                datasets=(data.name,),
                arms=tuple(self.models),
                seeds=1,
                methods=tuple(eval_config.resolved_methods),
                metrics=eval_config.requested_metrics,
                protocol=eval_config.protocol.name,
                limit=eval_config.limit,
            ),
            key=self._key(),
            datasets={data.name: _dataset_facts(data)},
            eval_config=eval_config,
            arms={arm: _arm_record(arm, model) for arm, model in self.models.items()},
            cells=[cell.entry() for cell in self.cells],
        )

    def _key(self) -> str:
        return content_key([cell.key for cell in self.cells])

    def _cell(self, arm: str, model: UserModel) -> UserCell:
        data, eval_config = self.user_images.dataset, self.eval_config
        backbone = next(iter(self.models.values())).title
        metrics = eval_config.resolved_metrics.items()
        pair = content_key(
            {
                "data": data.fingerprint,
                "methods": list(eval_config.resolved_methods),
                "metrics": {name: metric.spec.protocol for name, metric in metrics},
                "protocol": eval_config.protocol.id,
                "limit": eval_config.limit,
                "code": USER_CODE_VERSION,
            }
        )
        identity = content_key(
            {
                "pair": pair,
                "weights": model.digest,
                "layer": model.explained_layer,
                "mean": model.normalisation.mean,
                "std": model.normalisation.std,
            }
        )
        key = f"{data.name}-{backbone}-{arm}-{identity[:8]}"
        return UserCell(key, pair, arm, backbone, model, self.user_images)


def load_models(
    reference: str,
    weights: Sequence[Path],
    *,
    arms: Sequence[str] = (),
    layer: str | None = None,
    normalise: str | None = None,
    device: torch.device | str = "cpu",
) -> dict[str, UserModel]:
    """Load one model per weights file, by arm; without files, the factory's model.

    Raises:
        LicoBenchError: for an invalid model, invalid weights or a wrong number of files.
    """
    files = name_models(reference, weights, arms=arms, normalise=normalise)
    models = {
        arm: load_user_model(
            reference, weights=file, layer=layer, normalise=normalise, device=device
        )
        for arm, file in files.items()
    }
    if len({id(model.network) for model in models.values()}) < len(models):
        raise InvalidInputError(
            f"model '{reference}': the factory returns the same network twice, so two weights "
            "cannot be compared; create a new network in each call"
        )
    return models


def plan_user_models(
    models: Mapping[str, UserModel], images: UserImages, eval_config: EvalConfig
) -> UserPlan:
    """Check models against images with one forward each and return the plan.

    Images without labels get the first model's predictions as labels.

    Raises:
        InvalidInputError: if a model cannot be scored, or lacks classes of the images.
        BrokenFileError: for an unreadable image.
    """
    scorer = eval_config.protocol.scorer
    if scorer not in ("own", *models):
        raise InvalidInputError(
            f"protocol {eval_config.protocol.name}: the network of arm '{scorer}' scores all maps, "
            f"but the arms are {', '.join(models)}; name an arm '{scorer}' with --arms, or use "
            "another --protocol"
        )
    first_arm, first = next(iter(models.items()))
    num_classes = try_models(models, images.dataset.read([0]), eval_config.resolved_methods)
    if not images.is_labelled:
        known = imagenet_names(first.network, num_classes)
        images = images if known is None else images.named(known)
    images = _with_mean_of(first, images.for_classes(num_classes))
    eval_config.defined_for(images.dataset)
    if not images.is_labelled:
        images = images.with_targets(_predictions(first, images), f"'{first_arm}' predicts")
    return UserPlan(models, images, eval_config)


def try_models(
    models: Mapping[str, UserModel], image: Tensor, methods: Mapping[str, SaliencyMethod]
) -> int:
    """Check that every model can be explained on `image`; return the classes of the first model.

    Args:
        image: (1, 3, H, W) in [0, 1].
        methods: resolved methods by name; one with the option `layer` names its own layer.

    Raises:
        InvalidInputError: if a model cannot be explained.
    """
    needs_layer = any(entry.needs_layer and "layer=" not in name for name, entry in methods.items())
    counts = [
        try_model(model, image.to(_device_of(model)), needs_layer=needs_layer)
        for model in models.values()
    ]
    return counts[0]


def _device_of(model: UserModel) -> torch.device:
    return next(model.network.parameters()).device


def _predictions(model: UserModel, data: UserImages) -> Tensor:
    """Return the class predicted by `model`, (N,) int64."""
    device, predictions = _device_of(model), []
    with scoring(model.network):
        for start in range(0, len(data.dataset), BATCH):
            indices = range(start, min(start + BATCH, len(data.dataset)))
            images = data.dataset.read(indices).to(device)
            predictions.append(logits_of(model.network(images)).argmax(1).cpu())
    return torch.cat(predictions)


def _with_mean_of(model: UserModel, images: UserImages) -> UserImages:
    """Return the images with the mean and std of the model's normalisation, if it has any."""
    norm = model.normalisation
    if norm == NO_NORMALISATION:
        return images
    return replace(images, dataset=replace(images.dataset, mean=norm.mean, std=norm.std))


def _arm_record(arm: str, model: UserModel) -> ArmRecord:
    weights = "as the factory made them" if model.weights is None else model.weights.name
    summary = f"{model.reference}, weights {weights}"
    return ArmRecord(title=arm, summary=summary, source="own model")


def _dataset_facts(data: Dataset) -> DatasetFacts:
    return DatasetFacts(
        name=data.name,
        title=data.title,
        source="real",
        found={"test": (len(data), data.official_count)},
        class_names=data.class_names,
        prompt_names=data.prompt_names,
        image_size=data.image_size,
        has_regions=data.has_regions,
        notes=data.notes,
        fingerprint=data.fingerprint,
    )
