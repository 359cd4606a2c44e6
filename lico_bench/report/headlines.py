"""Warnings at the head of a report: collapsed channels and changed loss weights."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

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
            "beta": float((cell.options or {}).get("beta", 0.0)),
            "cosine": float(last[cell.key]),
            "accuracy": float(accuracy.get(cell.key, float("nan"))),
        }
        for cell in manifest.cells
        if cell.key in last.index
    ]
    return pd.DataFrame(records, columns=["cell", "dataset", "arm", "beta", "cosine", "accuracy"])


def _changed_options(cell: CellEntry, manifest: Manifest) -> str:
    """Return the objective options of a cell's recipe, such as `LICO beta 0.1, text_every 4`."""
    if not cell.recipe.objective:
        return ""
    options = ", ".join(f"{name} {value}" for name, value in sorted(cell.recipe.objective))
    return f"{manifest.arm_title(cell.recipe.arm)} {options}"
