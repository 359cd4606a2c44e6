"""Records of a claim, its evidence and its verdict, and the TOML file that declares the claims."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from lico_bench.checks import check_positive, find_duplicate
from lico_bench.errors import BrokenFileError, InvalidInputError, MissingDataError, UnknownNameError
from lico_bench.runtime import shipped
from lico_bench.stats import MODEL_SCORES
from lico_bench.stats.paired import PooledDifference

Outcome = Literal[
    "improvement", "harm", "gain_ruled_out", "loss_ruled_out", "equivalent", "inconclusive",
    "not_tested",
]  # fmt: skip
Family = Literal["primary", "claim", "exploratory"]
Direction = Literal["better", "not_worse"]

INFERENCE_COST = "inference_cost"  # endpoint without rows: counts of one forward pass
DECLARED = "claims.toml"  # in baselines/
PRIMARY = "primary_datasets"
RULES = "2"  # version of the rules of `judging`, stored with every verdict
LEAST_SEEDS = 2  # a single training does not show the spread between trainings


@dataclass(frozen=True)
class Claim:
    """A claim of a paper in testable form.

    Attributes:
        statement: the claim in one sentence.
        source: where the claim is published.
        arm, reference_arm: the compared arms.
        metric: the endpoint, with its declared direction; `INFERENCE_COST` compares the counts of
            one forward pass.
        methods: saliency methods that the claim covers, without options; the first is the primary
            method, which decides. Empty for a score of the model.
        direction: `better`, or `not_worse` by more than the smallest effect.
        smallest_effect: smallest effect of interest, > 0, in the unit of the metric.
        min_seeds: trainings per arm that a decision needs.
        control_arms: arms that `arm` must beat significantly.
        control_map: method that ignores the model; its score on the same image and model is
            subtracted from that of the map. Empty for a score of the model.
        datasets: datasets that the claim covers; empty for any.
        labels: label budgets that the claim covers, `full` or a number; empty for any.
        primary_datasets: datasets in the order in which the primary one is chosen.
    """

    id: str
    title: str
    statement: str
    source: str
    arm: str
    reference_arm: str
    metric: str
    direction: Direction
    smallest_effect: float
    methods: tuple[str, ...] = ()
    min_seeds: int = 3
    control_arms: tuple[str, ...] = ()
    control_map: str = ""
    datasets: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    primary_datasets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """The evidence on a claim for one dataset, backbone, label budget and method.

    Attributes:
        sentence: explains the outcome.
        gain, low, high: difference with the sign such that larger is better, and its 95 % interval;
            of the map minus the control map, if the claim has one. None where there is none.
        raw_gain, raw_low, raw_high: the same without subtracting the control map.
        family: tests with which `p_value` is corrected: the primary comparisons of all claims, the
            other datasets of the claim, or (`exploratory`) the further methods.
        p_corrected: after Holm's correction within the family; for `exploratory` the q-value of
            Benjamini and Hochberg. None for a comparison that is not tested for a gain.
    """

    dataset: str
    source: str
    backbone: str
    labels: str
    method: str
    outcome: Outcome
    sentence: str
    gain: float | None = None
    low: float | None = None
    high: float | None = None
    raw_gain: float | None = None
    raw_low: float | None = None
    raw_high: float | None = None
    family: Family | None = None
    p_value: float | None = None
    p_corrected: float | None = None
    p_equivalent: float | None = None
    num_images: int = 0
    num_seeds: int = 0
    protocol: str = ""


@dataclass(frozen=True)
class ClaimVerdict:
    """The verdict on a claim.

    Attributes:
        outcome: of the primary comparison.
        sentence: explains the outcome and its scope.
        pooled: mean gain over the datasets; None for fewer than four.
    """

    claim: Claim
    outcome: Outcome
    sentence: str
    evidence: tuple[Evidence, ...] = ()
    pooled: PooledDifference | None = None


def read_claims(path: str | Path | None = None) -> tuple[Claim, ...]:
    """Return the claims declared in the file `path`, in file order.

    Args:
        path: a TOML file; None reads the claims shipped with the package.

    Raises:
        MissingDataError: if there is no such file.
        BrokenFileError: if it declares no claim, a field is unknown, missing, of the wrong type or
            out of range, or two claims have the same id.
    """
    file = shipped("baselines") / DECLARED if path is None else Path(path)
    if not file.is_file():
        raise MissingDataError(f"no such claims file: {file}; baselines/{DECLARED} is an example")
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BrokenFileError(
            f"{file}: not readable as TOML ({error}); correct it as in baselines/{DECLARED}"
        ) from error
    entries = tables.get("claim")
    is_known = {"claim"} <= set(tables) <= {"claim", PRIMARY}
    if not is_known or not isinstance(entries, list) or not entries:
        raise BrokenFileError(
            f"{file}: expected {PRIMARY} and tables [[claim]], got "
            f"{', '.join(sorted(tables)) or 'an empty file'}; baselines/{DECLARED} is an example"
        )
    claims = []
    for number, entry in enumerate(entries, 1):
        is_table = isinstance(entry, dict)
        name = (entry.get("id") or f"number {number}") if is_table else number
        try:
            claims.append(_read_claim(entry, {n: v for n, v in tables.items() if n == PRIMARY}))
        except (InvalidInputError, UnknownNameError) as error:
            raise BrokenFileError(f"{file}: claim '{name}': {error}") from error
    repeated = find_duplicate(claim.id for claim in claims)
    if repeated is not None:
        problem = "expected a unique id, got it twice; rename one claim"
        raise BrokenFileError(f"{file}: claim '{repeated}': {problem}")
    return tuple(claims)


def _read_claim(entry: object, shared: Mapping[str, object]) -> Claim:
    if not isinstance(entry, dict):
        raise InvalidInputError(f"expected a table of fields, got {entry!r}")
    entry = {**shared, **entry}
    known = {field.name: field for field in fields(Claim)}
    for key in entry:
        if key not in known:
            raise UnknownNameError.of("field", key, known)
    missing = [key for key, f in known.items() if f.default is MISSING and key not in entry]
    if missing:
        raise InvalidInputError(f"missing fields: {', '.join(missing)}; add them")
    claim = Claim(**{key: _value(key, str(known[key].type), entry[key]) for key in entry})
    check_positive("smallest_effect", claim.smallest_effect)
    for problem, applies in _problems(claim).items():
        if applies:
            raise InvalidInputError(problem)
    return claim


def _value(key: str, kind: str, value: Any) -> Any:
    """Return the value of a field, converted to its annotated type `kind`."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind.startswith("tuple"):
        expected = "a list of names"
        if isinstance(value, list) and all(isinstance(item, str) and item for item in value):
            return tuple(value)
    elif kind == "float":
        expected = "a number"
        if is_number:
            return float(value)
    elif kind == "int":
        expected = "a whole number"
        if is_number and isinstance(value, int):
            return value
    else:
        expected = "a text"
        if isinstance(value, str) and value.strip():
            return value
    raise InvalidInputError(f"{key}: expected {expected}, got {value!r}")


