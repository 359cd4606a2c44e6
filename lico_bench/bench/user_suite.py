"""A user's own models, their images and the questions put to them: checked, and as a manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lico_bench.bench.user_request import name_models
from lico_bench.data import DatasetFacts
from lico_bench.data.folder import UserImages
from lico_bench.errors import InvalidInputError
from lico_bench.evaluation import EvalConfig
from lico_bench.models import logits_of, scoring
from lico_bench.models.normalisation import NO_NORMALISATION
from lico_bench.models.user_model import UserModel, imagenet_names, load_user_model, try_model
from lico_bench.records import content_key
from lico_bench.runtime import versions
from lico_bench.saliency import SaliencyMethod

USER_KIND = "own_models"  # of a suite: its run folder holds scores, and no models
USER_CODE_VERSION = 1  # raised when scoring makes stored cells of the same models another thing
BATCH = 32


@dataclass(frozen=True)
class UserSuite:
    """One or two models and the images and questions put to them.

    Attributes:
        models: by arm, the reference first.
        user_images: with the model's classes; where they have no labels, with predicted ones.
    """

    models: Mapping[str, UserModel]
    user_images: UserImages
    eval_config: EvalConfig

    @property
    def dataset_facts(self) -> DatasetFacts:
        """The images in the words of a manifest."""
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
        """Name of what makes the models."""
        return next(iter(self.models.values())).title

    @property
    def pair(self) -> str:
        """Shared by the models: what they were asked and of which images."""
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
        """Key of a model's folder: readable, and unique by its weights and what it is asked."""
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

    def manifest(self) -> dict[str, Any]:
        """Everything that a reader of the rows needs to know."""
        eval_config, data = self.eval_config, self.user_images.dataset
        return {
            "suite_key": self._key(),
            "suite": {
                "name": self.name,
                "kind": USER_KIND,
                "profile": "own models",
                "datasets": [data.name],
                "arms": list(self.models),
                "seeds": 1,
                "methods": list(eval_config.resolved_methods),
                "metrics": list(eval_config.asked_metrics),
                "protocol": eval_config.protocol.name,
                "limit": eval_config.limit,
            },
            "datasets": {data.name: self.dataset_facts.to_json()},
            **eval_config.facts(),
            "arms": {arm: _arm_facts(arm, model) for arm, model in self.models.items()},
            "cells": [self.cell_facts(arm) for arm in self.models],
            "versions": versions(),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    def cell_facts(self, arm: str) -> dict[str, Any]:
        """A model in the manifest."""
        return {"key": self.cell(arm), "pair": self.pair, "recipe": self._recipe(arm)}

    def _key(self) -> str:
        return content_key([self.cell(arm) for arm in self.models])

    def _recipe(self, arm: str) -> dict[str, Any]:
        """What takes the place of a training's recipe: where the model comes from."""
        model = self.models[arm]
        return {
            "dataset": self.user_images.dataset.name,
            "arm": arm,
            "seed": 0,
            "model": model.reference,
            "weights": None if model.weights is None else str(model.weights),
            "weights_sha256": model.digest,
            "layer": model.explained_layer,
            "normalise": model.normalisation.name,
            "mean": list(model.normalisation.mean),
            "std": list(model.normalisation.std),
            "image_size": self.user_images.dataset.image_size[0],
        }


def load_models(
    reference: str,
    weights: Sequence[Path],
    *,
    arms: Sequence[str] = (),
    layer: str | None = None,
    normalise: str | None = None,
    device: torch.device | str = "cpu",
) -> dict[str, UserModel]:
    """One model per weights file by arm, or the one that the factory makes.

    Raises:
        LicoBenchError: for whatever is wrong with the model, its weights or their number.
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
            f"model '{reference}': it gives the same network twice, so two weights cannot be "
            "compared; make a new network in each call"
        )
    return models


def plan_user_suite(
    models: Mapping[str, UserModel], images: UserImages, eval_config: EvalConfig
) -> UserSuite:
    """Models and images checked against each other with one forward each.

    Images without labels get the class that the first model predicts.

    Raises:
        InvalidInputError: if a model cannot be scored as it is, or does not know the classes.
        BrokenFileError: for an unreadable image.
    """
    scorer = eval_config.protocol.scorer
    if scorer not in ("own", *models):
        raise InvalidInputError(
            f"protocol {eval_config.protocol.name}: the network of arm '{scorer}' scores all maps, "
            f"and the arms are {', '.join(models)}; name one so with --arms, or take another "
            "--protocol"
        )
    first_arm, first = next(iter(models.items()))
    device = next(first.network.parameters()).device
    image = images.dataset.read([0]).to(device)
    needs_layer = asks_for_layer(eval_config.resolved_methods)
    counts = {arm: try_model(m, image, needs_layer=needs_layer) for arm, m in models.items()}
    num_classes = counts[first_arm]
    if not images.is_labelled:
        known = imagenet_names(first.network, num_classes)
        images = images if known is None else images.named(known)
    images = _with_mean_of(first, images.for_classes(num_classes))
    eval_config.defined_for(images.dataset)
    if not images.is_labelled:
        message = f"'{first_arm}' predicts"
        images = images.with_targets(_predictions(first, images, device), message)
    return UserSuite(models, images, eval_config)


def asks_for_layer(methods: Mapping[str, SaliencyMethod]) -> bool:
    """Whether a method looks at the model's own layer; one named in a call is its own affair."""
    return any(entry.needs_layer and "layer=" not in name for name, entry in methods.items())


def _predictions(model: UserModel, data: UserImages, device: torch.device) -> Tensor:
    """(N,) int64, the class that `model` puts first."""
    found = []
    with scoring(model.network):
        for start in range(0, len(data.dataset), BATCH):
            indices = range(start, min(start + BATCH, len(data.dataset)))
            images = data.dataset.read(indices).to(device)
            found.append(logits_of(model.network(images)).argmax(1).cpu())
    return torch.cat(found)


def _with_mean_of(model: UserModel, images: UserImages) -> UserImages:
    """The images with the colours that the model normalises with, where it was told any."""
    rules = model.normalisation
    if rules == NO_NORMALISATION:
        return images
    return replace(images, dataset=replace(images.dataset, mean=rules.mean, std=rules.std))


def _arm_facts(arm: str, model: UserModel) -> dict[str, Any]:
    weights = "as the factory made them" if model.weights is None else model.weights.name
    return {"title": arm, "summary": f"{model.reference}, weights {weights}", "source": "own model"}
