"""Plan the trials of a tuning as cells of a run, and pick the best of every arm.

Trials resume like other cells, and any executor runs them. They are trained and judged on parts of
the training split; the test split is never read.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pandas as pd

from lico_bench.bench.compute_cost import split_images
from lico_bench.bench.plan import Plan, PlannedCell, make_plan, plan_cell
from lico_bench.bench.suite import PROFILES, suite_toml
from lico_bench.bench.tuning import ACCURACY, Tuning, group_of
from lico_bench.errors import InvalidInputError, LicoBenchError, MissingDataError
from lico_bench.records import Option, Recipe, resolve_precision
from lico_bench.runtime import native_precision, pick_device
from lico_bench.store import RunFolder
from lico_bench.store.run_records import TUNING_KIND, Failure, Manifest
from lico_bench.training import ARMS, resolve_options

DIVERGED = "TrainingError"  # class of the recorded error
REGION_NEEDS = ("regions", "instances")


@dataclass(frozen=True)
class TuningPlan(Plan):
    """The trials of a tuning as the cells of a run.

    Attributes:
        tuning: the declared tuning.
        numbers: number of the trial of each cell.
    """

    tuning: Tuning
    numbers: tuple[int, ...]

    @cached_property
    def name(self) -> str:
        """Default name of the run folder."""
        return f"tune-{super().name}"

    @cached_property
    def trial_of(self) -> dict[str, int]:
        """Number of the trial by cell key."""
        return dict(zip((cell.key for cell in self.cells), self.numbers, strict=True))

    def manifest(self) -> Manifest:
        """Return the run's manifest, marked as a tuning."""
        manifest = super().manifest()
        return replace(manifest, suite=replace(manifest.suite, kind=TUNING_KIND))


def plan_trials(
    tuning: Tuning, *, root: str | os.PathLike[str] | None = None, device: str = "auto"
) -> TuningPlan:
    """Plan the trials of `tuning`.

    Raises:
        LicoBenchError: as `make_plan`.
        InvalidInputError: for more images to judge than to train on, a space with fewer settings
            than trials, or a criterion whose metric needs regions that a dataset lacks.
    """
    suite = replace(tuning.suite, changes={**tuning.suite.changes, "holdout": tuning.holdout})
    base = make_plan(suite, root=root, device=device)
    for recipe in base.requested:
        _check_split(recipe, base)
    _check_ground_truth(tuning, base)
    numbered = [pair for recipe in base.requested for pair in _numbered_trials(tuning, recipe)]
    native = native_precision(pick_device(device)).name
    return TuningPlan(
        suite=suite,
        root=base.root,
        datasets=base.datasets,
        cells=tuple(
            plan_cell(resolve_precision(t, native), base.eval_config, base.datasets[t.dataset])
            for _, t in numbered
        ),
        requested=tuple(trial for _, trial in numbered),
        tuning=tuning,
        numbers=tuple(number for number, _ in numbered),
    )


def _numbered_trials(tuning: Tuning, recipe: Recipe) -> Iterator[tuple[int, Recipe]]:
    """Yield the trials of a recipe; options that do not fit each other are named with their arm."""
    if recipe.holdout != tuning.holdout:
        raise InvalidInputError(
            f"{recipe.dataset}: expected recipe.holdout {tuning.holdout}, got {recipe.holdout}; "
            "set tune.holdout alone"
        )
    try:
        for number, trial in enumerate(tuning.trials_of(recipe)):
            resolve_options(trial.arm, dict(trial.objective)).check(trial)
            yield number, trial
    except LicoBenchError as error:
        raise type(error)(f"space of arm '{recipe.arm}': {error}") from error


def _check_split(recipe: Recipe, plan: Plan) -> None:
    facts = plan.datasets[recipe.dataset]
    trained, judged = (split_images(recipe, facts, split) for split in ("train", "test"))
    if judged > trained:
        raise InvalidInputError(
            f"{recipe.dataset}: {judged:,} images are held out and {trained:,} trained on; lower "
            "tune.holdout, or raise recipe.train_limit or recipe.labels"
        )


