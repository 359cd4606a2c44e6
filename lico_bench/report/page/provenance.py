"""What stands behind the numbers: data, rules, definitions, arms, and every trained model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lico_bench.records import MetricSpec
from lico_bench.report.content import SETTING, ReportContent
from lico_bench.report.figures.canvas import of_block
from lico_bench.report.page.anchors import Anchors
from lico_bench.report.page.numbers import setting_title
from lico_bench.stats import calibration_errors

DIRECTIONS = {True: "higher is better", False: "lower is better", None: "no direction of merit"}


def provenance(content: ReportContent, anchors: Anchors) -> dict[str, Any]:
    """The parts of the last section, with the identifiers that numbers point at."""
    known = content.manifest.get("protocols", {})
    return {
        "protocols": [
            {"id": anchor, "name": name, "rules": known.get(name, {})}
            for name, anchor in anchors.protocols.items()
        ],
        "scores": [
            {"id": anchor, "name": name, "spec": content.specs[name],
             "direction": DIRECTIONS[content.specs[name].higher_is_better],
             "range": _range(content.specs[name])}
            for name, anchor in anchors.scores.items()
        ],
        "settings": _settings(content, anchors),
        "unfinished": _unfinished(content),
    }  # fmt: skip


def _settings(content: ReportContent, anchors: Anchors) -> list[dict[str, Any]]:
    """The trained models of each block by arm; what their recipes share is told once."""
    known = _models(content)
    cells = content.cells
    settings = []
    for block in content.blocks:
        setting = tuple(getattr(block, name) for name in SETTING)
        own = of_block(cells, block).sort_values("seed")
        models = {arm: [known[key] for key in own.loc[own["arm"] == arm, "cell"]]
                  for arm in content.arms}  # fmt: skip
        shared = _shared([model["facts"] for found in models.values() for model in found])
        arms = [
            {"id": anchors.models(setting, arm), "title": content.arm_title(arm),
             **_arm(found, shared)}
            for arm, found in models.items()
        ]  # fmt: skip
        settings.append(
            {"id": anchors.models(setting), "title": setting_title(content, block),
             "backbone": block.backbone, "is_standin": block.is_standin, "shared": shared,
             "arms": arms}
        )  # fmt: skip
    return settings


def _arm(models: Sequence[dict[str, Any]], shared: dict[str, Any]) -> dict[str, Any]:
    """The models of an arm; what sets the arm apart, and then what sets each model apart."""
    own = _shared([_without(model["facts"], shared) for model in models])
    # A seed is told with its model, also where there is one alone.
    own.pop("seed", None)
    known = {**shared, **own, "seed": None}
    return {
        "shared": own,
        "models": [model | {"facts": _without(model["facts"], known)} for model in models],
    }


def _models(content: ReportContent) -> dict[str, dict[str, Any]]:
    """What is known of each finished cell."""
    errors = calibration_errors(content.rows)
    calibration = dict(zip(errors["cell"], errors["calibration_error"], strict=True))
    inference = content.run.inference().set_index("cell").to_dict("index")
    findings = content.run.findings()
    return {
        cell["key"]: {
            "key": cell["key"],
            "seed": cell["recipe"]["seed"],
            "facts": _facts(cell),
            "calibration": calibration.get(cell["key"]),
            "inference": inference.get(cell["key"]),
            "words": findings[cell["key"]].get("context_words"),
        }
        for cell in content.manifest["cells"]
        if cell["key"] in findings
    }


def _facts(cell: dict[str, Any]) -> dict[str, Any]:
    """Recipe, options of the objective and text encoder, flat."""
    facts = dict(cell["recipe"])
    for prefix, name in (("objective", "options"), ("encoder", "encoder")):
        found = cell.get(name) or {}
        facts |= {f"{prefix}.{option}": value for option, value in found.items()}
    return facts


def _shared(facts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    first = facts[0] if facts else {}
    return {
        name: value
        for name, value in first.items()
        if all(name in other and other[name] == value for other in facts)
    }


def _without(facts: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if name not in known}


def _unfinished(content: ReportContent) -> list[str]:
    finished = set(content.run.finished())
    return [cell["key"] for cell in content.manifest["cells"] if cell["key"] not in finished]


def _range(spec: MetricSpec) -> str:
    low, high = ("unbounded" if end is None else f"{end:g}" for end in spec.bounds)
    return f"{low} to {high}"
