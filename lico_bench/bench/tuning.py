"""Tune the settings of every arm with the same budget, on images held out of train.

A TOML file declares a suite (`bench.suite`) and adds two tables:

    datasets = ["cifar10"]
    arms = ["baseline", "lico"]
    seeds = 1                       # trainings per trial

    [tune]
    trials = 16                     # per arm; the first has the suite's own settings
    holdout = 0.2                   # share of each training class on which trials are judged
    seed = 0                        # of the drawn settings
    pick = { accuracy = 1.0 }       # weight of each metric's mean in the score of a trial
    second_pick = { accuracy = 1.0, overall = 1.0 }

    [space]                         # of every arm
    "recipe.learning_rate" = { low = 0.03, high = 1.0, scale = "log" }
    "recipe.weight_decay" = { values = [1e-4, 5e-4, 2e-3] }

    [space.lico]                    # of one arm
    "objective.beta" = { low = 0.01, high = 1.0, scale = "log" }

Trials are cells of a run: they resume, and any executor runs them. Settings are drawn from a
scrambled Sobol sequence whose first coordinates are those of `[space]`, so trial k of every arm has
the same rate. The test split is never read.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
from torch.quasirandom import SobolEngine

from lico_bench.bench.plan import Plan, PlannedCell, make_plan, plan_cell
from lico_bench.bench.suite import PROFILES, Suite, read_toml, suite_of
from lico_bench.checks import check_choice, check_count
from lico_bench.errors import InvalidInputError, LicoBenchError, MissingDataError, UnknownNameError
from lico_bench.metrics import resolve_metric
from lico_bench.records import ARM_FIELDS, Option, Recipe, resolve_precision
from lico_bench.runtime import native_precision, pick_device
from lico_bench.store import RunFolder
from lico_bench.store.files import write_bytes
from lico_bench.store.run_records import Manifest
from lico_bench.training import resolve_options

GROUPS = ("recipe", "objective")
SCALES = ("linear", "log")
RANGE_KEYS = ("low", "high", "scale", "values")
TUNE_KEYS = ("trials", "holdout", "seed", "pick", "second_pick", "tie")
MAX_DRAWS = 64  # per trial, until it differs from the others
DIVERGED = "TrainingError"  # class of the recorded error
DIVERGED_SCORE = float("-inf")


@dataclass(frozen=True)
class Range:
    """Values of one option: an interval, even or even in the logarithm, or a list."""

    low: float = 0.0
    high: float = 0.0
    is_log: bool = False
    values: tuple[Option, ...] = ()

    def at(self, share: float) -> Option:
        """Return the value at `share` in [0, 1), rounded to three digits."""
        if self.values:
            return self.values[int(share * len(self.values))]
        if self.is_log:
            value = math.exp(math.log(self.low) + share * math.log(self.high / self.low))
        else:
            value = self.low + share * (self.high - self.low)
        return float(f"{value:.3g}")


Space = Mapping[str, Range]  # by `recipe.NAME` or `objective.NAME`


@dataclass(frozen=True)
class Tuning:
    """A tuning: its suite, budget, spaces and criteria.

    Attributes:
        trials: per arm and dataset, the trial of the suite's own settings included.
        holdout: share of each training class on which the trials are judged.
        seed: of the drawn settings.
        spaces: by arm; the options that all arms share come first.
        pick, second_pick: weights of the means of metrics; their sum is the score of a trial. The
            weight of a metric of which lower is better is negative.
        tie: scores this close to the best are equal; the cheapest of them is picked.
    """

    suite: Suite
    trials: int
    spaces: Mapping[str, Space]
    holdout: float = 0.2
    seed: int = 0
    pick: Mapping[str, float] = field(default_factory=lambda: {"accuracy": 1.0})
    second_pick: Mapping[str, float] = field(default_factory=dict)
    tie: float = 0.0

    def __post_init__(self) -> None:
        check_count("tune.trials", self.trials)
        check_count("tune.seed", self.seed, at_least=0)
        if not 0 < self.holdout <= 0.5:
            raise InvalidInputError(
                f"tune.holdout: expected a share in (0, 0.5], got {self.holdout}; a larger part of "
                "train would be judged than trained on"
            )
        if self.suite.data == "official":
            raise InvalidInputError("data: trials need images here; use auto, real or standin")
        if not any(self.spaces.values()):
            raise InvalidInputError("space: expected at least one option, got none")
        for name, weights in self.criteria.items():
            for metric, weight in weights.items():
                _check_weight(name, metric, weight, self.suite.metrics)

    @property
    def criteria(self) -> dict[str, Mapping[str, float]]:
        """The declared picks and the weights of their metrics."""
        picks = {"pick": self.pick, "second_pick": self.second_pick}
        return {name: weights for name, weights in picks.items() if weights}

    @property
    def log_options(self) -> frozenset[str]:
        """Names of the options that are drawn evenly in the logarithm."""
        ranges = [item for space in self.spaces.values() for item in space.items()]
        return frozenset(name for name, values in ranges if values.is_log)

    @property
    def option_names(self) -> tuple[str, ...]:
        """Names of all options of the spaces."""
        return tuple(dict.fromkeys(name for space in self.spaces.values() for name in space))

    def draw_settings(self, arm: str) -> Iterator[dict[str, Option]]:
        """Yield changed options of `arm` without end; the first change nothing."""
        space = self.spaces[arm]
        dimensions = max(1, *(len(each) for each in self.spaces.values()))
        sequence: Any = SobolEngine(dimensions, scramble=True, seed=self.seed)  # type: ignore[no-untyped-call]
        yield {}
        while True:
            point = sequence.draw(1)[0].tolist()[: len(space)]
            yield {n: r.at(u) for (n, r), u in zip(space.items(), point, strict=True)}


def _check_weight(pick: str, metric: str, weight: float, metrics: Sequence[str]) -> None:
    if metric != "accuracy" and metric not in metrics:
        raise UnknownNameError.of("metric of a pick", metric, ("accuracy", *metrics))
    if not math.isfinite(weight) or weight == 0:
        raise InvalidInputError(
            f"tune.{pick}.{metric}: expected a weight other than 0, got {weight}"
        )
    is_better = True if metric == "accuracy" else resolve_metric(metric).spec.higher_is_better
    if is_better is None:
        raise InvalidInputError(
            f"tune.{pick}.{metric}: it is descriptive and has no direction of merit; choose another"
        )
    if is_better != (weight > 0):
        direction = ("lower", "negative") if weight > 0 else ("higher", "positive")
        raise InvalidInputError(
            f"tune.{pick}.{metric}: {direction[0]} is better; expected a {direction[1]} weight, "
            f"got {weight}"
        )


def read_tuning(path: Path) -> Tuning:
    """Read the tuning that the TOML file at `path` declares.

    Raises:
        InvalidInputError, BrokenFileError, UnknownNameError: as `read_suite`; for an unknown
            option, an empty space, or a budget below one trial.
    """
    declared = read_toml(path, "tune")
    try:
        return _tuning(declared)
    except LicoBenchError as error:
        raise type(error)(f"{path}: {error}") from error


@dataclass(frozen=True)
class TuningPlan(Plan):
    """The trials of a tuning as the cells of a run.

    Attributes:
        tuning: the declared tuning.
        trial_of: number of the trial by cell key.
    """

    tuning: Tuning
    trial_of: Mapping[str, int]

    @cached_property
    def name(self) -> str:
        """Default name of the run folder."""
        return f"tune-{super().name}"

    def manifest(self) -> Manifest:
        """Return the run's manifest, marked as a tuning."""
        manifest = super().manifest()
        return replace(manifest, suite=replace(manifest.suite, kind="tuning"))


