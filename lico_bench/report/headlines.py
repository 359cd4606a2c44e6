"""What a reader must know before any number: collapsed channels, and whose settings were used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from lico_bench.store import RunFolder

# Mean cosine between the channel maps of the last epoch. Networks of the first study that were
# trained without transport have 0.2 to 0.5, those that it collapsed have 0.85 to 1.
COLLAPSED_COSINE = 0.6
FAR_ABOVE = 0.25  # of the reference arm on the same dataset


def headlines(
    run: RunFolder, manifest: Mapping[str, Any], rows: pd.DataFrame, reference: str
) -> Iterator[str]:
    """Sentences for the head of every view of a report, the gravest first.

    Args:
        rows: of the finished cells.
        reference: the arm that the others are compared with.
    """
    yield from _collapses(run, manifest, rows, reference)
    if manifest["suite"].get("as_published"):
        yield "Weights of the losses: as published (--as-published)."
        return
    message = sorted({_changed(cell, manifest) for cell in manifest["cells"]} - {""})
    if message:
        yield (
            f"Options of the objective that are not the arm's own: {'; '.join(message)}. "
            "They are set by the dataset's card for this profile, or by hand; --as-published "
            "leaves the card's out."
        )


def _collapses(
    run: RunFolder, manifest: Mapping[str, Any], rows: pd.DataFrame, reference: str
) -> Iterator[str]:
    seen = _per_model(run, manifest, rows)
    if seen.empty:
        return
    for arm in seen.loc[seen["beta"] > 0, "arm"].unique():
        models = seen[(seen["arm"] == arm) & (seen["beta"] > 0)]
        places = []
        for dataset, same in models.groupby("dataset", sort=False):
            usual = seen[(seen["arm"] == reference) & (seen["dataset"] == dataset)]
            cosine, usual_cosine = same["cosine"].mean(), usual["cosine"].mean()
            if cosine < COLLAPSED_COSINE or cosine - usual_cosine < FAR_ABOVE:
                continue
            places.append(
                f"{dataset} (cosine {cosine:.2f} against {usual_cosine:.2f}, accuracy "
                f"{same['accuracy'].mean():.1%} against {usual['accuracy'].mean():.1%})"
            )
        if places:
            title = manifest.get("arms", {}).get(arm, {}).get("title") or arm
            smaller = models["beta"].max() / 10
            yield (
                f"Transport collapsed the channels of {title} on {', '.join(places)}: its feature "
                "maps are nearly alike, so its accuracy and maps do not speak for the method. "
                f"A smaller weight may prevent it: --set objective.beta={smaller:g}."
            )


def _per_model(run: RunFolder, manifest: Mapping[str, Any], rows: pd.DataFrame) -> pd.DataFrame:
    """Cell, dataset, arm, weight of transport, last channel cosine and accuracy of each model."""
    history = run.history()
    cosines = history[history["quantity"] == "channel_cosine"].sort_values("epoch")
    last = cosines.groupby("cell")["value"].last()
    right = rows[rows["metric"] == "accuracy"].groupby("cell", observed=True)["value"].mean()
    records = [
        {
            "cell": cell["key"],
            "dataset": cell["recipe"]["dataset"],
            "arm": cell["recipe"]["arm"],
            "beta": float(cell.get("options", {}).get("beta", 0.0)),
            "cosine": float(last[cell["key"]]),
            "accuracy": float(right.get(cell["key"], float("nan"))),
        }
        for cell in manifest["cells"]
        if cell["key"] in last.index and "recipe" in cell
    ]
    return pd.DataFrame(records, columns=["cell", "dataset", "arm", "beta", "cosine", "accuracy"])


def _changed(cell: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
    """`LICO beta 0.1, text_every 4`: the options of a cell that its recipe names."""
    recipe = cell.get("recipe", {})
    changed = recipe.get("objective", ())
    if not isinstance(changed, list) or not all(_is_pair(each) for each in changed) or not changed:
        return ""
    options = dict(changed)
    title = manifest.get("arms", {}).get(recipe["arm"], {}).get("title") or recipe["arm"]
    return f"{title} {', '.join(f'{name} {value}' for name, value in sorted(options.items()))}"


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)
