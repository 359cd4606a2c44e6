"""Compute the content of a report from a run folder: statistics, notes and warnings."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from lico_bench.claims import judge_claims, read_claims
from lico_bench.errors import BrokenFileError, MissingDataError
from lico_bench.records import MetricSpec
from lico_bench.report import formatting
from lico_bench.report.content import (
    AUXILIARY_METRICS,
    SETTING,
    Block,
    ReportContent,
    rows_of,
)
from lico_bench.stats import (
    MODEL_SCORES,
    arm_means,
    false_discovery,
    paired_differences,
    sanity_verdicts,
)
from lico_bench.stats.paired import PAIRED_COLUMNS
from lico_bench.stats.sanity import SANITY_CHECK
from lico_bench.store import RunFolder
from lico_bench.store.codec import REMEDY
from lico_bench.store.run_records import CellEntry, Manifest, refuse_trials

REFERENCE_ARM = "baseline"
# Mean cosine between channel maps in the last epoch. In the first study, networks trained without
# transport had 0.2 to 0.5, collapsed networks 0.85 to 1.
COLLAPSED_COSINE = 0.6
MIN_COSINE_INCREASE = 0.25  # over the reference arm on the same dataset


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
    differences = _with_q_values(differences, manifest, specs)
    corrected = differences[differences["q_value"].notna()]
    both_correct = both_correct.assign(q_value=np.nan)
    blocks = tuple(
        _block(manifest, setting, means, differences, both_correct)
        for setting in means[list(SETTING)].drop_duplicates().itertuples(index=False, name=None)
    )
    return ReportContent(
        run,
        manifest,
        rows,
        blocks,
        arms,
        specs,
        verdicts,
        {str(source): len(part) for source, part in corrected.groupby("source")},
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


def _with_q_values(
    differences: pd.DataFrame, manifest: Manifest, specs: Mapping[str, MetricSpec]
) -> pd.DataFrame:
    """Return the differences with `q_value`, over all differences reported as results.

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
        corrected[part.index] = false_discovery(part.to_numpy())
    return differences.assign(q_value=corrected)


def _block(manifest: Manifest, setting: tuple[str, ...], *statistics: pd.DataFrame) -> Block:
    dataset, source, backbone, labels = setting
    facts = manifest.datasets.get(dataset)
    title = formatting.dataset_title(facts, dataset, source)
    data = formatting.data_sentence(facts, source)
    selected = (rows_of(frame, setting) for frame in statistics)
    return Block(dataset, source, backbone, labels, title, data, *selected)


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


def headlines(
    run: RunFolder, manifest: Manifest, rows: pd.DataFrame, reference: str
) -> Iterator[str]:
    """Yield the warnings for the head of a report, the most severe first.

    Args:
        rows: rows of the finished cells.
        reference: name of the reference arm.
    """
    yield from _collapses(run, manifest, rows, reference)
    if manifest.suite.as_published:
        yield "Weights of the losses: as published (--as-published)."
        return
    changes = sorted({_changed_options(cell, manifest) for cell in manifest.cells} - {""})
    if changes:
        yield (
            f"Objective options that differ from the arm's defaults: {'; '.join(changes)}. "
            "They come from the dataset card of this profile or from the user; --as-published "
            "ignores the card's options."
        )


def _collapses(
    run: RunFolder, manifest: Manifest, rows: pd.DataFrame, reference: str
) -> Iterator[str]:
    models = _per_model(run, manifest, rows)
    if models.empty:
        return
    for arm in models.loc[models["beta"] > 0, "arm"].unique():
        with_transport = models[(models["arm"] == arm) & (models["beta"] > 0)]
        collapsed = []
        for dataset, group in with_transport.groupby("dataset", sort=False):
            reference_models = models[(models["arm"] == reference) & (models["dataset"] == dataset)]
            cosine, reference_cosine = group["cosine"].mean(), reference_models["cosine"].mean()
            if cosine < COLLAPSED_COSINE or cosine - reference_cosine < MIN_COSINE_INCREASE:
                continue
            collapsed.append(
                f"{dataset} (cosine {cosine:.2f} against {reference_cosine:.2f}, accuracy "
                f"{group['accuracy'].mean():.1%} against {reference_models['accuracy'].mean():.1%})"
            )
        if collapsed:
            title = manifest.arm_title(arm)
            smaller = with_transport["beta"].max() / 10
            yield (
                f"Transport collapsed the channels of {title} on {', '.join(collapsed)}: its "
                "feature maps are nearly identical, so its accuracy and saliency maps are not "
                "representative of the method. "
                f"A smaller weight may prevent it: --set objective.beta={smaller:g}."
            )


