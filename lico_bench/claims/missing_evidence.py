"""What a run lacks to test a claim, and the command that would add it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lico_bench.claims.comparisons import Setting, base_name
from lico_bench.claims.records import INFERENCE_COST, Claim
from lico_bench.stats import MODEL_SCORES

# A network is taken to have learned nothing worth comparing below the smaller of three times what
# guessing gives and a tenth of the way from there to perfect.
LEAST_TIMES_CHANCE = 3.0
LEAST_SHARE_LEARNED = 0.1


@dataclass(frozen=True)
class Scope:
    """What a run holds.

    Attributes:
        settings: in order of first appearance.
        scored: setting, method and metric of every score.
        arms: by setting.
        suite: as the manifest has it.
        described: metrics that the run asked for.
        accuracies: of the arms, over all their trainings and images.
        num_classes: that the networks of a setting name, all together: an incomplete copy may have
            images of fewer classes than its data set. None where classes have no names.
    """

    settings: tuple[Setting, ...]
    methods: tuple[str, ...]
    scored: frozenset[tuple[Setting, str, str]]
    arms: Mapping[Setting, frozenset[str]]
    suite: Mapping[str, Any]
    described: frozenset[str]
    accuracies: Mapping[tuple[Setting, str], float]
    num_classes: Mapping[Setting, int]

    def settings_of(self, claim: Claim) -> list[Setting]:
        """The settings that a claim is made for."""
        return [
            setting
            for setting in self.settings
            if (not claim.datasets or setting.dataset in claim.datasets)
            and (not claim.labels or setting.labels in claim.labels)
        ]

    def absent(self, claim: Claim) -> list[str]:
        """Datasets that a claim names and that the run lacks, with the labels it names."""
        here = {setting.dataset for setting in self.settings_of(claim)}
        return [name for name in claim.datasets if name not in here]

    def controls_not_run(self, claim: Claim) -> list[str]:
        """Controls that a claim names and that the run lacks."""
        here = frozenset().union(*self.arms.values(), map(base_name, self.methods))
        return [name for name in (*claim.control_arms, *claim.control_methods) if name not in here]

    def has_metric(self, metric: str) -> bool:
        """Whether anything was scored by it, and the manifest says what it is."""
        is_known = metric in self.described or metric in MODEL_SCORES
        return is_known and any(found == metric for _, _, found in self.scored)


def scope_of(rows: pd.DataFrame, manifest: Mapping[str, Any]) -> Scope:
    """What the rows of a run hold."""
    names = list(Setting._fields)
    scores = rows.drop_duplicates([*names, "method", "metric"])
    scored = [
        (Setting(*map(str, row[:4])), str(row[4]), str(row[5]))
        for row in scores[[*names, "method", "metric"]].itertuples(index=False, name=None)
    ]
    arms: dict[Setting, set[str]] = {}
    cells = rows.loc[~rows["cell"].duplicated(), [*names, "arm"]]
    for row in cells.itertuples(index=False, name=None):
        arms.setdefault(Setting(*map(str, row[:4])), set()).add(str(row[4]))
    own = rows[(rows["metric"] == "accuracy") & (rows["method"] == "")]
    accuracies = (
        own.groupby([*names, "arm"], sort=False, observed=True)["value"].mean().reset_index()
    )
    # The target of an accuracy is the class that the network said.
    said = own.groupby(names, sort=False, observed=True)["target"].nunique().reset_index()
    num_said = {
        Setting(*map(str, row[:4])): int(row[4]) for row in said.itertuples(index=False, name=None)
    }
    datasets = manifest.get("datasets", {})
    return Scope(
        accuracies={
            (Setting(*map(str, row[:4])), str(row[4])): float(row[5])
            for row in accuracies.itertuples(index=False, name=None)
        },
        num_classes={
            setting: count
            for setting, count in num_said.items()
            if datasets.get(setting.dataset, {}).get("class_names")
        },
        settings=tuple(arms),
        methods=tuple(dict.fromkeys(method for _, method, _ in scored if method)),
        scored=frozenset(scored),
        arms={setting: frozenset(found) for setting, found in arms.items()},
        suite=manifest.get("suite", {}),
        described=frozenset(manifest.get("metrics", {})),
    )


def missing_in_run(claim: Claim, scope: Scope) -> str:
    """Why no comparison of the claim can be made in the whole run, or nothing."""
    arms = set().union(*scope.arms.values())
    lacking = [f"arm {arm}" for arm in (claim.reference_arm, claim.arm) if arm not in arms]
    if claim.metric != INFERENCE_COST and not scope.has_metric(claim.metric):
        if claim.metric in scope.described and not lacking:
            here = ", ".join(dict.fromkeys(setting.dataset for setting in scope.settings))
            return f"{_undefined(claim, here)}; add a data set that has it"
        lacking.append(f"metric {claim.metric}")
    if claim.methods and claim.methods[0] not in map(base_name, scope.methods):
        lacking.append(f"method {claim.methods[0]}")
    if not scope.settings_of(claim):
        lacking.append(_wanted_data(claim, scope))
    return f"the run has no {', no '.join(lacking)}; {command(claim, scope)}" if lacking else ""


def missing_here(claim: Claim, setting: Setting, method: str, scope: Scope) -> str:
    """Why one comparison cannot be made although the run has others."""
    own = scope.suite.get("of_dataset", {}).get(setting.dataset, {})
    for arm in (claim.reference_arm, claim.arm):
        if arm not in own.get("arms", (arm,)):
            return f"the run has no arm {arm} on {setting.dataset}"
        if arm not in scope.arms[setting]:
            return f"no model of arm {arm} is finished here; repeat the same `lico-bench run`"
    if (setting, method, claim.metric) not in scope.scored:
        if claim.metric in scope.described:
            return _undefined(claim, setting.dataset)
        return f"{claim.metric} of {method or 'the model'} was not scored here"
    return (
        f"no pair of {claim.arm} and {claim.reference_arm} is complete; "
        "repeat the same `lico-bench run`"
    )


def hardly_learned(claim: Claim, setting: Setting, scope: Scope) -> str:
    """Why these networks are no test of anything: they guess. Nothing where they have learned.

    Scores of networks that guess are alike whatever the objective, and would read as equivalent.
    """
    if setting not in scope.num_classes:
        return ""
    chance = 1 / scope.num_classes[setting]
    least = min(LEAST_TIMES_CHANCE * chance, chance + LEAST_SHARE_LEARNED * (1 - chance))
    for arm in (claim.reference_arm, claim.arm):
        accuracy = scope.accuracies.get((setting, arm), 1.0)
        if accuracy < least:
            return (
                f"the models of arm {arm} have hardly learned: accuracy {accuracy:.1%}, where "
                f"guessing gives {chance:.1%}; train longer"
            )
    return ""


def command(claim: Claim, scope: Scope) -> str:
    """The call that tests the claim and nothing else."""
    # A run on a user's own models asked for nothing that could be trained again.
    suite = {} if "kind" in scope.suite else scope.suite
    requested: dict[str, Sequence[str]] = {
        "datasets": claim.datasets or suite.get("datasets", ("all",)),
        "arms": tuple(dict.fromkeys((claim.reference_arm, claim.arm, *claim.control_arms))),
    }
    if claim.methods:
        requested["methods"] = (claim.methods[0], *claim.control_methods)
        requested["metrics"] = (claim.metric,)
    words = [f"--{option} {shlex.quote(','.join(names))}" for option, names in requested.items()]
    if claim.labels and "full" not in claim.labels:
        words.append(f"--labels {claim.labels[0]}")
    seeds = max(claim.min_seeds, int(suite.get("seeds", 1)))
    return f"`lico-bench run {' '.join(words)} --seeds {seeds}` tests it"


def _undefined(claim: Claim, where: str) -> str:
    return f"{claim.metric} is not defined on {where}: the ground truth is lacking"


def _wanted_data(claim: Claim, scope: Scope) -> str:
    wanted = f"data set {_either(claim.datasets)}" if claim.datasets else "data set"
    has_any = any(setting.dataset in claim.datasets for setting in scope.settings)
    if claim.labels and (has_any or not claim.datasets):
        return f"training with {_either(claim.labels)} labels"
    return wanted


def _either(names: Sequence[str]) -> str:
    """`a, b or c`."""
    *before, last = names
    return f"{', '.join(before)} or {last}" if before else last
