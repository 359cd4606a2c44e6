"""What a user asks of their own models, checked as far as it can be without torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lico_bench.errors import InvalidInputError, MissingDataError
from lico_bench.models.normalisation import parse_normalisation
from lico_bench.models.user_reference import check_reference

SINGLE_ARM, PAIR_ARMS = ("model",), ("baseline", "mine")
REFERENCE_ARM = "baseline"  # what reports take as the reference wherever it stands


def name_arms(names: Sequence[str], num_models: int) -> tuple[str, ...]:
    """One name per model; `model`, or `baseline` and `mine`, where none are given.

    Raises:
        InvalidInputError: for another number of names, one twice, or a reference that is not first.
    """
    arms = tuple(names) or (SINGLE_ARM if num_models == 1 else PAIR_ARMS)
    if len(arms) != num_models:
        raise InvalidInputError(
            f"--arms: expected {num_models} names, one per model, got {len(arms)}; "
            "a second model takes a second --weights"
        )
    if len(set(arms)) < len(arms):
        raise InvalidInputError(f"--arms: expected two names that differ, got {', '.join(arms)}")
    if not all(arm.isidentifier() for arm in arms):
        raise InvalidInputError(
            f"--arms: expected names of letters, digits and underscores, got {', '.join(arms)}"
        )
    if REFERENCE_ARM in arms[1:]:
        raise InvalidInputError(
            f"--arms: '{REFERENCE_ARM}' is the reference of every difference; "
            "name it, and pass its weights, first"
        )
    return arms


def name_models(
    reference: str,
    weights: Sequence[Path],
    *,
    arms: Sequence[str] = (),
    normalise: str | None = None,
) -> dict[str, Path | None]:
    """The weights file of each model by arm; None takes what the factory makes.

    Raises:
        LicoBenchError: for a reference, file, number of files, or name that cannot be right.
    """
    check_reference(reference)
    if normalise is not None:
        parse_normalisation(normalise)
    if len(weights) > len(PAIR_ARMS):
        raise InvalidInputError(
            f"--weights: expected one or two files, got {len(weights)}; score other pairs in "
            "another run"
        )
    for path in weights:
        if not path.is_file():
            raise MissingDataError(f"no such weights file: {path}; correct --weights")
    files: list[Path | None] = [*weights] or [None]
    return dict(zip(name_arms(arms, len(files)), files, strict=True))
