"""Content of a report, gathered once from a run folder; every view is rendered from it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from lico_bench.claims import ClaimVerdict, judge_claims, read_claims
from lico_bench.errors import BrokenFileError, MissingDataError
from lico_bench.records import MetricSpec
from lico_bench.report import formatting
from lico_bench.report.lines import ALL, Line, all_lines
from lico_bench.report.notes import headlines, run_notes
from lico_bench.stats import MODEL_SCORES, arm_means, holm, paired_differences
from lico_bench.stats.paired import PAIRED_COLUMNS
from lico_bench.store import RunFolder
from lico_bench.store.codec import REMEDY
from lico_bench.store.run_records import Manifest, refuse_trials

SETTING = ("dataset", "source", "backbone", "labels")
REFERENCE_ARM = "baseline"
# Shown as context for the scores; reported as results only if the suite lists them.
AUXILIARY_METRICS = (
    "brier",
    "score_whole",
    "score_blurred",
    "score_emptied",
    "flat_map",
    "tied_ranks",
)


@dataclass(frozen=True)
class Block:
    """Statistics of one dataset, backbone and label budget of a run.

    Attributes:
        means: rows of `stats.arm_means`.
        differences: rows of `stats.paired_differences` over all images, with `p_holm`: the p-value
            corrected over all differences reported as results, NaN for the others. Stand-ins form
            a separate family, so that they do not weaken the tests on real images.
        both_correct: the same on images that both models of a pair classify correctly; not
            corrected (`p_holm` is NaN).
    """

    dataset: str
    source: str
    backbone: str
    labels: str
    title: str
    data: str
    means: pd.DataFrame
    differences: pd.DataFrame
    both_correct: pd.DataFrame

    @property
    def is_standin(self) -> bool:
        """Whether the images are synthetic."""
        return self.source == "standin"

    @property
    def key(self) -> str:
        """Name for files and anchors."""
        budget = "" if self.labels == "full" else f"_{self.labels}_labels"
        return f"{self.dataset}{'_standin' if self.is_standin else ''}_{self.backbone}{budget}"

    @property
    def num_seeds(self) -> int:
        """Largest number of seeds of any mean."""
        return int(self.means["num_seeds"].max())


@dataclass(frozen=True)
class ReportContent:
    """Everything a report shows.

    Attributes:
        arms: in the order of the suite, the reference arm first.
        specs: by metric name, model scores included.
        claims: the verdict on each declared claim.
        num_compared: number of differences in each corrected family, by source.
        notes: sentences about missing or incomplete results.
        headlines: warnings shown before any number: collapsed channels, changed loss weights.
    """

    run: RunFolder
    manifest: Manifest
    rows: pd.DataFrame
    blocks: tuple[Block, ...]
    arms: tuple[str, ...]
    specs: dict[str, MetricSpec]
    claims: tuple[ClaimVerdict, ...]
    num_compared: Mapping[str, int]
    notes: tuple[str, ...]
    headlines: tuple[str, ...]

    @property
    def reference_arm(self) -> str:
        """Arm that the others are compared with."""
        return self.arms[0]

    @property
    def has_standins(self) -> bool:
        """Whether any number comes from a stand-in."""
        return any(block.is_standin for block in self.blocks)

    @cached_property
    def cells(self) -> pd.DataFrame:
        """One row per model: cell, arm, seed and setting."""
        return self.rows.loc[~self.rows["cell"].duplicated(), ["cell", "arm", "seed", *SETTING]]

    @cached_property
    def lines(self) -> tuple[Line, ...]:
        """The numbers as text, block by block; see `lines.all_lines`."""
        return tuple(all_lines(self))

    @cached_property
    def _method_protocols(self) -> pd.DataFrame:
        """Each method with each protocol under which it was scored."""
        return self.rows[["method", "protocol"]].drop_duplicates()

    def arm_title(self, arm: str) -> str:
        """Return the display name of an arm."""
        return self.manifest.arm_title(arm)

    def method_title(self, method: str) -> str:
        """Return the display name of a method; `Model` for model scores, whose method is empty."""
        if not method:
            return "Model"
        return self.manifest.method_title(method)

    def is_control(self, method: str) -> bool:
        """Whether a method ignores the model."""
        return self.manifest.is_control(method)

    def methods(self) -> list[str]:
        """Return the methods in the order of the suite, controls last."""
        requested = self.manifest.suite.methods
        scored = {str(name) for name in self._method_protocols["method"] if name}
        order = [name for name in requested if name in scored]
        order += sorted(scored - set(order))
        return sorted(order, key=self.is_control)

    def protocols(self, method: str | None = None) -> list[str]:
        """Return one sentence per protocol of the scores (of `method`)."""
        rules = self.manifest.protocols
        rows = self._method_protocols
        if method is not None:
            rows = rows[rows["method"] == method]
        return [
            formatting.protocol_sentence(protocol, rules.get(protocol))
            for protocol in sorted(rows["protocol"].unique())
            if protocol
        ]

    def is_auxiliary(self, metric: str) -> bool:
        """Whether a metric is only context for the scores: the suite does not list it."""
        requested = self.manifest.suite.metrics
        return metric in AUXILIARY_METRICS and metric not in requested

    def result_lines(self, block: int) -> list[Line]:
        """Return the lines of a block that are results: all images, no auxiliary metrics.

        Args:
            block: index in `blocks`.
        """
        return [
            line
            for line in self.lines
            if line.block == block and line.subset == ALL and not self.is_auxiliary(line.metric)
        ]

    def each_score(self, block: Block) -> Iterator[tuple[str, MetricSpec]]:
        """Yield method and metric of each score of a block: model scores first, controls last."""
        scores = set(zip(block.means["method"], block.means["metric"], strict=True))
        for method in ("", *self.methods()):
            for metric, spec in self.specs.items():
                if (method, metric) in scores:
                    yield method, spec


def gather(run: RunFolder) -> ReportContent:
    """Compute the content of a report.

    Raises:
        MissingDataError: if the folder holds no run or the run has no finished cell.
        BrokenFileError: if a file of the run is unreadable.
    """
    manifest = run.manifest()
    _check_reportable(manifest, run.manifest_path)
    rows = run.rows()
    arms = _arms(manifest, rows)
    specs = _specs(manifest, rows)
    pairs = [_complete_pairs(rows, arms[0], arm) for arm in arms[1:]]
    claims = read_claims()
    # Claims may declare different smallest effects of one metric; the smallest is the strictest.
    effects: dict[str, float] = {}
    for claim in claims:
        previous = effects.get(claim.metric, claim.smallest_effect)
        effects[claim.metric] = min(previous, claim.smallest_effect)
    both_correct, verdicts, differences, means = run_in_threads(
        partial(_differences, pairs, arms[0], "both_correct", effects),
        partial(judge_claims, rows, manifest, claims, inference=run.inference()),
        partial(_differences, pairs, arms[0], "all", effects),
        partial(arm_means, rows),
    )
    differences = _with_p_holm(differences, manifest, specs)
    both_correct = both_correct.assign(p_holm=np.nan)
    blocks = tuple(
        _block(
            manifest, key, *(_select(frame, key) for frame in (means, differences, both_correct))
        )
        for key in means[list(SETTING)].drop_duplicates().itertuples(index=False, name=None)
    )
    return ReportContent(
        run,
        manifest,
        rows,
        blocks,
        arms,
        specs,
        verdicts,
        _num_compared(differences),
        tuple(run_notes(run, manifest, rows)),
        tuple(headlines(run, manifest, rows, arms[0])),
    )


def _check_reportable(manifest: Manifest, path: Path) -> None:
    """Raise unless the manifest has all fields of a report, and arms to compare."""
    refuse_trials(manifest, path.parent)
    suite = manifest.suite
    needed = {
        "suite.name": suite.name, "suite.profile": suite.profile, "datasets": manifest.datasets,
        "metrics": manifest.metrics, "methods": manifest.methods, "arms": manifest.arms,
        "versions": manifest.versions, "started": manifest.started,
    }  # fmt: skip
    for name, value in needed.items():
        if not value:
            raise BrokenFileError(f"{path}: {name}: expected a value, got none; {REMEDY}")


def _arms(manifest: Manifest, rows: pd.DataFrame) -> tuple[str, ...]:
    stored = set(rows["arm"].unique())
    requested = [arm for arm in manifest.suite.arms if arm in stored]
    arms = requested + sorted(stored - set(requested))
    return tuple(sorted(arms, key=lambda arm: arm != REFERENCE_ARM))


def _complete_pairs(rows: pd.DataFrame, reference: str, arm: str) -> pd.DataFrame:
    """Return the rows of pairs that have both arms; an interrupted run has incomplete pairs."""
    both = rows[rows["arm"].isin([reference, arm])]
    counts = both.groupby("pair", observed=True)["arm"].nunique()
    return both[both["pair"].isin(counts.index[counts == 2])]


def _differences(
    pairs: list[pd.DataFrame], reference: str, subset: Any, effects: Mapping[str, float]
) -> pd.DataFrame:
    frames = [
        paired_differences(pair, reference_arm=reference, subset=subset, smallest_effects=effects)
        for pair in pairs
        if not pair.empty
    ]
    if not frames:
        return pd.DataFrame(columns=list(PAIRED_COLUMNS))
    return pd.concat(frames, ignore_index=True)


def _with_p_holm(
    differences: pd.DataFrame, manifest: Manifest, specs: Mapping[str, MetricSpec]
) -> pd.DataFrame:
    """Return the differences with `p_holm`, corrected over all differences reported as results.

    Not results: metrics without a direction, control methods, and auxiliary metrics that the suite
    does not list.
    """
    requested = manifest.suite.metrics
    controls = {name for name in manifest.methods if manifest.is_control(name)}
    results = {
        name
        for name, spec in specs.items()
        if spec.higher_is_better is not None
        and (name not in AUXILIARY_METRICS or name in requested)
    }
    is_result = differences["metric"].isin(results) & ~differences["method"].isin(controls)
    p_values = differences["p_value"].where(is_result).astype(float)
    corrected = pd.Series(np.nan, index=differences.index)
    for _, part in p_values.groupby(differences["source"]):
        corrected[part.index] = holm(part.to_numpy())
    return differences.assign(p_holm=corrected)


def _num_compared(differences: pd.DataFrame) -> dict[str, int]:
    corrected = differences[differences["p_holm"].notna()]
    return {str(source): len(part) for source, part in corrected.groupby("source")}


def _select(frame: pd.DataFrame, key: tuple[str, ...]) -> pd.DataFrame:
    mask = pd.Series(True, index=frame.index)
    for name, value in zip(SETTING, key, strict=True):
        mask &= frame[name] == value
    return frame[mask]


def _block(
    manifest: Manifest,
    key: tuple[str, ...],
    means: pd.DataFrame,
    differences: pd.DataFrame,
    both_correct: pd.DataFrame,
) -> Block:
    dataset, source, backbone, labels = key
    facts = manifest.datasets.get(dataset)
    return Block(
        dataset,
        source,
        backbone,
        labels,
        title=formatting.dataset_title(facts, dataset, source),
        data=formatting.data_sentence(facts, source),
        means=means,
        differences=differences,
        both_correct=both_correct,
    )


def _specs(manifest: Manifest, rows: pd.DataFrame) -> dict[str, MetricSpec]:
    described = manifest.metrics
    requested = {name: described[name] for name in manifest.suite.metrics if name in described}
    specs = {**MODEL_SCORES, **requested, **described}
    unknown = sorted(set(rows["metric"].unique()) - set(specs))
    if unknown:
        raise MissingDataError(
            f"expected a manifest that describes every metric, missing: {', '.join(unknown)}; "
            "manifest and rows come from different runs, start a new run"
        )
    return specs


def run_in_threads(*tasks: Callable[[], Any]) -> list[Any]:
    """Run `tasks` in threads and return their results in order; exceptions propagate.

    BLAS is limited to one thread per task: parallel products on all cores would compete for them,
    and the results would depend on the number of cores.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with (
        threadpool_limits(1, user_api="blas"),
        ThreadPoolExecutor(min(cores or 1, len(tasks))) as pool,
    ):
        return [future.result() for future in [pool.submit(task) for task in tasks]]