def plan_trials(
    tuning: Tuning, *, root: str | os.PathLike[str] | None = None, device: str = "auto"
) -> TuningPlan:
    """Plan the trials of `tuning`; raises as `make_plan`."""
    suite = replace(tuning.suite, changes={**tuning.suite.changes, "holdout": tuning.holdout})
    base = make_plan(suite, root=root, device=device)
    trials = [
        (number, trial)
        for recipe in base.requested
        for number, trial in enumerate(_distinct_trials(recipe, tuning))
    ]
    native = native_precision(pick_device(device)).name
    cells = tuple(
        plan_cell(resolve_precision(trial, native), base.eval_config, base.datasets[trial.dataset])
        for _, trial in trials
    )
    return TuningPlan(
        suite=suite, root=base.root, datasets=base.datasets, cells=cells,
        requested=tuple(trial for _, trial in trials), tuning=tuning,
        trial_of={cell.key: number for cell, (number, _) in zip(cells, trials, strict=True)},
    )  # fmt: skip


def _distinct_trials(recipe: Recipe, tuning: Tuning) -> tuple[Recipe, ...]:
    """Return as many different settings of `recipe` as the budget has trials."""
    trials: dict[Recipe, None] = {}
    for settings in islice(tuning.draw_settings(recipe.arm), MAX_DRAWS * tuning.trials):
        trials[recipe.for_arm(_group(settings, "recipe"), _group(settings, "objective"))] = None
        if len(trials) == tuning.trials:
            return tuple(trials)
    raise InvalidInputError(
        f"space of arm '{recipe.arm}': it has {len(trials)} different settings for "
        f"{tuning.trials} trials; every arm has the same budget, so lower tune.trials or declare "
        "more values"
    )