def _check_ground_truth(tuning: Tuning, plan: Plan) -> None:
    metrics = {m for weights in tuning.criteria.values() for m in weights} - {ACCURACY}
    for metric in sorted(metrics):
        needs = plan.eval_config.resolved_metrics[metric].spec.needs
        for facts in plan.datasets.values():
            if not facts.has_regions and set(needs) & set(REGION_NEEDS):
                raise InvalidInputError(
                    f"{metric} needs regions, which {facts.name} does not have; name another "
                    "metric in tune.pick"
                )


def failed_trials(plan: TuningPlan, run: RunFolder) -> dict[str, Failure]:
    """Return the failures by cell key, without trainings that diverged: they are results."""
    keys = {cell.key for cell in plan.cells}
    failures = run.failures().items()
    return {key: f for key, f in failures if key in keys and f.error != DIVERGED}


def trial_table(plan: TuningPlan, run: RunFolder) -> pd.DataFrame:
    """Return a row per dataset, arm and trial with its settings, means over seeds and scores.

    Columns: `dataset`, `arm`, `trial`, `seeds`, a column per option of the spaces (None for an arm
    without it), `accuracy`, the other metrics of the picks, `pick` and `second_pick` (scores,
    higher is better), and `cost_gigaflop` of one training. A training that diverged has no values
    and the score minus infinity.

    Raises:
        MissingDataError: if a trial is unfinished.
        InvalidInputError: if a metric of a pick has no value in a finished trial.
    """
    diverged = {key for key, f in run.failures().items() if f.error == DIVERGED}
    finished = set(run.finished())
    keys = [cell.key for cell in plan.cells]
    unfinished = [key for key in keys if key not in finished | diverged]
    if unfinished:
        raise MissingDataError(
            f"{run.path}: {len(unfinished)} of {len(keys)} trials are unfinished "
            f"({unfinished[0]} is the first); repeat the same command to finish them"
        )
    criteria, names = plan.tuning.criteria, plan.tuning.option_names
    metrics = tuple(dict.fromkeys([ACCURACY, *(m for each in criteria.values() for m in each)]))
    means = _means(plan, run, metrics)
    records = []
    for cell in plan.cells:
        values = {m: means.get((cell.key, m), math.nan) for m in metrics}
        undefined = [m for m, value in values.items() if math.isnan(value)]
        if undefined and cell.key in finished:
            raise InvalidInputError(
                f"{cell.title}: {undefined[0]} has no value on the images held out; name another "
                "metric in tune.pick"
            )
        scores = {
            pick: -math.inf if undefined else sum(w * values[m] for m, w in weights.items())
            for pick, weights in criteria.items()
        }
        records.append(
            {
                "dataset": cell.recipe.dataset, "arm": cell.arm, "trial": plan.trial_of[cell.key],
                "seeds": 1, **{name: _value_of(name, cell) for name in names}, **values, **scores,
                "cost_gigaflop": cell.cost.train_gigaflop,
            }
        )  # fmt: skip
    # Objects: pandas would turn whole numbers beside a missing value into floats.
    options = {name: pd.Series([r[name] for r in records], dtype=object) for name in names}
    table = pd.DataFrame(records).assign(**options)
    of_trial = table.groupby(["dataset", "arm", "trial"], sort=False, as_index=False)
    averaged = dict.fromkeys([*metrics, *criteria, "cost_gigaflop"], "mean")
    return of_trial.agg({"seeds": "sum", **dict.fromkeys(names, "first"), **averaged})


def _means(
    plan: TuningPlan, run: RunFolder, metrics: tuple[str, ...]
) -> dict[tuple[str, str], float]:
    """Return the mean of each metric by cell: of the model, or of the maps of the first method."""
    if not run.finished():
        return {}
    method = next(iter(plan.eval_config.resolved_methods))
    rows = run.rows()
    rows = rows[rows["metric"].isin(metrics) & rows["method"].isin(["", method])]
    means = rows.groupby(["cell", "metric"], as_index=False)["value"].mean()
    keys = zip(means["cell"], means["metric"], strict=True)
    return dict(zip(keys, means["value"].astype(float), strict=True))


def _value_of(name: str, cell: PlannedCell) -> Option | None:
    """Return the value of `recipe.NAME` or `objective.NAME` in a trial; None without the option."""
    group, _, option = name.partition(".")
    value: Option | None = (
        getattr(cell.recipe, option) if group == "recipe" else cell.options.get(option)
    )
    return value


