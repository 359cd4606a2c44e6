"""Provenance of the numbers: protocols, metric definitions, arms and trained models.

Numbers of the page link here. Identifiers of the link targets are numbered, not derived from names,
because a name may contain any character.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lico_bench.records import MetricSpec
from lico_bench.report.content import ReportContent, rows_of
from lico_bench.stats import calibration_errors
from lico_bench.store.codec import encode
from lico_bench.store.run_records import CellEntry

DIRECTIONS = {True: "higher is better", False: "lower is better", None: "no preferred direction"}


def rules_id(content: ReportContent, protocol: str, metric: str) -> str:
    """Return the identifier of a score's protocol, or of its metric if it has no protocol."""
    if protocol in content.protocols:
        return f"protocol-{content.protocols.index(protocol)}"
    return score_id(content, metric) if metric in content.specs else "provenance"


def score_id(content: ReportContent, metric: str) -> str:
    """Return the identifier of a metric's definition."""
    return f"score-{list(content.specs).index(metric)}"


def models_id(content: ReportContent, setting: tuple[str, ...], arm: str | None = None) -> str:
    """Return the identifier of the trained models of a setting, or of one arm in it."""
    settings = [block.setting for block in content.blocks]
    if setting not in settings:
        return "models"
    name = f"models-{settings.index(setting)}"
    return f"{name}-{content.arms.index(arm)}" if arm in content.arms else name


def provenance(content: ReportContent) -> dict[str, Any]:
    """Return the parts of the provenance section with their identifiers."""
    rules = content.manifest.protocols
    finished = set(content.run.finished())
    return {
        "protocols": [
            {"id": rules_id(content, name, ""), "name": name, "rules": rules.get(name, {})}
            for name in content.protocols
        ],
        "scores": [
            {"id": score_id(content, name), "name": name, "spec": spec,
             "direction": DIRECTIONS[spec.higher_is_better], "range": _range(spec)}
            for name, spec in content.specs.items()
        ],
        "settings": _settings(content),
        "unfinished": [cell.key for cell in content.manifest.cells if cell.key not in finished],
    }  # fmt: skip


def _settings(content: ReportContent) -> list[dict[str, Any]]:
    """Return the trained models of each block by arm; shared recipe fields are listed once."""
    by_cell = _models(content)
    settings = []
    for block in content.blocks:
        block_cells = rows_of(content.cells, block.setting).sort_values("seed")
        models = {
            arm: [by_cell[key] for key in block_cells.loc[block_cells["arm"] == arm, "cell"]]
            for arm in content.arms
        }
        shared = _shared([model["facts"] for group in models.values() for model in group])
        arms = [
            {"id": models_id(content, block.setting, arm), "title": content.arm_title(arm),
             **_arm(group, shared)}
            for arm, group in models.items()
        ]  # fmt: skip
        settings.append(
            {"id": models_id(content, block.setting), "title": content.setting_title(block),
             "backbone": block.backbone, "is_standin": block.is_standin, "shared": shared,
             "arms": arms}
        )  # fmt: skip
    return settings


def _arm(models: Sequence[dict[str, Any]], shared: dict[str, Any]) -> dict[str, Any]:
    """Return the models of an arm, with the fields shared within the arm listed once."""
    arm_fields = _shared([_without(model["facts"], shared) for model in models])
    # The seed is listed with each model, even if there is only one.
    arm_fields.pop("seed", None)
    listed = {**shared, **arm_fields, "seed": None}
    return {
        "shared": arm_fields,
        "models": [model | {"facts": _without(model["facts"], listed)} for model in models],
    }


def _models(content: ReportContent) -> dict[str, dict[str, Any]]:
    """Return recipe, calibration, inference cost and context words of each finished cell."""
    errors = calibration_errors(content.rows)
    calibration = dict(zip(errors["cell"], errors["calibration_error"], strict=True))
    inference = content.run.inference().set_index("cell").to_dict("index")
    findings = content.run.findings()
    return {
        cell.key: {
            "key": cell.key,
            "seed": cell.recipe.seed,
            "facts": _facts(cell),
            "calibration": calibration.get(cell.key),
            "inference": inference.get(cell.key),
            "words": findings[cell.key].context_words,
        }
        for cell in content.manifest.cells
        if cell.key in findings
    }


def _facts(cell: CellEntry) -> dict[str, Any]:
    """Return recipe, objective options and text encoder as one flat mapping."""
    facts = dict(sorted(encode(cell.recipe).items()))
    for prefix, options in (("objective", cell.options), ("encoder", cell.encoder)):
        facts |= {f"{prefix}.{option}": value for option, value in (options or {}).items()}
    return facts


def _shared(facts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    first = facts[0] if facts else {}
    return {
        name: value
        for name, value in first.items()
        if all(name in other and other[name] == value for other in facts)
    }


def _without(facts: dict[str, Any], excluded: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if name not in excluded}


def _range(spec: MetricSpec) -> str:
    low, high = ("unbounded" if end is None else f"{end:g}" for end in spec.bounds)
    return f"{low} to {high}"
