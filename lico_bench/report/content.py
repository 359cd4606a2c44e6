"""What a report shows, gathered once from a run folder; every view is made from this."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd

from lico_bench.claims import ClaimVerdict, judge_claims, read_claims
from lico_bench.errors import MissingDataError
from lico_bench.records import MetricSpec
from lico_bench.report import formatting
from lico_bench.report.headlines import headlines
from lico_bench.report.parallel import run_in_threads
from lico_bench.stats import MODEL_SCORES, arm_means, holm, paired_differences, sanity_verdicts
from lico_bench.stats.paired import PAIRED_COLUMNS
from lico_bench.stats.sanity import SANITY_CHECK
from lico_bench.store import RunFolder
from lico_bench.store.untrusted import check_reportable

SETTING = ("dataset", "source", "backbone", "labels")
REFERENCE_ARM = "baseline"
# What stands beside every score, to judge it by; no result, unless it was asked for.
BESIDE = ("brier", "score_whole", "score_blurred", "score_emptied", "flat_map", "tied_ranks")


@dataclass(frozen=True)
class Block:
    """One dataset, backbone and label budget of the run, with its numbers.

    Attributes:
        means: rows of `stats.arm_means`.
        differences: rows of `stats.paired_differences`, all images, and `p_holm`: the p-value
            corrected for all that the report shows as a result, NaN outside of that family. Drawn
            images are a family of their own: they must not weaken what real ones say.
        both_correct: the same on images that both models of a pair get right; outside the family.
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
        """Whether its images are drawn."""
        return self.source == "standin"

    @property
    def key(self) -> str:
        """A name for files and anchors."""
        budget = "" if self.labels == "full" else f"_{self.labels}_labels"
        return f"{self.dataset}{'_standin' if self.is_standin else ''}_{self.backbone}{budget}"

    @property
    def num_seeds(self) -> int:
        """The largest number of seeds behind a number."""
        return int(self.means["num_seeds"].max())


@dataclass(frozen=True)
class ReportContent:
    """Everything a report shows.

    Attributes:
        arms: in the suite's order, the reference first.
        specs: of each metric, the model's own scores included.
        claims: the verdict on each declared claim.
        num_compared: differences that p-values are corrected for, by source.
        notes: sentences about what is missing from the run.
        headlines: what must be known before any number: collapsed channels, whose settings.
    """

    run: RunFolder
    manifest: dict[str, Any]
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
        """What the other arms are compared with."""
        return self.arms[0]

    @property
    def has_standins(self) -> bool:
        """Whether any number comes from drawn images."""
        return any(block.is_standin for block in self.blocks)

    @cached_property
    def cells(self) -> pd.DataFrame:
        """One row per model: cell, arm, seed and setting."""
        return self.rows.loc[~self.rows["cell"].duplicated(), ["cell", "arm", "seed", *SETTING]]

    @cached_property
    def _rules(self) -> pd.DataFrame:
        """Each method with each protocol that it was scored under."""
        return self.rows[["method", "protocol"]].drop_duplicates()

    def arm_title(self, arm: str) -> str:
        """The arm's name for people."""
        return str(self.manifest.get("arms", {}).get(arm, {}).get("title") or arm)

    def method_title(self, method: str) -> str:
        """The method's name for people; the model itself for its own scores."""
        if not method:
            return "Model"
        return str(self.manifest.get("methods", {}).get(method, {}).get("title") or method)

    def is_control(self, method: str) -> bool:
        """Whether a method knows nothing of the model."""
        return bool(self.manifest.get("methods", {}).get(method, {}).get("is_control"))

    def methods(self) -> list[str]:
        """Methods in the order of the suite, controls last."""
        requested = self.manifest["suite"].get("methods", [])
        found = {str(name) for name in self._rules["method"] if name}
        order = [name for name in requested if name in found]
        order += sorted(found - set(order))
        return sorted(order, key=self.is_control)

    def protocols(self, method: str | None = None) -> list[str]:
        """One sentence per protocol that a number (of `method`) was made under."""
        known = self.manifest.get("protocols", {})
        rules = self._rules
        rows = rules if method is None else rules[rules["method"] == method]
        return [
            formatting.protocol_sentence(protocol, known.get(protocol))
            for protocol in sorted(rows["protocol"].unique())
            if protocol
        ]

    def each_score(self, block: Block) -> Iterator[tuple[str, MetricSpec]]:
        """Method and metric of every score of a block: the model's own first."""
        found = set(zip(block.means["method"], block.means["metric"], strict=True))
        for method in ("", *self.methods()):
            for metric, spec in self.specs.items():
                if (method, metric) in found:
                    yield method, spec


def gather(run: RunFolder) -> ReportContent:
    """Everything the views need, computed once.

    Raises:
        MissingDataError: if the folder holds no run, or no cell of it is finished.
        BrokenFileError: if a file of it is unreadable.
    """
    manifest = run.manifest()
    check_reportable(manifest, run.manifest_path)
    rows = run.rows()
    arms = _arms(manifest, rows)
    specs = _specs(manifest, rows)
    pairs = [_complete_pairs(rows, arms[0], arm) for arm in arms[1:]]
    claims = read_claims()
    # Claims may ask for different sizes of one metric; the smallest is the strictest.
    effects: dict[str, float] = {}
    for claim in claims:
        known = effects.get(claim.metric, claim.smallest_effect)
        effects[claim.metric] = min(known, claim.smallest_effect)
    correct, verdicts, every, means = run_in_threads(
        partial(_differences, pairs, arms[0], "both_correct", effects),
        partial(judge_claims, rows, manifest, claims, inference=run.inference()),
        partial(_differences, pairs, arms[0], "all", effects),
        partial(arm_means, rows),
    )
    differences = _corrected(every, manifest, specs)
    both_correct = correct.assign(p_holm=np.nan)
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
        tuple(_notes(run, manifest, rows)),
        tuple(headlines(run, manifest, rows, arms[0])),
    )


