"""Reading and validation of the TOML file that declares the claims."""

from __future__ import annotations

import tomllib
from collections import Counter
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_args

from lico_bench.claims.records import INFERENCE_COST, Claim, Direction
from lico_bench.errors import BrokenFileError, MissingDataError, UnknownNameError
from lico_bench.runtime import shipped
from lico_bench.stats import MODEL_SCORES

DECLARED = "claims.toml"  # in baselines/
LEAST_SEEDS = 2  # a single training does not show the spread between trainings


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
    if set(tables) != {"claim"} or not isinstance(entries, list) or not entries:
        raise BrokenFileError(
            f"{file}: expected tables [[claim]] and nothing else, got "
            f"{', '.join(sorted(tables)) or 'an empty file'}; baselines/{DECLARED} is an example"
        )
    claims = tuple(_read_claim(file, number, entry) for number, entry in enumerate(entries, 1))
    repeated = [name for name, count in Counter(claim.id for claim in claims).items() if count > 1]
    if repeated:
        raise _broken(file, repeated[0], "expected a unique id, got it twice; rename one claim")
    return claims


def _read_claim(file: Path, number: int, entry: Any) -> Claim:
    name = str(entry.get("id") or f"number {number}") if isinstance(entry, dict) else str(number)
    if not isinstance(entry, dict):
        raise _broken(file, name, f"expected a table of fields, got {entry!r}")
    known = {field.name: field for field in fields(Claim)}
    for key in entry:
        if key not in known:
            raise _broken(file, name, str(UnknownNameError.of("field", key, known)))
    missing = [key for key, f in known.items() if f.default is MISSING and key not in entry]
    if missing:
        raise _broken(file, name, f"missing fields: {', '.join(missing)}; add them")
    values = {key: _value(file, name, key, str(known[key].type), entry[key]) for key in entry}
    claim = Claim(**values)
    _check(file, claim)
    return claim


def _value(file: Path, name: str, key: str, kind: str, value: Any) -> Any:
    """Return the value of a field, converted to its annotated type `kind`."""
    if kind.startswith("tuple"):
        if isinstance(value, list) and all(isinstance(item, str) and item for item in value):
            return tuple(value)
        raise _broken(file, name, f"{key}: expected a list of names, got {value!r}")
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "float" and is_number:
        return float(value)
    if kind == "int" and is_number and isinstance(value, int):
        return value
    if kind not in ("float", "int") and isinstance(value, str) and value.strip():
        return value
    expected = {"float": "a number", "int": "a whole number"}.get(kind, "a text")
    raise _broken(file, name, f"{key}: expected {expected}, got {value!r}")


def _check(file: Path, claim: Claim) -> None:
    """Raise unless the fields of the claim are consistent and can be tested with rows."""
    if claim.direction not in get_args(Direction):
        known = " or ".join(get_args(Direction))
        raise _broken(file, claim.id, f"direction: expected {known}, got '{claim.direction}'")
    if not 0 < claim.smallest_effect < float("inf"):
        message = f"expected a number above 0, got {claim.smallest_effect}"
        raise _broken(
            file, claim.id, f"smallest_effect: {message}; set the smallest effect of interest"
        )
    if claim.min_seeds < LEAST_SEEDS:
        message = f"expected at least {LEAST_SEEDS}, got {claim.min_seeds}"
        raise _broken(
            file, claim.id, f"min_seeds: {message}; a single training cannot support a claim"
        )
    if claim.arm in (claim.reference_arm, *claim.control_arms):
        raise _broken(
            file, claim.id, f"arm: '{claim.arm}' is compared with itself; name another arm"
        )
    has_controls = claim.control_arms or claim.control_methods
    if claim.direction == "not_worse" and has_controls:
        message = "a claim of direction not_worse has no gain to compare with a control"
        raise _broken(file, claim.id, f"{message}; remove the controls")
    is_model_score = claim.metric == INFERENCE_COST or claim.metric in MODEL_SCORES
    if is_model_score and (claim.methods or claim.control_methods):
        raise _broken(
            file, claim.id, f"methods: {claim.metric} is a score of the model; remove the methods"
        )
    if not is_model_score and not claim.methods:
        message = f"{claim.metric} is a score of saliency maps"
        raise _broken(
            file, claim.id, f"methods: {message}; name a saliency method, the primary one first"
        )
    spec = MODEL_SCORES.get(claim.metric)
    if spec is not None and spec.higher_is_better is None:
        raise _broken(
            file,
            claim.id,
            f"metric: {claim.metric} has no direction of merit; choose another metric",
        )
    if claim.metric == INFERENCE_COST and claim.direction != "not_worse":
        raise _broken(
            file, claim.id, f"direction: {claim.metric}: expected not_worse, got {claim.direction}"
        )


def _broken(file: Path, name: str, problem: str) -> BrokenFileError:
    return BrokenFileError(f"{file}: claim '{name}': {problem}")