def trial_table(plan: TuningPlan, run: RunFolder) -> pd.DataFrame:
    """Return a row per dataset, arm and trial with its settings, means over seeds and scores.

    Columns: `dataset`, `arm`, `trial`, `seeds`, a column per option of the spaces, `accuracy`, the
    other metrics of the picks, `pick` and `second_pick` (scores, higher is better), and
    `cost_gigaflop` of one training. A training that diverged has the score minus infinity.

    Raises:
        MissingDataError: if a trial is unfinished.
    """
    failures = run.failures()
    unfinished = [
        cell.key
        for cell in plan.cells
        if not run.cell(cell.key).is_done
        and (cell.key not in failures or failures[cell.key].error != DIVERGED)
    ]
    if unfinished:
        raise MissingDataError(
            f"{run.path}: {len(unfinished)} of {len(plan.cells)} trials are unfinished "
            f"({unfinished[0]} is the first); repeat the same command to finish them"
        )
    tuning, criteria = plan.tuning, plan.tuning.criteria
    finished = set(run.finished())
    metrics = tuple(dict.fromkeys(["accuracy", *(m for each in criteria.values() for m in each)]))
    means = _means(run, metrics, plan.suite.methods[0])
    records = []
    for cell in plan.cells:
        scores = {m: means.get((cell.key, m), math.nan) for m in metrics}
        undefined = [m for m, value in scores.items() if math.isnan(value)]
        if cell.key not in finished:
            scores = dict.fromkeys(metrics, DIVERGED_SCORE)
        elif undefined:
            raise InvalidInputError(
                f"{cell.title}: {undefined[0]} has no value on the images held out; name another "
                "metric in tune.pick"
            )
        records.append(
            {
                "dataset": cell.recipe.dataset, "arm": cell.arm, "trial": plan.trial_of[cell.key],
                "seeds": 1,
                **{name: _value_of(name, cell) for name in tuning.option_names}, **scores,
                **{
                    pick: sum(w * scores[m] for m, w in weights.items())
                    if cell.key in finished
                    else DIVERGED_SCORE
                    for pick, weights in criteria.items()
                },
                "cost_gigaflop": cell.work.train_gigaflop,
            }
        )  # fmt: skip
    table = pd.DataFrame(records)
    of_trial = table.groupby(["dataset", "arm", "trial"], sort=False, as_index=False)
    how = dict.fromkeys([*metrics, *criteria, "cost_gigaflop"], "mean")
    return of_trial.agg({"seeds": "sum", **dict.fromkeys(tuning.option_names, "first"), **how})


