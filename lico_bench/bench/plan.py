"""Plan the cells of a suite; every name and dataset is checked before the run starts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self

from lico_bench.bench.compute_cost import ComputeCost, estimate_compute
from lico_bench.bench.suite import Suite
from lico_bench.data import describe_dataset, describe_official, load_card, resolve_source
from lico_bench.errors import InvalidInputError, UnknownNameError
from lico_bench.evaluation import EvalConfig
from lico_bench.models import BACKBONES, ENCODERS
from lico_bench.records import (
    AUTO,
    DatasetFacts,
    Recipe,
    Source,
    content_key,
    resolve_precision,
)
from lico_bench.registry import keyword_defaults
from lico_bench.runtime import native_precision, pick_device, versions
from lico_bench.saliency import SaliencyMethod
from lico_bench.store.run_records import (
    ArmRecord,
    ArmSettings,
    CellEntry,
    CellRecipe,
    DatasetSettings,
    Manifest,
    MethodRecord,
    SuiteRecord,
)
from lico_bench.training import ARMS, resolve_options
from lico_bench.training.arms import Arm, options_as_dict
from lico_bench.training.loop import LABEL_DRAW_SEED

# Increased when a change in training or scoring invalidates stored cells of the same recipe.
CODE_VERSION = 5


@dataclass(frozen=True)
class PlannedCell:
    """One model to train and score.

    Attributes:
        key: readable name with a hash of recipe, options, data, encoder and code version.
        options: all options of the objective, defaults included.
        encoder: identity of the text encoder; None if the arm uses none.
        estimate: returns the compute cost.
    """

    key: str
    recipe: Recipe
    options: dict[str, Any]
    encoder: dict[str, str] | None
    estimate: Callable[[], ComputeCost] = field(repr=False, compare=False)

    @cached_property
    def cost(self) -> ComputeCost:
        """Compute cost; counted on first access, since finished cells do not need it."""
        return self.estimate()

    @property
    def title(self) -> str:
        """Display name: dataset, arm and seed."""
        return f"{self.recipe.dataset} {self.recipe.arm} seed {self.recipe.seed}"

    @property
    def pair(self) -> str:
        """Key shared by the arms of one dataset, backbone and seed."""
        return self.recipe.pair_key

    @property
    def arm(self) -> str:
        """Name of the training objective."""
        return self.recipe.arm

    @property
    def backbone(self) -> str:
        """Name of the network."""
        return self.recipe.backbone

    def entry(self) -> CellEntry:
        """Return the manifest entry."""
        return CellEntry(
            key=self.key,
            pair=self.pair,
            recipe=CellRecipe.of(self.recipe.facts()),
            options=self.options,
            encoder=self.encoder,
        )


@dataclass(frozen=True)
class Plan:
    """The cells of a suite and their datasets.

    Attributes:
        root: folder of the datasets; None uses LICO_BENCH_DATA.
        datasets: facts by dataset name.
        requested: recipes before `auto` precision is resolved, in the order of `cells`.
    """

    suite: Suite
    root: Path | None
    cells: tuple[PlannedCell, ...]
    datasets: dict[str, DatasetFacts]
    requested: tuple[Recipe, ...]

    @cached_property
    def eval_config(self) -> EvalConfig:
        """Methods, metrics and protocol applied to each model."""
        return _eval_config(self.suite)

    @property
    def key(self) -> str:
        """Hash of suite, cell keys and protocol."""
        return self._key_of(self.cells)

    @cached_property
    def name(self) -> str:
        """Default name of the run folder, independent of how `auto` precision is resolved."""
        names = self.suite.datasets
        prefix = names[0] if len(names) == 1 else f"{len(names)}-datasets"
        return f"{prefix}-{self.suite.profile}-{self._key_of(self._cells_of(self.requested))[:8]}"

    @property
    def auto_precision(self) -> str | None:
        """Precision that `auto` was resolved to; None if no recipe uses `auto`."""
        pairs = zip(self.requested, self.cells, strict=True)
        return next((c.recipe.precision for r, c in pairs if r.precision == AUTO), None)

    def with_precision(self, precision: str) -> Self:
        """Return a copy with `auto` resolved to `precision`."""
        recipes = [resolve_precision(recipe, precision) for recipe in self.requested]
        return replace(self, cells=self._cells_of(recipes))

    def until_seed(self, seed: int) -> Self:
        """Return a copy without the cells of `seed` and later seeds."""
        kept = [i for i, cell in enumerate(self.cells) if cell.recipe.seed < seed]
        return replace(
            self,
            cells=tuple(self.cells[i] for i in kept),
            requested=tuple(self.requested[i] for i in kept),
        )

    def _cells_of(self, recipes: Iterable[Recipe]) -> tuple[PlannedCell, ...]:
        return tuple(plan_cell(r, self.eval_config, self.datasets[r.dataset]) for r in recipes)

    def _key_of(self, cells: Iterable[PlannedCell]) -> str:
        return content_key(
            {
                "suite": self.suite.facts(),
                "cells": [cell.key for cell in cells],
                "protocol": self.eval_config.protocol.id,
            }
        )

    def manifest(self) -> Manifest:
        """Return the run's manifest."""
        settings = self.suite.of_dataset.items()
        of_dataset = {name: DatasetSettings.of(changes) for name, changes in settings}
        of_arm = {name: ArmSettings.of(each) for name, each in self.suite.of_arm.items()}
        facts = {
            **self.suite.facts(),
            "name": self.name,
            "of_dataset": of_dataset,
            "of_arm": of_arm,
        }
        return build_manifest(
            SuiteRecord.of(facts),
            key=self.key,
            datasets=self.datasets,
            eval_config=self.eval_config,
            arms={name: _arm_record(ARMS[name]) for name in self.suite.arms},
            cells=[cell.entry() for cell in self.cells],
        )