def _problems(claim: Claim) -> dict[str, object]:
    """Return reasons why rows cannot test a claim, each with whether it applies."""
    metric, directions = claim.metric, get_args(Direction)
    is_cost, is_not_worse = metric == INFERENCE_COST, claim.direction == "not_worse"
    is_model_score = is_cost or metric in MODEL_SCORES
    has_direction = metric not in MODEL_SCORES or MODEL_SCORES[metric].higher_is_better is not None
    names = (*claim.methods, claim.control_map)
    lists = {
        "methods": claim.methods, "datasets": claim.datasets, "labels": claim.labels,
        "control_arms": claim.control_arms, "primary_datasets": claim.primary_datasets,
    }  # fmt: skip
    repeated = [f"{key} '{find_duplicate(each)}'" for key, each in lists.items()
                if find_duplicate(each) is not None]  # fmt: skip
    return {
        f"expected every name once, got {', '.join(repeated)} twice; remove one": repeated,
        "methods and control_map: expected names without options, such as rise": (
            any("(" in name for name in names)
        ),
        f"methods: the control map {claim.control_map} cannot be compared with itself": (
            bool(claim.control_map) and claim.control_map in claim.methods
        ),
        f"direction: expected {' or '.join(directions)}, got '{claim.direction}'": (
            claim.direction not in directions
        ),
        f"min_seeds: expected at least {LEAST_SEEDS}, got {claim.min_seeds}; a single training "
        "cannot support a claim": claim.min_seeds < LEAST_SEEDS,
        f"arm: '{claim.arm}' is compared with itself; name another arm": (
            claim.arm in (claim.reference_arm, *claim.control_arms)
        ),
        "a claim of direction not_worse has no gain to compare with a control; remove the "
        "controls": is_not_worse and claim.control_arms,
        f"methods: {metric} is a score of the model; remove methods and control_map": (
            is_model_score and (claim.methods or claim.control_map)
        ),
        f"methods: {metric} is a score of saliency maps; name a saliency method, the primary one "
        "first": not is_model_score and not claim.methods,
        f"metric: {metric} has no direction of merit; choose another metric": not has_direction,
        f"direction: {metric}: expected not_worse, got {claim.direction}": (
            is_cost and not is_not_worse
        ),
    }
