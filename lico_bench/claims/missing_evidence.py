"""Reasons why a run cannot test a claim, and the command that would.

Two conditions admit a comparison to the tests. Both depend on the reference arm alone, so they
select no gain:

    a >= min(3 c, (1 + c) / 2)     a is the one-sided 95 % bound of the accuracy over the images, c
                                   the accuracy of the best constant guess, from labels
    signal >= 2 d                  claims on maps: mean score of the reference arm's maps minus that
                                   of the control map; d is the smallest effect of interest

The scores of networks that have not learned, or of maps without a signal, are similar under every
objective and would be called equivalent.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from lico_bench.claims.comparisons import Gain, Setting, base_name
from lico_bench.claims.records import INFERENCE_COST, Claim
from lico_bench.number_text import signed
from lico_bench.stats import MODEL_SCORES
from lico_bench.store.run_records import Manifest, SuiteRecord

LEAST_TIMES_CHANCE = 3.0
LEAST_SIGNAL = 2.0  # in smallest effects
ONE_SIDED = 1.645  # quantile of the normal distribution at 95 %


@dataclass(frozen=True)
class Scope:
    """The settings, methods, metrics and arms that a run has scored.

    Attributes:
        settings: in order of first appearance.
        methods: saliency methods, with their options.
        scored: setting, method and metric of every score.
        arms: arms with rows, by setting.
        manifest: manifest of the run.
        accuracies: mean accuracy over all trainings and images, by the fields of a setting and arm.
        num_images: number of classified images, by the fields of a setting and arm.
    """

    settings: tuple[Setting, ...]
    methods: tuple[str, ...]
    scored: frozenset[tuple[Setting, str, str]]
    arms: Mapping[Setting, frozenset[str]]
    manifest: Manifest
    accuracies: pd.Series[float]
    num_images: pd.Series[int]

    def settings_of(self, claim: Claim) -> list[Setting]:
        """Return the settings that a claim covers."""
        return [
            setting
            for setting in self.settings
            if (not claim.datasets or setting.dataset in claim.datasets)
            and (not claim.labels or setting.labels in claim.labels)
        ]

    def absent(self, claim: Claim) -> list[str]:
        """Return the datasets of a claim that the run lacks at the claim's label budgets."""
        present = {setting.dataset for setting in self.settings_of(claim)}
        return [name for name in claim.datasets if name not in present]


def scope_of(rows: pd.DataFrame, manifest: Manifest) -> Scope:
    """Return the scope of a run from its rows and manifest."""
    names = list(Setting._fields)
    scores = rows[[*names, "method", "metric"]].drop_duplicates()
    scored = [
        (Setting(*map(str, row[:4])), str(row[4]), str(row[5]))
        for row in scores.itertuples(index=False, name=None)
    ]
    cells = rows.loc[~rows["cell"].duplicated()].groupby(names, sort=False, observed=True)
    arms = {Setting(*map(str, key)): frozenset(map(str, part)) for key, part in cells["arm"]}
    accuracy = rows[(rows["metric"] == "accuracy") & (rows["method"] == "")]
    return Scope(
        settings=tuple(arms),
        methods=tuple(dict.fromkeys(method for _, method, _ in scored if method)),
        scored=frozenset(scored),
        arms=arms,
        manifest=manifest,
        accuracies=accuracy.groupby([*names, "arm"], observed=True)["value"].mean(),
        num_images=accuracy.groupby([*names, "arm"], observed=True)["image_id"].nunique(),
    )


def missing_in_run(claim: Claim, scope: Scope) -> str:
    """Return why the run has no comparison for the claim, or ""."""
    arms = set().union(*scope.arms.values())
    lacking = [f"arm {arm}" for arm in (claim.reference_arm, claim.arm) if arm not in arms]
    is_known = claim.metric in scope.manifest.metrics or claim.metric in MODEL_SCORES
    is_scored = is_known and any(metric == claim.metric for _, _, metric in scope.scored)
    if claim.metric != INFERENCE_COST and not is_scored:
        if claim.metric in scope.manifest.metrics and not lacking:
            datasets = ", ".join(dict.fromkeys(setting.dataset for setting in scope.settings))
            return f"{_undefined(claim, datasets)}; add a data set that has it"
        lacking.append(f"metric {claim.metric}")
    scored = {base_name(method) for method in scope.methods}
    needed = (*claim.methods[:1], claim.control_map)
    lacking += [f"method {name}" for name in needed if name and name not in scored]
    if not scope.settings_of(claim):
        lacking.append(_needed_data(claim, scope))
    return f"the run has no {', no '.join(lacking)}; {command(claim, scope)}" if lacking else ""


