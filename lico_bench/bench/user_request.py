"""Check the command line options for user models without importing torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lico_bench.errors import InvalidInputError, MissingDataError
from lico_bench.models.user_options import check_reference, parse_normalisation

SINGLE_ARM, PAIR_ARMS = ("model",), ("baseline", "mine")
REFERENCE_ARM = "baseline"  # reports use this arm as the reference in any position


def name_arms(names: Sequence[str], num_models: int) -> tuple[str, ...]:
    """Return one arm name per model; the defaults are `model`, or `baseline` and `mine`.

    Raises:
        InvalidInputError: for a wrong number of names, a duplicate, an invalid name, or a
            `baseline` that is not first.
    """
    arms = tuple(names) or (SINGLE_ARM if num_models == 1 else PAIR_ARMS)
    if len(arms) != num_models:
        raise InvalidInputError(
            f"--arms: expected {num_models} names, one per model, got {len(arms)}; "
            "pass --weights once per model"
        )
    if len(set(arms)) < len(arms):
        raise InvalidInputError(f"--arms: expected two different names, got {', '.join(arms)}")
    if not all(arm.isidentifier() for arm in arms):
        raise InvalidInputError(
            f"--arms: expected names of letters, digits and underscores, got {', '.join(arms)}"
        )
    if REFERENCE_ARM in arms[1:]:
        raise InvalidInputError(
            f"--arms: '{REFERENCE_ARM}' is the reference of every difference; "
            "pass its name and its weights first"
        )
    return arms


def name_models(
    reference: str,
    weights: Sequence[Path],
    *,
    arms: Sequence[str] = (),
    normalise: str | None = None,
) -> dict[str, Path | None]:
    """Return the weights file of each model by arm; None keeps the factory's weights.

    Raises:
        LicoBenchError: for an invalid reference, arm name or number of files, or a missing file.
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