def best_trials(table: pd.DataFrame, pick: str, *, tie: float = 0.0) -> pd.DataFrame:
    """Return the row of `trial_table` with the best score `pick` per dataset and arm.

    Of the trials within `tie` of the best score, the cheapest is taken, then the first.

    Raises:
        InvalidInputError: if every trial of an arm diverged.
    """
    best: list[pd.DataFrame] = []
    for (dataset, arm), trials in table.groupby(["dataset", "arm"], sort=False):
        top = trials[pick].max()
        if not math.isfinite(top):
            raise InvalidInputError(
                f"{dataset} {arm}: every trial diverged; lower the rates of its space"
            )
        close = trials[trials[pick] >= top - tie]
        best.append(close.sort_values(["cost_gigaflop", "trial"], kind="stable").iloc[:1])
    picked: pd.DataFrame = pd.concat(best, ignore_index=True)
    return picked


@dataclass(frozen=True)
class TuningResult:
    """The trials of a finished tuning and the best of every arm.

    Attributes:
        trials: rows of `trial_table`.
        picks: picked rows by the name of the criterion, `pick` or `second_pick`.
    """

    tuning: Tuning
    trials: pd.DataFrame
    picks: Mapping[str, pd.DataFrame]

    @classmethod
    def of(cls, plan: TuningPlan, run: RunFolder) -> TuningResult:
        """Read the result of a run; raises as `trial_table` and `best_trials`."""
        table, tuning = trial_table(plan, run), plan.tuning
        picks = {name: best_trials(table, name, tie=tuning.tie) for name in tuning.criteria}
        return cls(tuning, table, picks)

    def files(self) -> dict[str, bytes]:
        """Return `trials.csv` and a suite file per pick, by file name."""
        trials = self.trials.to_csv(index=False, lineterminator="\n")
        suites = {f"{n}.toml": picked_suite(self.tuning, p) for n, p in self.picks.items()}
        return {name: text.encode() for name, text in {"trials.csv": trials, **suites}.items()}


def picked_suite(tuning: Tuning, picks: pd.DataFrame) -> str:
    """Return the TOML of the tuning's suite with the picked settings of every arm.

    It trains on the complete training split, with the seeds of its profile, and scores the test
    split. An arm whose published settings are an arm of their own has that arm beside it.
    """
    suite = tuning.suite
    of_dataset: dict[str, dict[str, Any]] = {
        # The trials' number of seeds is not that of the suite.
        name: {key: value for key, value in settings.items() if key != "seeds"}
        for name, settings in suite.of_dataset.items()
    }
    comments = []
    for row in picks.to_dict("records"):
        dataset, arm = str(row["dataset"]), str(row["arm"])
        settings: dict[str, Option] = {name: row[name] for name in tuning.spaces[arm]}
        changes, objective = suite.settings_of_arm(arm, dataset)
        of_arm = of_dataset.setdefault(dataset, {}).setdefault("of_arm", {})
        picked = {
            "changes": {**changes, **group_of(settings, "recipe")},
            "objective": {**objective, **group_of(settings, "objective")},
        }
        of_arm[arm] = {name: options for name, options in picked.items() if options}
        published = ARMS[arm].as_published
        if published:
            # The suite's own objective options would change the published ones.
            defaults = ARMS[published].options
            reset = {n: getattr(defaults, n) for n in suite.objective if hasattr(defaults, n)}
            of_arm[published] = {"objective": reset} if reset else {}
        comments.append(f"# {dataset} {arm}: trial {row['trial']} of {tuning.trials}.\n")
    seeds = PROFILES[suite.profile].seeds
    for of_one in of_dataset.values():
        if "arms" in of_one:
            of_one["arms"] = _with_published(of_one["arms"])
    return "".join(comments) + suite_toml(
        replace(suite, seeds=seeds, arms=_with_published(suite.arms), of_dataset=of_dataset)
    )


def _with_published(arms: Iterable[str]) -> tuple[str, ...]:
    """Return the arms, each followed by the arm with its published settings."""
    pairs = ((arm, ARMS[arm].as_published) for arm in arms)
    return tuple(dict.fromkeys(name for pair in pairs for name in pair if name))
