"""Several runs of one suite as one: each holds other trainings of the same models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lico_bench.errors import InvalidInputError, NotComparableError
from lico_bench.store import RunFolder


@dataclass(frozen=True)
class Trainings:
    """Runs whose seeds are counted on, one run after the other.

    `lico-bench score` knows of no seed: it calls each model's training 0. Runs of five trainings
    are five seeds here, and the spread between them is known.
    """

    runs: tuple[RunFolder, ...]

    def manifest(self) -> dict[str, Any]:
        """That of the first run, with the metrics and methods of all."""
        manifests = [run.manifest() for run in self.runs]
        joined = dict(manifests[0])
        for name in ("metrics", "methods"):
            joined[name] = {k: v for one in manifests for k, v in one.get(name, {}).items()}
        return joined

    def rows(self) -> pd.DataFrame:
        """Rows of all runs, each with seeds of its own."""
        return self._counted_on([run.rows() for run in self.runs])

    def curves(self) -> pd.DataFrame:
        """Curves of all runs, likewise."""
        return self._counted_on([run.curves() for run in self.runs])

    def _counted_on(self, frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
        start, shifted = 0, []
        for frame in frames:
            seeds = frame["seed"].rank(method="dense").astype(int) - 1
            shifted.append(frame.assign(seed=start + seeds))
            start += int(seeds.max()) + 1
        return pd.concat(shifted, ignore_index=True)


def join_trainings(runs: Sequence[RunFolder]) -> RunFolder | Trainings:
    """The run, or several as one.

    Raises:
        InvalidInputError: if a run is named twice.
        NotComparableError: if two runs saw different images of a dataset.
    """
    if len({run.path.resolve() for run in runs}) < len(runs):
        raise InvalidInputError(
            "runs: expected each run once, got one twice; a copy is no other training"
        )
    seen: dict[str, tuple[str, RunFolder]] = {}
    for run in runs:
        for dataset, facts in run.manifest().get("datasets", {}).items():
            found = str(facts.get("fingerprint", ""))
            other, first = seen.setdefault(dataset, (found, run))
            if other != found:
                raise NotComparableError(
                    f"{dataset}: {first.path} and {run.path} saw different images "
                    f"({other[:8]}, {found[:8]}); score every training on the same ones"
                )
    return runs[0] if len(runs) == 1 else Trainings(tuple(runs))
