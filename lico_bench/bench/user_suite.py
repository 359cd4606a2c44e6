"""Load user models and images, check them and describe them as a manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor

from lico_bench.bench.plan import evaluation_records
from lico_bench.bench.user_request import name_models
from lico_bench.data.folder import UserImages
from lico_bench.errors import InvalidInputError
from lico_bench.evaluation import EvalConfig
from lico_bench.models import logits_of, scoring
from lico_bench.models.user_model import UserModel, imagenet_names, load_user_model, try_model
from lico_bench.models.user_options import NO_NORMALISATION
from lico_bench.records import DatasetFacts, content_key
from lico_bench.runtime import versions
from lico_bench.saliency import SaliencyMethod
from lico_bench.store.run_records import (
    ArmRecord,
    CellEntry,
    CellRecipe,
    Manifest,
    SuiteRecord,
)

USER_KIND = "own_models"  # `kind` of a suite whose run folder holds scores but no models
USER_CODE_VERSION = 1  # increased when a change in scoring invalidates stored cells
BATCH = 32


@dataclass(frozen=True)
class UserSuite:
    """One or two user models, their images and the evaluation settings.

    Attributes:
        models: by arm, the reference first.
        user_images: images with the model's classes; predicted labels if they have none.
    """

    models: Mapping[str, UserModel]
    user_images: UserImages
    eval_config: EvalConfig

    @property
    def dataset_facts(self) -> DatasetFacts:
        """Manifest entry of the images."""
        data = self.user_images.dataset
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

    @property
    def backbone(self) -> str:
        """Name of the model factory."""
        return next(iter(self.models.values())).title

    @property
    def pair(self) -> str:
        """Hash of images and evaluation settings, shared by the models."""
        return content_key(
            {
                "data": self.user_images.dataset.fingerprint,
                "methods": list(self.eval_config.resolved_methods),
                "metrics": {
                    n: m.spec.protocol for n, m in self.eval_config.resolved_metrics.items()
                },
                "protocol": self.eval_config.protocol.id,
                "limit": self.eval_config.limit,
                "code": USER_CODE_VERSION,
            }
        )

    def cell(self, arm: str) -> str:
        """Return the key of a model's folder, with a hash of weights, images and settings."""
        model = self.models[arm]
        identity = content_key(
            {
                "pair": self.pair,
                "weights": model.digest,
                "layer": model.explained_layer,
                "mean": model.normalisation.mean,
                "std": model.normalisation.std,
            }
        )
        return f"{self.user_images.dataset.name}-{self.backbone}-{arm}-{identity[:8]}"

    @property
    def name(self) -> str:
        """Default name of the run folder."""
        return f"{self.user_images.dataset.name}-{self.backbone}-{self._key()[:8]}"

    def manifest(self) -> Manifest:
        """Return the run's manifest."""
        eval_config, data = self.eval_config, self.user_images.dataset
        return Manifest(
            suite_key=self._key(),
            suite=SuiteRecord(
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
            datasets={data.name: self.dataset_facts},
            **evaluation_records(eval_config),
            arms={arm: _arm_record(arm, model) for arm, model in self.models.items()},
            cells=tuple(self.cell_entry(arm) for arm in self.models),
            versions=versions(),
            started=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def cell_entry(self, arm: str) -> CellEntry:
        """Return a model's manifest entry."""
        return CellEntry(key=self.cell(arm), pair=self.pair, recipe=self._recipe(arm))

    def _key(self) -> str:
        return content_key([self.cell(arm) for arm in self.models])

    def _recipe(self, arm: str) -> CellRecipe:
        """Return the model's origin, stored in place of a training recipe."""
        model = self.models[arm]
        return CellRecipe(
            dataset=self.user_images.dataset.name,
            arm=arm,
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
        )


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


def plan_user_suite(
    models: Mapping[str, UserModel], images: UserImages, eval_config: EvalConfig
) -> UserSuite:
    """Check models against images with one forward each and return the suite.

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
    device = next(first.network.parameters()).device
    image = images.dataset.read([0]).to(device)
    needs_layer = any_needs_layer(eval_config.resolved_methods)
    counts = {arm: try_model(m, image, needs_layer=needs_layer) for arm, m in models.items()}
    num_classes = counts[first_arm]
    if not images.is_labelled:
        known = imagenet_names(first.network, num_classes)
        images = images if known is None else images.named(known)
    images = _with_mean_of(first, images.for_classes(num_classes))
    eval_config.defined_for(images.dataset)
    if not images.is_labelled:
        images = images.with_targets(_predictions(first, images, device), f"'{first_arm}' predicts")
    return UserSuite(models, images, eval_config)


def any_needs_layer(methods: Mapping[str, SaliencyMethod]) -> bool:
    """Whether a method needs the model's default layer; methods with `layer=` name their own."""
    return any(entry.needs_layer and "layer=" not in name for name, entry in methods.items())


def _predictions(model: UserModel, data: UserImages, device: torch.device) -> Tensor:
    """Return the class predicted by `model`, (N,) int64."""
    predictions = []
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
