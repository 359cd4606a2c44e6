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
    recipe.learning_rate = { low = 0.03, high = 1.0, scale = "log" }
    recipe.weight_decay = { values = [1e-4, 5e-4, 2e-3] }

    [space.lico]                    # of one arm
    objective.beta = { low = 0.01, high = 1.0, scale = "log" }

Settings are drawn from a scrambled Sobol sequence whose first coordinates are those of `[space]`:
as long as no draw repeats an earlier trial, trial k of every arm has the same rate. `bench.trials`
plans the trials and picks the best.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from torch.quasirandom import SobolEngine

from lico_bench.bench.suite import Suite, read_toml, suite_of
from lico_bench.checks import check_choice, check_count, check_not_negative
from lico_bench.errors import InvalidInputError, LicoBenchError, UnknownNameError
from lico_bench.metrics import resolve_metric
from lico_bench.records import ARM_FIELDS, Option, Recipe
from lico_bench.training import ARMS, resolve_options

GROUPS = ("recipe", "objective")
SCALES = ("linear", "log")
RANGE_KEYS = ("low", "high", "scale", "values")
TUNE_KEYS = ("trials", "holdout", "seed", "pick", "second_pick", "tie")
ACCURACY = "accuracy"  # of the model; the other metrics are of its maps
MAX_TRIALS = 10_000
MAX_SEED = 2**63 - 1
MAX_REPEATS = 1000  # draws that repeat earlier trials, after which a space is taken as exhausted


@dataclass(frozen=True)
class Range:
    """Values of one option: an interval, even or even in the logarithm, or a list."""

    low: float = 0.0
    high: float = 0.0
    is_log: bool = False
    values: tuple[Option, ...] = ()

    def at(self, share: float) -> Option:
        """Return the value at `share` in [0, 1], of three digits where the interval allows it."""
        if self.values:
            return self.values[min(int(share * len(self.values)), len(self.values) - 1)]
        if self.is_log:
            value = math.exp(math.log(self.low) + share * math.log(self.high / self.low))
        else:
            value = self.low + share * (self.high - self.low)
        rounded = float(f"{value:.3g}")
        is_coarse = abs(rounded - value) > 0.01 * (self.high - self.low)
        return min(max(value if is_coarse else rounded, self.low), self.high)


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
    pick: Mapping[str, float] = field(default_factory=lambda: {ACCURACY: 1.0})
    second_pick: Mapping[str, float] = field(default_factory=dict)
    tie: float = 0.0

    def __post_init__(self) -> None:
        check_count("tune.trials", self.trials)
        check_count("tune.seed", self.seed, at_least=0)
        check_not_negative("tune.tie", self.tie)
        _check_at_most("tune.trials", self.trials, MAX_TRIALS)
        _check_at_most("tune.seed", self.seed, MAX_SEED)
        if not 0 < self.holdout < 1:
            raise InvalidInputError(f"tune.holdout: expected a share in (0, 1), got {self.holdout}")
        _check_suite(self.suite)
        if not any(self.spaces.values()):
            raise InvalidInputError("space: expected at least one option, got none")
        if not self.pick:
            raise InvalidInputError("tune.pick: expected the weight of a metric, got none")
        names = (ACCURACY, *map(stored_name, self.suite.metrics))
        for pick, weights in self.criteria.items():
            for metric, weight in weights.items():
                _check_weight(f"tune.{pick}.{metric}", metric, weight, names)

    @property
    def criteria(self) -> dict[str, dict[str, float]]:
        """The declared picks: the weight of each metric by the metric's stored name."""
        picks = {"pick": self.pick, "second_pick": self.second_pick}
        return {
            pick: {stored_name(metric): weight for metric, weight in weights.items()}
            for pick, weights in picks.items()
            if weights
        }

    @property
    def log_options(self) -> frozenset[str]:
        """Names of the options that are drawn evenly in the logarithm."""
        ranges = [item for space in self.spaces.values() for item in space.items()]
        return frozenset(name for name, values in ranges if values.is_log)

    @property
    def option_names(self) -> tuple[str, ...]:
        """Names of all options of the spaces."""
        return tuple(dict.fromkeys(name for space in self.spaces.values() for name in space))

    def trials_of(self, recipe: Recipe) -> tuple[Recipe, ...]:
        """Return the trials of a recipe of the suite, the recipe itself first.

        Raises:
            InvalidInputError: if the space has fewer different settings than the budget trials.
        """
        trials: dict[object, Recipe] = {}
        repeats = 0
        for settings in self._draw(recipe.arm):
            trial = recipe.for_arm(group_of(settings, "recipe"), group_of(settings, "objective"))
            options = resolve_options(trial.arm, dict(trial.objective))
            # A drawn option that has its default is the same training.
            identity = (replace(trial, objective=(), of_pair=()), options)
            repeats = repeats + 1 if identity in trials else 0
            trials.setdefault(identity, trial)
            if len(trials) == self.trials:
                return tuple(trials.values())
            if repeats == MAX_REPEATS:
                break
        raise InvalidInputError(
            f"it has {len(trials)} different settings for "
            f"{self.trials} trials; every arm has the same budget, so lower tune.trials or declare "
            "more values"
        )

    def _draw(self, arm: str) -> Iterator[dict[str, Option]]:
        """Yield changed options of `arm` without end; the first change nothing."""
        space = self.spaces[arm]
        dimensions = max(1, *(len(each) for each in self.spaces.values()))
        sequence: Any = SobolEngine(dimensions, scramble=True, seed=self.seed)  # type: ignore[no-untyped-call]
        yield {}
        while True:
            point = sequence.draw(1)[0].tolist()[: len(space)]
            yield {n: r.at(u) for (n, r), u in zip(space.items(), point, strict=True)}


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