def _per_model(run: RunFolder, manifest: Manifest, rows: pd.DataFrame) -> pd.DataFrame:
    """Return dataset, arm, transport weight, last channel cosine and accuracy of each cell."""
    history = run.history()
    cosines = history[history["quantity"] == "channel_cosine"].sort_values("epoch")
    last = cosines.groupby("cell")["value"].last()
    accuracy = rows[rows["metric"] == "accuracy"].groupby("cell", observed=True)["value"].mean()
    records = [
        {
            "cell": cell.key,
            "dataset": cell.recipe.dataset,
            "arm": cell.recipe.arm,
            "beta": _number((cell.options or {}).get("beta")),
            "cosine": float(last[cell.key]),
            "accuracy": float(accuracy.get(cell.key, float("nan"))),
        }
        for cell in manifest.cells
        if cell.key in last.index
    ]
    return pd.DataFrame(records, columns=["cell", "dataset", "arm", "beta", "cosine", "accuracy"])


def _number(value: object) -> float:
    """Return a weight of an objective; 0 for an option of another kind of that name."""
    return float(value) if isinstance(value, int | float) else 0.0


def _changed_options(cell: CellEntry, manifest: Manifest) -> str:
    """Return the objective options of a cell's recipe, such as `LICO beta 0.1, text_every 4`."""
    if not cell.recipe.objective:
        return ""
    objective = sorted(dict(cell.recipe.objective).items())
    options = ", ".join(f"{name} {value}" for name, value in objective)
    return f"{manifest.arm_title(cell.recipe.arm)} {options}"


def run_notes(run: RunFolder, manifest: Manifest, rows: pd.DataFrame) -> Iterator[str]:
    """Yield sentences about missing or incomplete results and about flagged maps."""
    finished = set(run.finished())
    seeds_done = {cell.recipe.seed for cell in manifest.cells if cell.key in finished}
    seeds_left = {cell.recipe.seed for cell in manifest.cells if cell.key not in finished}
    count = f"{len(finished)} of {len(manifest.cells)} models are stored"
    if seeds_left and seeds_done and max(seeds_done) < min(seeds_left):
        # As `run --until-width` stops.
        yield (
            f"Trained {len(seeds_done)} of {len(seeds_done | seeds_left)} seeds: {count}; "
            "`lico-bench run` without --until-width trains the others."
        )
    elif seeds_left:
        yield (
            f"The run is not finished: {count}; repeat the same `lico-bench run` command to "
            "continue it."
        )
    if manifest.left_out:
        left_out = ", ".join(manifest.left_out)
        yield f"A published copy of a run, whose numbers it holds; left out: {left_out}."
    for key, failure in run.failures().items():
        yield f"{key} failed in {failure.stage} and is missing: {failure.sentence}."
    for dataset, names in run.undefined().items():
        metrics = ", ".join(names)
        yield f"Not defined on {dataset}, which has no object regions: {metrics}."
    if SANITY_CHECK in manifest.metrics:
        yield from _sanity_notes(run, manifest)
    # A dataset may have fewer arms than the suite.
    requested: Counter[Any] = Counter(cell.pair for cell in manifest.cells)
    stored = rows.groupby("pair", observed=True)["arm"].nunique()
    incomplete = sum(count < requested[pair] for pair, count in stored.items())
    if incomplete:
        yield (
            f"Pairs with a missing arm: {incomplete}; "
            "their models are included in the means but not in the differences."
        )
    flags = rows.loc[rows["flag"] != "", ["method", "metric", "flag"]]
    for flag, part in flags.groupby("flag", observed=True):
        by_metric = part.groupby(["method", "metric"], observed=True).size()
        by_method = by_metric.groupby("method", observed=True).max()
        counts = ", ".join(
            f"{count:,} of {method or 'the model'}" for method, count in by_method.items()
        )
        yield f"Maps that carry the flag {str(flag).replace('_', ' ')}: {counts}."


def _sanity_notes(run: RunFolder, manifest: Manifest) -> Iterator[str]:
    """Yield one sentence per dataset and arm: the sanity-check outcome of each method."""
    verdicts = sanity_verdicts(run.curves())
    for (dataset, arm), part in verdicts.groupby(["dataset", "arm"], sort=False):
        outcomes = ", ".join(
            f"{manifest.method_title(row['method'])} {row['outcome']} ({row['similarity']:.2f})"
            for _, row in part.iterrows()
        )
        yield f"Sanity check on {dataset}, arm {arm}: {outcomes}."
