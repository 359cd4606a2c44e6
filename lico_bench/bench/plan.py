"""From a suite to cells: everything is looked up and checked before anything is run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from lico_bench.bench.compute_cost import ComputeCost, estimate_compute
from lico_bench.bench.suite import Suite
from lico_bench.data import (
    DatasetFacts,
    describe_dataset,
    describe_official,
    load_card,
    resolve_source,
)
from lico_bench.errors import InvalidInputError, UnknownNameError
from lico_bench.evaluation import EvalConfig
from lico_bench.models import BACKBONES, ENCODERS
from lico_bench.records import AUTO, Protocol, Recipe, Source, content_key, resolve_precision
from lico_bench.runtime import native_precision, pick_device, versions
from lico_bench.training import ARMS, resolve_options
from lico_bench.training.arms import options_as_dict

# Raised when a change in training or scoring makes stored cells of the same recipe another thing.
CODE_VERSION = 4


@dataclass(frozen=True)
class PlannedCell:
    """One model to train and score.

    Attributes:
        key: readable, and unique by the hash of recipe, options, data and encoder.
        options: of the objective, complete.
        encoder: identity of the text encoder where the arm uses one.
    """

    key: str
    recipe: Recipe
    options: dict[str, Any]
    encoder: dict[str, str] | None
    estimate: Callable[[], ComputeCost] = field(repr=False, compare=False)

    @cached_property
    def work(self) -> ComputeCost:
        """What it costs; counted when asked for, because a finished cell is never asked."""
        return self.estimate()

    @property
    def title(self) -> str:
        """Dataset, arm and seed, for people."""
        return f"{self.recipe.dataset} {self.recipe.arm} seed {self.recipe.seed}"

    def facts(self) -> dict[str, Any]:
        """For the manifest."""
        return {
            "key": self.key,
            "pair": self.recipe.pair_key,
            "recipe": self.recipe.facts(),
            "options": self.options,
            "encoder": self.encoder,
        }


@dataclass(frozen=True)
class Plan:
    """The cells of a suite, and what they will be made of.

    Attributes:
        asked: the recipes as the suite asks for them, where the precision may still be `auto`.
    """

    suite: Suite
    root: Path | None
    cells: tuple[PlannedCell, ...]
    datasets: dict[str, DatasetFacts]
    requested: tuple[Recipe, ...]

    @property
    def protocol(self) -> Protocol:
        """Rules of the perturbation curves, with the scoring network that the suite chose."""
        return self.eval_config.protocol

    @cached_property
    def eval_config(self) -> EvalConfig:
        """What is asked of each model."""
        return _eval_config(self.suite)

    def scorer_of(self, cell: PlannedCell) -> PlannedCell | None:
        """The cell whose network scores the maps of `cell`; None where it is the cell itself."""
        arm = self.protocol.scorer
        if arm in ("own", cell.recipe.arm):
            return None
        same = (c for c in self.cells if c.recipe.pair_key == cell.recipe.pair_key)
        return next(c for c in same if c.recipe.arm == arm)

    @property
    def key(self) -> str:
        """Identity of suite, recipes, data and code."""
        return self._key_of(self.cells)

    @cached_property
    def name(self) -> str:
        """Default name of the run folder, the same on machines that resolve `auto` differently."""
        names = self.suite.datasets
        what = names[0] if len(names) == 1 else f"{len(names)}-datasets"
        return f"{what}-{self.suite.profile}-{self._key_of(self._cells_of(self.requested))[:8]}"

    @property
    def auto_precision(self) -> str | None:
        """What `auto` was resolved to; None where every precision was named."""
        pairs = zip(self.requested, self.cells, strict=True)
        return next((c.recipe.precision for a, c in pairs if a.precision == AUTO), None)

    def with_precision(self, precision: str) -> Plan:
        """This plan with `auto` resolved to `precision`."""
        recipes = [resolve_precision(recipe, precision) for recipe in self.requested]
        return replace(self, cells=self._cells_of(recipes))

    def _cells_of(self, recipes: Iterable[Recipe]) -> tuple[PlannedCell, ...]:
        return tuple(_plan_cell(r, self.eval_config, self.datasets[r.dataset]) for r in recipes)

    def _key_of(self, cells: Iterable[PlannedCell]) -> str:
        return content_key(
            {
                "suite": self.suite.facts(),
                "cells": [cell.key for cell in cells],
                "protocol": self.protocol.id,
            }
        )

    def manifest(self) -> dict[str, Any]:
        """Everything that a reader of the rows needs to know."""
        return {
            "suite_key": self.key,
            "suite": {"name": self.name, **self.suite.facts()},
            "datasets": {name: facts.to_json() for name, facts in self.datasets.items()},
            **self.eval_config.facts(),
            "arms": {
                name: _without_functions(ARMS[name], ("build", "options"))
                for name in self.suite.arms
            },
            "cells": [cell.facts() for cell in self.cells],
            "versions": versions(),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
        }


def make_plan(
    suite: Suite, *, root: str | os.PathLike[str] | None = None, device: str = "auto"
) -> Plan:
    """The plan of `suite`, with every name known and every dataset found.

    Args:
        device: where the precision `auto` is resolved, as `runtime.pick_device` takes it.

    Raises:
        UnknownNameError: for a name that no registry or card knows.
        MissingDataError: if real images are asked for and are not there.
        InvalidInputError: for an option outside its range.
    """
    eval_config = _eval_config(suite)
    _check_objective_options(suite)
    sources = {name: _source_of(name, suite, root) for name in suite.datasets}
    recipes = tuple(_recipes(suite, sources, root))
    datasets = {
        recipe.dataset: _describe(recipe, suite, root)
        for recipe in {recipe.dataset: recipe for recipe in recipes}.values()
    }
    native = native_precision(pick_device(device)).name
    return Plan(
        suite=suite,
        root=None if root is None else Path(root),
        cells=tuple(
            _plan_cell(resolve_precision(recipe, native), eval_config, datasets[recipe.dataset])
            for recipe in recipes
        ),
        datasets=datasets,
        requested=recipes,
    )


def _source_of(name: str, suite: Suite, root: str | os.PathLike[str] | None) -> Source:
    return "real" if suite.data == "official" else resolve_source(name, root=root, data=suite.data)


def _describe(recipe: Recipe, suite: Suite, root: str | os.PathLike[str] | None) -> DatasetFacts:
    if suite.data == "official":
        return describe_official(recipe.dataset, root=root, image_size=recipe.image_size)
    return facts_found(recipe, root)


def facts_found(recipe: Recipe, root: str | os.PathLike[str] | None) -> DatasetFacts:
    """The facts of the images that `recipe` finds on this machine.

    Raises:
        LicoBenchError: if they are not there, or damaged.
    """
    return describe_dataset(
        recipe.dataset,
        root=root,
        source=recipe.source,
        image_size=recipe.image_size,
        skip_broken=recipe.skip_broken,
    )


def _recipes(
    suite: Suite, sources: dict[str, Any], root: str | os.PathLike[str] | None
) -> Iterator[Recipe]:
    for dataset in suite.datasets:
        card, source = load_card(dataset, root), sources[dataset]
        base = card.recipe(suite.profile, source) | suite.changes_of(dataset)
        tuned = {} if suite.as_published else card.objective(suite.profile, source)
        BACKBONES[str(base["backbone"])]
        for seed in range(suite.seeds_of(dataset)):
            for arm in suite.arms_of(dataset):
                recipe = Recipe(dataset, base["backbone"], arm, seed=seed, source=source)
                options = ARMS[arm].card_options(tuned) | _user_options(arm, suite)
                yield recipe.with_options(base).with_options({"objective": options})


def _plan_cell(recipe: Recipe, eval_config: EvalConfig, facts: DatasetFacts) -> PlannedCell:
    chosen = resolve_options(recipe.arm, dict(recipe.objective))
    chosen.check(recipe)
    options = options_as_dict(chosen)
    named = ARMS[recipe.arm].encoder_for(recipe)
    encoder = None if named is None else asdict(ENCODERS[named].identify())
    identity = content_key(
        {
            "recipe": recipe.facts(),
            "options": options,
            "encoder": encoder,
            "data": facts.fingerprint,
            "code": CODE_VERSION,
        }
    )
    return PlannedCell(
        key=f"{recipe.dataset}-{recipe.backbone}-{recipe.arm}-s{recipe.seed}-{identity[:8]}",
        recipe=recipe,
        options=options,
        encoder=encoder,
        estimate=partial(estimate_compute, recipe, facts, eval_config),
    )


def _eval_config(suite: Suite) -> EvalConfig:
    return EvalConfig(suite.methods, suite.metrics, suite.rules(), suite.limit)


def _user_options(arm: str, suite: Suite) -> dict[str, Any]:
    own = {option.name for option in fields(ARMS[arm].options)}
    return {name: value for name, value in suite.objective.items() if name in own}


def _check_objective_options(suite: Suite) -> None:
    known = {option.name for arm in suite.arms for option in fields(ARMS[arm].options)}
    for name in suite.objective:
        if name not in known:
            if not known:
                raise InvalidInputError(
                    f"objective.{name}: none of the arms {', '.join(suite.arms)} has options"
                )
            raise UnknownNameError.of("objective option", name, known)


def _without_functions(entry: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {f.name: getattr(entry, f.name) for f in fields(entry) if f.name not in names}