def group_of(settings: Mapping[str, Option], group: str) -> dict[str, Option]:
    """Return the settings of the group `recipe` or `objective` by their names in it."""
    split = {name.partition(".")[::2]: value for name, value in settings.items()}
    return {option: value for (of, option), value in split.items() if of == group}


def formula(weights: Mapping[str, float]) -> str:
    """Return a criterion as text, such as `accuracy + 2 overall - deletion`."""
    terms = [
        f"{'-' if w < 0 else '+'} {'' if abs(w) == 1 else f'{abs(w):g} '}{metric}"
        for metric, w in weights.items()
    ]
    return " ".join(terms).removeprefix("+ ")


def stored_name(metric: str) -> str:
    """Return the name under which the values of a metric are stored."""
    return metric if metric == ACCURACY else resolve_metric(metric).spec.name


def _check_at_most(option: str, value: int, most: int) -> None:
    if value > most:
        raise InvalidInputError(f"{option}: expected at most {most:,}, got {value:,}")


def _check_suite(suite: Suite) -> None:
    if suite.data == "official":
        raise InvalidInputError("data: trials need images here; use auto, real or standin")
    if suite.rules().scorer != "own":
        raise InvalidInputError(
            f"scorer: a trial scores its own maps, got '{suite.rules().scorer}'; use own"
        )
    of_datasets = [settings.get("changes", {}) for settings in suite.of_dataset.values()]
    if any("holdout" in changes for changes in (suite.changes, *of_datasets)):
        raise InvalidInputError("recipe.holdout: set tune.holdout instead, for all data sets")


def _check_weight(option: str, metric: str, weight: float, names: Sequence[str]) -> None:
    if stored_name(metric) not in names:
        raise UnknownNameError.of("metric of a pick", metric, names)
    if not math.isfinite(weight) or weight == 0:
        raise InvalidInputError(f"{option}: expected a finite weight other than 0, got {weight}")
    is_better = metric == ACCURACY or resolve_metric(metric).spec.higher_is_better
    if is_better is None:
        raise InvalidInputError(
            f"{option}: it is descriptive and has no direction of merit; choose another"
        )
    if is_better != (weight > 0):
        better, sign = ("lower", "negative") if weight > 0 else ("higher", "positive")
        raise InvalidInputError(
            f"{option}: {better} is better; expected a {sign} weight, got {weight}"
        )


