"""A user's own models, their pictures and the questions put to them: checked, and as a manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lico_bench.bench.own_request import name_models
from lico_bench.data import DatasetFacts
from lico_bench.data.folder import OwnPictures
from lico_bench.errors import InvalidInputError
from lico_bench.evaluation import Question
from lico_bench.models import logits_of, scoring
from lico_bench.models.normalisation import NO_NORMALISATION
from lico_bench.models.own import OwnModel, imagenet_names, load_own, try_model
from lico_bench.records import content_key
from lico_bench.runtime import versions
from lico_bench.saliency import SaliencyMethod

OWN_KIND = "own_models"  # of a suite: its run folder holds scores, and no models
OWN_CODE_VERSION = 1  # raised when scoring makes stored cells of the same models another thing
BATCH = 32


@dataclass(frozen=True)
class OwnSuite:
    """One or two models and the pictures and questions put to them.

    Attributes:
        models: by arm, the reference first.
        pictures: with the model's classes; where they have no labels, with predicted ones.
    """

    models: Mapping[str, OwnModel]
    pictures: OwnPictures
    question: Question

    @property
    def dataset_facts(self) -> DatasetFacts:
        """The pictures in the words of a manifest."""
        data = self.pictures.dataset
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
        """Shared by the models: what they were asked and of which pictures."""
        return content_key(
            {
                "data": self.pictures.dataset.fingerprint,
                "methods": list(self.question.resolved_methods),
                "metrics": {n: m.spec.protocol for n, m in self.question.resolved_metrics.items()},
                "protocol": self.question.protocol.id,
                "limit": self.question.limit,
                "code": OWN_CODE_VERSION,
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
        return f"{self.pictures.dataset.name}-{self.backbone}-{arm}-{identity[:8]}"

    @property
    def name(self) -> str:
        """Default name of the run folder."""
        return f"{self.pictures.dataset.name}-{self.backbone}-{self._key()[:8]}"

    def manifest(self) -> dict[str, Any]:
        """Everything that a reader of the rows needs to know."""
        question, data = self.question, self.pictures.dataset
        return {
            "suite_key": self._key(),
            "suite": {
                "name": self.name,
                "kind": OWN_KIND,
                "profile": "own models",
                "datasets": [data.name],
                "arms": list(self.models),
                "seeds": 1,
                "methods": list(question.resolved_methods),
                "metrics": list(question.asked_metrics),
                "protocol": question.protocol.name,
                "limit": question.limit,
            },
            "datasets": {data.name: self.dataset_facts.to_json()},
            **question.facts(),
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
            "dataset": self.pictures.dataset.name,
            "arm": arm,
            "seed": 0,
            "model": model.reference,
            "weights": None if model.weights is None else str(model.weights),
            "weights_sha256": model.digest,
            "layer": model.explained_layer,
            "normalise": model.normalisation.name,
            "mean": list(model.normalisation.mean),
            "std": list(model.normalisation.std),
            "image_size": self.pictures.dataset.image_size[0],
        }


def load_models(
    reference: str,
    weights: Sequence[Path],
    *,
    arms: Sequence[str] = (),
    layer: str | None = None,
    normalise: str | None = None,
    device: torch.device | str = "cpu",
) -> dict[str, OwnModel]:
    """One model per weights file by arm, or the one that the factory makes.

    Raises:
        LicoBenchError: for whatever is wrong with the model, its weights or their number.
    """
    files = name_models(reference, weights, arms=arms, normalise=normalise)
    models = {
        arm: load_own(reference, weights=file, layer=layer, normalise=normalise, device=device)
        for arm, file in files.items()
    }
    if len({id(model.network) for model in models.values()}) < len(models):
        raise InvalidInputError(
            f"model '{reference}': it gives the same network twice, so two weights cannot be "
            "compared; make a new network in each call"
        )
    return models


def plan_own(models: Mapping[str, OwnModel], pictures: OwnPictures, question: Question) -> OwnSuite:
    """Models and pictures checked against each other with one forward each.

    Pictures without labels get the class that the first model predicts.

    Raises:
        InvalidInputError: if a model cannot be scored as it is, or does not know the classes.
        BrokenFileError: for an unreadable picture.
    """
    scorer = question.protocol.scorer
    if scorer not in ("own", *models):
        raise InvalidInputError(
            f"protocol {question.protocol.name}: the network of arm '{scorer}' scores all maps, "
            f"and the arms are {', '.join(models)}; name one so with --arms, or take another "
            "--protocol"
        )
    first_arm, first = next(iter(models.items()))
    device = next(first.network.parameters()).device
    image = pictures.dataset.read([0]).to(device)
    needs_layer = asks_for_layer(question.resolved_methods)
    counts = {arm: try_model(m, image, needs_layer=needs_layer) for arm, m in models.items()}
    num_classes = counts[first_arm]
    if not pictures.is_labelled:
        known = imagenet_names(first.network, num_classes)
        pictures = pictures if known is None else pictures.named(known)
    pictures = _with_mean_of(first, pictures.for_classes(num_classes))
    question.defined_for(pictures.dataset)
    if not pictures.is_labelled:
        told = f"'{first_arm}' predicts"
        pictures = pictures.with_targets(_predictions(first, pictures, device), told)
    return OwnSuite(models, pictures, question)


def asks_for_layer(methods: Mapping[str, SaliencyMethod]) -> bool:
    """Whether a method looks at the model's own layer; one named in a call is its own affair."""
    return any(entry.needs_layer and "layer=" not in name for name, entry in methods.items())


def _predictions(model: OwnModel, pictures: OwnPictures, device: torch.device) -> Tensor:
    """(N,) int64, the class that `model` puts first."""
    found = []
    with scoring(model.network):
        for start in range(0, len(pictures.dataset), BATCH):
            indices = range(start, min(start + BATCH, len(pictures.dataset)))
            images = pictures.dataset.read(indices).to(device)
            found.append(logits_of(model.network(images)).argmax(1).cpu())
    return torch.cat(found)


def _with_mean_of(model: OwnModel, pictures: OwnPictures) -> OwnPictures:
    """The pictures with the colours that the model normalises with, where it was told any."""
    rules = model.normalisation
    if rules == NO_NORMALISATION:
        return pictures
    return replace(pictures, dataset=replace(pictures.dataset, mean=rules.mean, std=rules.std))


def _arm_facts(arm: str, model: OwnModel) -> dict[str, Any]:
    weights = "as the factory made them" if model.weights is None else model.weights.name
    return {"title": arm, "summary": f"{model.reference}, weights {weights}", "source": "own model"}
