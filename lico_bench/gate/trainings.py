"""Several runs of the same models, joined as further trainings (seeds) of one run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from lico_bench.errors import InvalidInputError, NotComparableError
from lico_bench.store import RunFolder
from lico_bench.store.run_records import Manifest


@dataclass(frozen=True)
class Trainings:
    """Runs whose seeds are renumbered consecutively.

    `lico-bench score` stores seed 0 for every model. Five runs of five trainings are five seeds
    here, so the spread between trainings is known.
    """

    runs: tuple[RunFolder, ...]

    def manifest(self) -> Manifest:
        """Return the manifest of the first run, with the metrics and methods of all runs."""
        manifests = [run.manifest() for run in self.runs]
        return replace(
            manifests[0],
            metrics={name: spec for m in manifests for name, spec in m.metrics.items()},
            methods={name: method for m in manifests for name, method in m.methods.items()},
        )

    def rows(self) -> pd.DataFrame:
        """Return the rows of all runs with renumbered seeds."""
        return _renumber_seeds([run.rows() for run in self.runs])

    def curves(self) -> pd.DataFrame:
        """Return the curves of all runs with renumbered seeds."""
        return _renumber_seeds([run.curves() for run in self.runs])


def _renumber_seeds(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Concatenate tables; the seeds of each follow those of the previous one."""
    start, renumbered = 0, []
    for frame in frames:
        seeds = frame["seed"].rank(method="dense").astype(int) - 1
        renumbered.append(frame.assign(seed=start + seeds))
        start += int(seeds.max()) + 1
    return pd.concat(renumbered, ignore_index=True)


def join_trainings(runs: Sequence[RunFolder]) -> RunFolder | Trainings:
    """Return a single run unchanged, or several runs joined.

    Raises:
        InvalidInputError: if a run is given twice.
        NotComparableError: if two runs used different images of a dataset.
    """
    if len({run.path.resolve() for run in runs}) < len(runs):
        raise InvalidInputError(
            "runs: expected each run once, got one twice; pass each training once"
        )
    first_seen: dict[str, tuple[str, RunFolder]] = {}
    for run in runs:
        for dataset, facts in run.manifest().datasets.items():
            fingerprint = facts.fingerprint
            expected, first = first_seen.setdefault(dataset, (fingerprint, run))
            if expected != fingerprint:
                raise NotComparableError(
                    f"{dataset}: {first.path} and {run.path} used different images "
                    f"({expected[:8]}, {fingerprint[:8]}); score every training on the same images"
                )
    return runs[0] if len(runs) == 1 else Trainings(tuple(runs))