def build_manifest(
    suite: SuiteRecord,
    *,
    key: str,
    datasets: Mapping[str, DatasetFacts],
    eval_config: EvalConfig,
    arms: Mapping[str, ArmRecord],
    cells: Iterable[CellEntry],
) -> Manifest:
    """Return the manifest of a run that starts now with the installed software versions."""
    protocol = eval_config.protocol
    rules: dict[str, Any] = {protocol.id: {**protocol.rules, "source": protocol.source}}
    for metric in eval_config.resolved_metrics.values():
        if metric.spec.protocol:
            rules[metric.spec.protocol] = metric.rules
    return Manifest(
        suite_key=key,
        suite=suite,
        datasets=datasets,
        metrics={name: entry.spec for name, entry in eval_config.resolved_metrics.items()},
        methods={
            name: _method_record(entry) for name, entry in eval_config.resolved_methods.items()
        },
        protocols=rules,
        arms=arms,
        cells=tuple(cells),
        versions=versions(),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _arm_record(arm: Arm) -> ArmRecord:
    """Return the manifest entry of an arm that is trained in the run."""
    names = [f.name for f in fields(arm) if f.name not in ("build", "options")]
    return ArmRecord.of({name: getattr(arm, name) for name in names})


def _method_record(entry: SaliencyMethod) -> MethodRecord:
    return MethodRecord(
        title=entry.title,
        source=entry.source,
        is_control=entry.is_control,
        other={
            "family": entry.family,
            "is_signed": entry.is_signed,
            "pitfalls": entry.pitfalls,
            "options": keyword_defaults(entry.compute),
        },
    )


def make_plan(
    suite: Suite, *, root: str | os.PathLike[str] | None = None, device: str = "auto"
) -> Plan:
    """Plan `suite`: check every name, locate every dataset and list the cells.

    Args:
        device: argument of `runtime.pick_device`; decides the precision that `auto` means.

    Raises:
        UnknownNameError: for an unknown method, metric, arm, dataset or option.
        MissingDataError: if real images are requested and missing.
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
            plan_cell(resolve_precision(recipe, native), eval_config, datasets[recipe.dataset])
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
    return describe_local_data(recipe, root)


def describe_local_data(recipe: Recipe, root: str | os.PathLike[str] | None) -> DatasetFacts:
    """Describe the images that `recipe` uses on this machine.

    Raises:
        LicoBenchError: if images are missing or damaged.
    """
    return describe_dataset(
        recipe.dataset,
        root=root,
        source=recipe.source,
        image_size=recipe.image_size,
        skip_broken=recipe.skip_broken,
        holdout=recipe.holdout,
        seed=LABEL_DRAW_SEED,
    )


def _recipes(
    suite: Suite, sources: dict[str, Any], root: str | os.PathLike[str] | None
) -> Iterator[Recipe]:
    for dataset in suite.datasets:
        card, source = load_card(dataset, root), sources[dataset]
        base = card.recipe(suite.profile, source) | suite.changes_of(dataset)
        tuned = {} if suite.as_published else card.objective(suite.profile, source)
        BACKBONES[str(base["backbone"])]  # raises UnknownNameError
        for seed in range(suite.seeds_of(dataset)):
            for arm in suite.arms_of(dataset):
                recipe = Recipe(dataset, base["backbone"], arm, seed=seed, source=source)
                options = ARMS[arm].card_options(tuned) | _user_options(arm, suite)
                recipe = recipe.with_options(base).with_options({"objective": options})
                yield recipe.for_arm(*suite.settings_of_arm(arm, dataset))


def plan_cell(recipe: Recipe, eval_config: EvalConfig, facts: DatasetFacts) -> PlannedCell:
    """Return the cell of a recipe whose precision is resolved.

    Raises:
        UnknownNameError, InvalidInputError: for an unknown or invalid option of the arm.
    """
    arm_options = resolve_options(recipe.arm, dict(recipe.objective))
    arm_options.check(recipe)
    options = options_as_dict(arm_options)
    encoder_name = ARMS[recipe.arm].encoder_for(recipe)
    encoder = None if encoder_name is None else asdict(ENCODERS[encoder_name].identify())
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
    names = {option.name for option in fields(ARMS[arm].options)}
    return {name: value for name, value in suite.objective.items() if name in names}


def _check_objective_options(suite: Suite) -> None:
    known = {option.name for arm in suite.arms for option in fields(ARMS[arm].options)}
    for name in suite.objective:
        if name not in known:
            if not known:
                raise InvalidInputError(
                    f"objective.{name}: none of the arms {', '.join(suite.arms)} has options; "
                    "remove this setting"
                )
            raise UnknownNameError.of("objective option", name, known)
