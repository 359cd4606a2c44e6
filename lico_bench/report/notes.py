"""Sentences about a run: warnings at the head of the report, and notes on what is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pandas as pd

from lico_bench.stats import sanity_verdicts
from lico_bench.stats.sanity import SANITY_CHECK
from lico_bench.store import RunFolder
from lico_bench.store.run_records import CellEntry, Manifest

# Mean cosine between channel maps in the last epoch. In the first study, networks trained without
# transport had 0.2 to 0.5, collapsed networks 0.85 to 1.
COLLAPSED_COSINE = 0.6
MIN_COSINE_INCREASE = 0.25  # over the reference arm on the same dataset


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
    planned, finished = len(manifest.cells), len(run.finished())
    if finished < planned:
        yield (
            f"The run is not finished: {finished} of {planned} models are stored; "
            "repeat the same `lico-bench run` command to continue it."
        )
    if manifest.left_out:
        left_out = ", ".join(manifest.left_out)
        yield f"A published copy of a run, whose numbers it holds; left out: {left_out}."
    for key, failure in run.failures().items():
        yield f"{key} failed in {failure.stage} and is missing: {failure.sentence}."
    for dataset, names in run.undefined().items():
        metrics = ", ".join(names)
        yield f"Not defined on {dataset}, which does not tell where its objects are: {metrics}."
    if SANITY_CHECK in manifest.metrics:
        yield from _sanity_notes(run, manifest)
    requested: Counter[Any] = Counter(
        cell.pair for cell in manifest.cells
    )  # a dataset may have fewer arms
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