def best_trials(table: pd.DataFrame, pick: str, *, tie: float = 0.0) -> pd.DataFrame:
    """Return the row of `trial_table` with the best score `pick` per dataset and arm.

    Of the trials within `tie` of the best score, the cheapest is taken, then the first.

    Raises:
        InvalidInputError: if every trial of an arm diverged.
    """
    best = []
    for (dataset, arm), trials in table.groupby(["dataset", "arm"], sort=False):
        top = trials[pick].max()
        if not math.isfinite(top):
            raise InvalidInputError(
                f"{dataset} {arm}: every trial diverged; lower the rates of its space"
            )
        close = trials[trials[pick] >= top - tie]
        best.append(close.sort_values(["cost_gigaflop", "trial"], kind="stable").iloc[0])
    return pd.DataFrame(best).reset_index(drop=True)


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
        """Read the result of a run.

        Raises:
            MissingDataError: if a trial is unfinished.
            InvalidInputError: if every trial of an arm diverged.
        """
        table, tuning = trial_table(plan, run), plan.tuning
        picks = {name: best_trials(table, name, tie=tuning.tie) for name in tuning.criteria}
        return cls(tuning, table, picks)

    def write(self, folder: Path) -> None:
        """Write `trials.csv` and a suite file per pick."""
        folder.mkdir(exist_ok=True)
        text = self.trials.to_csv(index=False, lineterminator="\n")
        write_bytes(folder / "trials.csv", text.encode())
        for name, picks in self.picks.items():
            write_bytes(folder / f"{name}.toml", picked_suite(self.tuning, picks).encode())


def formula(weights: Mapping[str, float]) -> str:
    """Return a criterion as text, such as `accuracy + 2 overall`."""
    return " + ".join(m if w == 1 else f"{w:g} {m}" for m, w in weights.items())


def picked_suite(tuning: Tuning, picks: pd.DataFrame) -> str:
    """Return the TOML of a suite in which every arm has its picked settings.

    The suite trains on the complete training split and scores the test split.
    """
    suite = tuning.suite
    lines = [
        f"datasets = {_toml(suite.datasets)}", f"arms = {_toml(suite.arms)}",
        f"seeds = {PROFILES[suite.profile].seeds}", f"profile = {_toml(suite.profile)}",
        f"methods = {_toml(suite.methods)}", f"metrics = {_toml(suite.metrics)}",
        f"protocol = {_toml(suite.protocol)}", f"data = {_toml(suite.data)}",
    ]  # fmt: skip
    if suite.limit is not None:
        lines.append(f"limit = {suite.limit}")
    for table, values in (("recipe", suite.changes), ("objective", suite.objective)):
        if values:
            lines += ["", f"[{table}]", *(f"{n} = {_toml(v)}" for n, v in values.items())]
    for row in picks.to_dict("records"):
        lines += [
            "",
            f"# Trial {row['trial']} of {tuning.trials}.",
            f"[dataset.{row['dataset']}.arm.{row['arm']}]",
        ]
        for group in GROUPS:
            names = [n for n in tuning.spaces[str(row["arm"])] if n.startswith(f"{group}.")]
            values = {n.partition(".")[2]: row[n] for n in names}
            if values:
                inner = ", ".join(f"{name} = {_toml(value)}" for name, value in values.items())
                lines.append(f"{group} = {{ {inner} }}")
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    """Return a value as TOML; JSON is TOML for strings, numbers, booleans and lists of them."""
    return json.dumps(list(value) if isinstance(value, tuple) else value)


def _means(run: RunFolder, metrics: Collection[str], method: str) -> dict[tuple[str, str], float]:
    """Return the mean of each metric by cell: of the model, or of the maps of `method`."""
    rows = run.rows()
    rows = rows[rows["metric"].isin(metrics) & rows["method"].isin(["", method])]
    means = rows.groupby(["cell", "metric"], as_index=False)["value"].mean()
    keys = zip(means["cell"], means["metric"], strict=True)
    return dict(zip(keys, means["value"].astype(float), strict=True))