def missing_in_setting(claim: Claim, setting: Setting, method: str, scope: Scope) -> str:
    """Return why the run lacks one comparison although it has others."""
    settings = scope.manifest.suite.of_dataset.get(setting.dataset)
    planned = None if settings is None else settings.arms
    for arm in (claim.reference_arm, claim.arm):
        if planned is not None and arm not in planned:
            return f"the run has no arm {arm} on {setting.dataset}"
        if arm not in scope.arms[setting]:
            return f"no model of arm {arm} is finished here; repeat the same `lico-bench run`"
    if (setting, method, claim.metric) not in scope.scored:
        if claim.metric in scope.manifest.metrics:
            return _undefined(claim, setting.dataset)
        return f"{claim.metric} of {method or 'the model'} was not scored here"
    if claim.control_map and not any(
        base_name(name) == claim.control_map and metric == claim.metric and where == setting
        for where, name, metric in scope.scored
    ):
        return f"{claim.metric} of {claim.control_map} was not scored here"
    return (
        f"no pair of {claim.arm} and {claim.reference_arm} is complete; "
        "repeat the same `lico-bench run`"
    )


def not_admitted(claim: Claim, setting: Setting, gain: Gain | None, scope: Scope) -> str:
    """Return why a comparison is outside of all tests, or "".

    Args:
        gain: of the claim's arm over its reference arm; None if the run lacks it.
    """
    arm, facts = claim.reference_arm, scope.manifest.datasets.get(setting.dataset)
    accuracy = scope.accuracies.get((*setting, arm))
    if accuracy is None:
        return f"the accuracy of arm {arm} is not known"
    if facts is None or facts.chance is None:
        return (
            "the accuracy of a constant guess is not known: the run is older than its record; a "
            "new run stores it"
        )
    least = min(LEAST_TIMES_CHANCE * facts.chance, (1 + facts.chance) / 2)
    error = math.sqrt(accuracy * (1 - accuracy) / scope.num_images[(*setting, arm)])
    if accuracy - ONE_SIDED * error < least:
        return (
            f"the models of arm {arm} have hardly learned: accuracy {accuracy:.1%}, where a "
            f"constant guess has {facts.chance:.1%} and a test needs more than {least:.1%}; train "
            "longer"
        )
    least = LEAST_SIGNAL * claim.smallest_effect
    if claim.control_map and gain is not None and gain.reference < least:
        return (
            f"the maps of arm {arm} score {signed(gain.reference, 4)} above {claim.control_map}, "
            f"a test of a smallest effect of {claim.smallest_effect:g} needs {least:g}"
        )
    return ""


def command(claim: Claim, scope: Scope) -> str:
    """Return the command that tests only this claim."""
    # A run on user models has no settings that apply to a training.
    suite = SuiteRecord() if scope.manifest.suite.kind else scope.manifest.suite
    requested: dict[str, Sequence[str]] = {
        "datasets": claim.datasets or suite.datasets or ("all",),
        "arms": tuple(dict.fromkeys((claim.reference_arm, claim.arm, *claim.control_arms))),
    }
    if claim.methods:
        requested["methods"] = tuple(filter(None, (claim.methods[0], claim.control_map)))
        requested["metrics"] = (claim.metric,)
    words = [f"--{option} {shlex.quote(','.join(names))}" for option, names in requested.items()]
    if claim.labels and "full" not in claim.labels:
        words.append(f"--labels {claim.labels[0]}")
    seeds = max(claim.min_seeds, suite.seeds)
    return f"`lico-bench run {' '.join(words)} --seeds {seeds}` tests it"


def _undefined(claim: Claim, where: str) -> str:
    return f"{claim.metric} is not defined on {where}: the ground truth is lacking"


def _needed_data(claim: Claim, scope: Scope) -> str:
    has_any = any(setting.dataset in claim.datasets for setting in scope.settings)
    if claim.labels and (has_any or not claim.datasets):
        return f"training with {_either(claim.labels)} labels"
    return f"data set {_either(claim.datasets)}".strip()


def _either(names: Sequence[str]) -> str:
    """Return `a, b or c`."""
    return " or ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