def _tuning(declared: Mapping[str, Any]) -> Tuning:
    suite = suite_of({n: v for n, v in declared.items() if n not in ("tune", "space")})
    options = _table("tune", declared.get("tune", {}))
    for name in options:
        if name not in TUNE_KEYS:
            raise UnknownNameError.of("setting of [tune]", name, TUNE_KEYS)
    if "trials" not in options:
        raise InvalidInputError("tune.trials: expected the number of trials per arm, got none")
    for name in ("holdout", "tie"):
        if name in options:
            options[name] = _number(f"tune.{name}", options[name])
    for name in ("pick", "second_pick"):
        weights = _table(f"tune.{name}", options.get(name, {}))
        for metric, weight in weights.items():
            weights[metric] = _number(f"tune.{name}.{metric}", weight)
    space = _table("space", declared.get("space", {}))
    own = {n: v for n, v in space.items() if n not in GROUPS and "." not in n}
    for arm in own:
        if arm not in suite.arms:
            raise UnknownNameError.of("arm of the space", arm, suite.arms)
    shared = _ranges("space", {n: v for n, v in space.items() if n not in own})
    spaces = {}
    for arm in suite.arms:
        spaces[arm] = {**shared, **_ranges(f"space.{arm}", own.get(arm, {}))}
        for name, values in spaces[arm].items():
            _check_values(arm, name, values, suite)
    return Tuning(suite=suite, spaces=spaces, **options)


def _table(name: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInputError(f"{name}: expected a table, got {value!r}")
    return value


def _number(name: str, value: object) -> float:
    if type(value) not in (int, float):
        raise InvalidInputError(f"{name}: expected a number, got {value!r}")
    try:
        return float(value)  # type: ignore[arg-type]
    except OverflowError:
        raise InvalidInputError(f"{name}: expected a smaller number") from None


def _ranges(where: str, table: object) -> dict[str, Range]:
    """Return the ranges of a table: `recipe.NAME` as one quoted key, or as a table of its own."""
    found: dict[str, Range] = {}
    for name, value in _table(where, table).items():
        if name in GROUPS:
            options = {f"{name}.{option}": v for option, v in _table(name, value).items()}
        else:
            options = {name: value}
        found |= {option: _range(option, declared) for option, declared in options.items()}
    return found


def _range(name: str, value: object) -> Range:
    group, _, option = name.partition(".")
    if group not in GROUPS:
        raise InvalidInputError(
            f"space '{name}': expected recipe.NAME or objective.NAME, such as recipe.learning_rate"
        )
    if group == "recipe" and option not in ARM_FIELDS:
        raise UnknownNameError.of("recipe option of a space", option, ARM_FIELDS)
    where = f"space '{name}'"
    declared = _table(where, value)
    for key in declared:
        if key not in RANGE_KEYS:
            raise UnknownNameError.of(f"setting of {where}", key, RANGE_KEYS)
    if "values" in declared:
        values = declared["values"]
        if not isinstance(values, list) or not values or len(declared) > 1:
            raise InvalidInputError(
                f"{where}: expected values = [...] with at least one, got {declared}"
            )
        if not all(isinstance(item, Option) for item in values):
            raise InvalidInputError(f"{where}: expected numbers, texts or true and false")
        return Range(values=tuple(values))
    if not {"low", "high"} <= declared.keys():
        raise InvalidInputError(f"{where}: expected low and high, or values, got {declared}")
    low, high = (_number(f"{where}: {end}", declared[end]) for end in ("low", "high"))
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InvalidInputError(f"{where}: expected low < high, got {low} and {high}")
    scale = declared.get("scale", "linear")
    check_choice(f"{where}: scale", scale, SCALES)
    if scale == "log" and low <= 0:
        raise InvalidInputError(f"{where}: a log scale needs low > 0, got {low}")
    return Range(low, high, scale == "log")


def _check_values(arm: str, name: str, values: Range, suite: Suite) -> None:
    """Raise unless an arm can be trained with every value of the list, or with both ends."""
    group, _, option = name.partition(".")
    known = {each.name for each in fields(ARMS[arm].options)}
    shared = {n: v for n, v in suite.objective.items() if n in known}
    own = dict(suite.of_arm.get(arm, {}).get("objective", {}))
    for value in values.values or (values.low, values.high):
        try:
            if group == "recipe":
                Recipe("", "", arm).for_arm({option: value}, {})
            else:
                resolve_options(arm, {**shared, **own, option: value})
        except LicoBenchError as error:
            raise type(error)(f"space '{name}': {error}") from error