def _arms(manifest: dict[str, Any], rows: pd.DataFrame) -> tuple[str, ...]:
    found = list(rows["arm"].unique())
    requested = [arm for arm in manifest["suite"].get("arms", []) if arm in found]
    arms = requested + sorted(set(found) - set(requested))
    return tuple(sorted(arms, key=lambda arm: arm != REFERENCE_ARM))


def _complete_pairs(rows: pd.DataFrame, reference: str, arm: str) -> pd.DataFrame:
    """Rows of two arms, of those pairs that have both; an interrupted run has others."""
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


def _corrected(
    differences: pd.DataFrame, manifest: dict[str, Any], specs: Mapping[str, MetricSpec]
) -> pd.DataFrame:
    """The differences with `p_holm`, over all that the report shows as a result.

    No result: a metric without direction, a control that knows nothing of the model, and what only
    stands beside the scores.
    """
    methods = manifest.get("methods", {})
    requested = manifest["suite"].get("metrics", ())
    controls = {name for name, facts in methods.items() if facts.get("is_control")}
    results = {
        name
        for name, spec in specs.items()
        if spec.higher_is_better is not None and (name not in BESIDE or name in requested)
    }
    is_result = differences["metric"].isin(results) & ~differences["method"].isin(controls)
    p_values = differences["p_value"].where(is_result).astype(float)
    corrected = pd.Series(np.nan, index=differences.index)
    for _, part in p_values.groupby(differences["source"]):
        corrected[part.index] = holm(part.to_numpy())
    return differences.assign(p_holm=corrected)


def _num_compared(differences: pd.DataFrame) -> dict[str, int]:
    inside = differences[differences["p_holm"].notna()]
    return {str(source): len(part) for source, part in inside.groupby("source")}


def _select(frame: pd.DataFrame, key: tuple[str, ...]) -> pd.DataFrame:
    same = pd.Series(True, index=frame.index)
    for name, wanted in zip(SETTING, key, strict=True):
        same &= frame[name] == wanted
    return frame[same]


def _block(
    manifest: dict[str, Any],
    key: tuple[str, ...],
    means: pd.DataFrame,
    differences: pd.DataFrame,
    both_correct: pd.DataFrame,
) -> Block:
    dataset, source, backbone, labels = key
    facts = manifest.get("datasets", {}).get(dataset)
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


def _specs(manifest: dict[str, Any], rows: pd.DataFrame) -> dict[str, MetricSpec]:
    known = {field.name for field in fields(MetricSpec)}
    specs = dict(MODEL_SCORES)
    described = manifest.get("metrics", {})
    requested = [name for name in manifest["suite"].get("metrics", []) if name in described]
    for name in [*requested, *(name for name in described if name not in requested)]:
        facts = described[name]
        specs[name] = MetricSpec(**{key: facts[key] for key in facts if key in known})
    unknown = sorted(set(rows["metric"].unique()) - set(specs))
    if unknown:
        raise MissingDataError(
            f"the manifest does not say what these metrics are: {', '.join(unknown)}; "
            "it belongs to other rows, start a new run"
        )
    return specs


def _notes(run: RunFolder, manifest: dict[str, Any], rows: pd.DataFrame) -> Iterator[str]:
    planned, finished = len(manifest["cells"]), len(run.finished())
    if finished < planned:
        yield (
            f"The run is not finished: {finished} of {planned} models are in; "
            "the same `lico-bench run` command goes on where it stopped."
        )
    if manifest.get("left_out"):
        message = ", ".join(manifest["left_out"])
        yield f"A published copy of a run, whose numbers it holds; left out: {message}."
    for key, failure in run.failures().items():
        yield f"Failed in {failure['stage']} and not in: {key}: {failure['sentence']}."
    for dataset, names in run.undefined().items():
        message = ", ".join(names)
        yield f"Not defined on {dataset}, which does not tell where its objects are: {message}."
    if SANITY_CHECK in manifest.get("metrics", {}):
        yield from _sanity_notes(run, manifest)
    requested = Counter(cell["pair"] for cell in manifest["cells"])  # a dataset may have fewer arms
    found = rows.groupby("pair", observed=True)["arm"].nunique()
    lonely = sum(count < requested[pair] for pair, count in found.items())
    if lonely:
        yield (
            f"Pairs that still lack an arm: {lonely}; "
            "their models count in the means and not in the differences."
        )
    flags = rows.loc[rows["flag"] != "", ["method", "metric", "flag"]]
    for flag, part in flags.groupby("flag", observed=True):
        by_metric = part.groupby(["method", "metric"], observed=True).size()
        counts = by_metric.groupby("method", observed=True).max()
        message = ", ".join(
            f"{count:,} of {method or 'the model'}" for method, count in counts.items()
        )
        yield f"Maps that carry the flag {str(flag).replace('_', ' ')}: {message}."


def _sanity_notes(run: RunFolder, manifest: dict[str, Any]) -> Iterator[str]:
    """One sentence per dataset and arm: which methods forget their map with the network."""
    verdicts = sanity_verdicts(run.curves())
    titles = {name: facts.get("title", name) for name, facts in manifest["methods"].items()}
    for (dataset, arm), part in verdicts.groupby(["dataset", "arm"], sort=False):
        message = ", ".join(
            f"{titles.get(row['method'], row['method'])} {row['outcome']} ({row['similarity']:.2f})"
            for _, row in part.iterrows()
        )
        yield f"Sanity check on {dataset}, arm {arm}: {message}."