def _value_of(name: str, cell: PlannedCell) -> object:
    """Return the value of `recipe.NAME` or `objective.NAME` in a trial; None without the option."""
    group, _, option = name.partition(".")
    return getattr(cell.recipe, option) if group == "recipe" else cell.options.get(option)


def _group(settings: Mapping[str, Option], group: str) -> dict[str, Option]:
    """Return the settings of `recipe` or `objective` by name."""
    parts = {name: name.partition(".") for name in settings}
    return {parts[n][2]: value for n, value in settings.items() if parts[n][0] == group}


def _tuning(declared: Mapping[str, Any]) -> Tuning:
    suite = suite_of({n: v for n, v in declared.items() if n not in ("tune", "space")})
    options = _table("tune", declared.get("tune", {}))
    for name in options:
        if name not in TUNE_KEYS:
            raise UnknownNameError.of("setting of [tune]", name, TUNE_KEYS)
    if "trials" not in options:
        raise InvalidInputError("tune.trials: expected the number of trials per arm, got none")
    space = _table("space", declared.get("space", {}))
    own = {name: _table(f"space.{name}", v) for name, v in space.items() if "." not in name}
    for arm in own:
        if arm not in suite.arms:
            raise UnknownNameError.of("arm of the space", arm, suite.arms)
    shared = {name: value for name, value in space.items() if name not in own}
    spaces = {
        arm: {n: _range(n, v, arm) for n, v in {**shared, **own.get(arm, {})}.items()}
        for arm in suite.arms
    }
    for name in ("holdout", "tie"):
        if not isinstance(options.get(name, 0.0), int | float):
            raise InvalidInputError(f"tune.{name}: expected a number, got {options[name]!r}")
    for name in ("pick", "second_pick"):
        weights = _table(f"tune.{name}", options.get(name, {}))
        if not all(isinstance(w, int | float) for w in weights.values()):
            raise InvalidInputError(f"tune.{name}: expected a number per metric, got {weights}")
    return Tuning(suite=suite, spaces=spaces, **options)


def _table(name: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInputError(f"{name}: expected a table, got {value!r}")
    return value


def _range(name: str, value: object, arm: str) -> Range:
    group, _, option = name.partition(".")
    if group not in GROUPS:
        raise InvalidInputError(
            f"space '{name}': expected recipe.NAME or objective.NAME, such as recipe.learning_rate"
        )
    if group == "recipe" and option not in ARM_FIELDS:
        raise UnknownNameError.of("recipe option of a space", option, ARM_FIELDS)
    declared = _table(f"space '{name}'", value)
    for key in declared:
        if key not in RANGE_KEYS:
            raise UnknownNameError.of(f"setting of space '{name}'", key, RANGE_KEYS)
    values = declared.get("values")
    if values is not None:
        if not isinstance(values, list) or not values or set(declared) != {"values"}:
            raise InvalidInputError(
                f"space '{name}': expected values = [...] with at least one, got {declared}"
            )
        found = Range(values=tuple(values))
    else:
        low, high = declared.get("low"), declared.get("high")
        is_log = declared.get("scale", "linear") == "log"
        if not all(type(x) in (int, float) for x in (low, high)) or not low < high:  # type: ignore[operator]
            raise InvalidInputError(f"space '{name}': expected low < high, got {declared}")
        if is_log and low <= 0:  # type: ignore[operator]
            raise InvalidInputError(f"space '{name}': a log scale needs low > 0, got {low}")
        check_choice(f"space '{name}': scale", declared.get("scale", "linear"), SCALES)
        found = Range(float(low), float(high), is_log)  # type: ignore[arg-type]
    if group == "objective":
        for end in found.values or (found.at(0.0), found.at(1.0)):
            resolve_options(arm, {option: end})
    return found
