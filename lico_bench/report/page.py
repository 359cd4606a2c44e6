"""The HTML page of a report: one self-contained file, rendered from templates.

Only this module imports Jinja. Every value is escaped. Style sheet and script are embedded in the
page, so a page loads nothing from elsewhere.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from lico_bench.claims import Claim, ClaimVerdict, Evidence
from lico_bench.records import MetricSpec
from lico_bench.report import formatting
from lico_bench.report.content import BAR_WIDTH, ReportContent, place_bar, rows_of
from lico_bench.report.figures.canvas import Plot
from lico_bench.report.gallery import data_uri, galleries
from lico_bench.report.page_numbers import all_numbers, models_id, result_tables, rules_id, score_id
from lico_bench.report.paper_tables import paper_tables
from lico_bench.report.tables import Cell, Table
from lico_bench.stats import calibration_errors
from lico_bench.store.codec import encode
from lico_bench.store.run_records import CellEntry

TEMPLATES = Path(__file__).parent / "templates"
# Sign and word of each outcome, so that no outcome is shown by colour alone.
OUTCOMES = {
    "improvement": ("✔", "Improvement"),
    "harm": ("✘", "Harm"),
    "gain_ruled_out": ("⊣", "Gain ruled out"),
    "loss_ruled_out": ("⊢", "Loss ruled out"),
    "equivalent": ("≈", "Equivalent"),
    "inconclusive": ("?", "Inconclusive"),
    "not_tested": ("○", "Not tested"),
}
NO_VALUES = (formatting.NO_VALUE, formatting.NO_VALUE)
DIRECTIONS = {True: "higher is better", False: "lower is better", None: "no preferred direction"}


def render_page(content: ReportContent, plots: Sequence[Plot], tables: Sequence[str]) -> str:
    """Return the report as one self-contained HTML page.

    The page needs no network; only the table of all numbers needs JavaScript.

    Args:
        tables: stems of the LaTeX tables in the folder `tables` beside the page.
    """
    albums, images = galleries(content)
    return fill_template(
        "report.html.j2",
        content=content,
        manifest=content.manifest,
        suite=content.manifest.suite,
        arm_titles=[content.arm_title(arm) for arm in content.arms],
        counts=_counts(content),
        outcomes=_outcome_counts(content),
        claims=[_card(content, verdict) for verdict in content.claims],
        blocks=result_tables(content),
        papers=[_paper(*numbered) for numbered in enumerate(paper_tables(content))],
        numbers=all_numbers(content),
        plots=[plot for plot in plots if plot.kind != "gallery"],
        gallery_plots=[plot.name for plot in plots if plot.kind == "gallery"],
        galleries=albums,
        images=images,
        provenance=_provenance(content),
        tables=tables,
        seeds=formatting.seeds_sentence(min(block.num_seeds for block in content.blocks)),
        family=formatting.family_sentence(content.num_compared) if content.num_compared else "",
        standin=formatting.STANDIN,
        bar_width=BAR_WIDTH,
    )


def fill_template(name: str, **values: Any) -> str:
    """Render the template `name` with `values`, all of them escaped.

    `asset("style.css")` inserts a file of the template folder without escaping; the filter
    `data_uri` embeds an image.
    """
    return _environment().get_template(name).render(**values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # `tojson` escapes <, > and & for a script element; other characters need no escaping.
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}
    environment.globals["asset"] = _asset
    environment.filters["data_uri"] = data_uri
    return environment


def _asset(name: str) -> Markup:
    # Safe without escaping: a file of this package, without content of a run.
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))


def _paper(number: int, table: Table) -> dict[str, Any]:
    """Return a table of the paper; the notes of its cells become numbered footnotes."""
    notes: dict[str, int] = {}

    def numbered(cell: Cell) -> dict[str, Any]:
        note = notes.setdefault(cell.note, len(notes) + 1) if cell.note else None
        return {**vars(cell), "note": note}

    return {
        "id": f"paper-{number}",
        "title": table.title,
        "caption": table.caption,
        "columns": [column.replace("\n", ", ") for column in table.columns],
        "rows": [[numbered(cell) for cell in row] for row in table.rows],
        "footnotes": list(notes),
        "notes": table.notes,
        "has_ours": any(cell.kind == "ours" for row in table.rows for cell in row),
    }


def _counts(content: ReportContent) -> list[str]:
    """Return the size of the run: numbers of datasets, arms, seeds, methods, models and scores."""
    standins = len({block.dataset for block in content.blocks if block.is_standin})
    datasets = formatting.plural(len({block.dataset for block in content.blocks}), "dataset")
    return [
        f"{datasets}, {standins} of them stand-ins" if standins else datasets,
        formatting.plural(len(content.arms), "arm"),
        formatting.plural(max(block.num_seeds for block in content.blocks), "seed"),
        formatting.plural(len(content.methods()), "saliency method"),
        formatting.plural(content.rows["cell"].nunique(), "trained model"),
        f"{len(content.rows):,} per-image scores",
    ]


def _outcome_counts(content: ReportContent) -> list[dict[str, Any]]:
    """Return the number of claims per outcome, without outcomes that no claim has."""
    counts = Counter[str](verdict.outcome for verdict in content.claims)
    return [
        {**_outcome(outcome), "count": counts[outcome]} for outcome in OUTCOMES if counts[outcome]
    ]


def _outcome(outcome: str) -> dict[str, str]:
    sign, word = OUTCOMES[outcome]
    return {"outcome": outcome, "sign": sign, "word": word}


def _card(content: ReportContent, verdict: ClaimVerdict) -> dict[str, Any]:
    claim = verdict.claim
    spec = content.specs.get(claim.metric)
    return {
        **_outcome(verdict.outcome),
        "id": claim.id,
        "title": claim.title,
        "statement": claim.statement,
        "sentence": _sentence(verdict.sentence, verdict.outcome),
        "source": claim.source.rstrip("."),
        "endpoint": _endpoint(content, claim, spec),
        "evidence": list(_evidence(content, verdict, spec)),
    }


def _endpoint(content: ReportContent, claim: Claim, spec: MetricSpec | None) -> str:
    """Return the declared comparison: arms, metric, direction and smallest effect."""
    if spec is None:  # the run lacks the metric
        score, size = claim.metric.replace("_", " "), f"{claim.smallest_effect:.3g}"
    else:
        score = formatting.title_with_arrow(spec)
        points = " points" if formatting.is_percent(spec) else ""
        size = f"{formatting.signed(claim.smallest_effect, spec).lstrip('+')}{points}"
    arms = f"{content.arm_title(claim.arm)} against {content.arm_title(claim.reference_arm)}"
    is_not_worse = claim.direction == "not_worse"
    direction = "not worse by more than" if is_not_worse else "better; smallest relevant effect"
    return f"{arms} on {score}: {direction} {size}."


def _evidence(
    content: ReportContent, verdict: ClaimVerdict, spec: MetricSpec | None
) -> Iterator[dict[str, Any]]:
    """Yield the comparisons of a verdict; gains are turned so that larger is better."""
    band = verdict.claim.smallest_effect
    sizes = (abs(number) for evidence in verdict.evidence for number in _gain(evidence))
    largest = max([band, *filter(math.isfinite, sizes)])
    for evidence in verdict.evidence:
        setting = (evidence.dataset, evidence.source, evidence.backbone, evidence.labels)
        gain, low, high = _gain(evidence)
        text, interval = formatting.difference(gain, low, high, spec) if spec else NO_VALUES
        raw = ""
        if spec and verdict.claim.control_map and evidence.raw_gain is not None:
            raw = formatting.signed(evidence.raw_gain, spec)
        yield {
            **_outcome(evidence.outcome),
            "dataset": content.dataset_title(evidence.dataset, evidence.source),
            "is_standin": evidence.source == "standin",
            "backbone": evidence.backbone,
            "labels": evidence.labels,
            "method": content.method_title(evidence.method),
            "sentence": _sentence(evidence.sentence, evidence.outcome),
            "gain": text,
            "interval": interval if interval != formatting.NO_VALUE else "",
            "bar": place_bar(low, high, gain, largest=largest, band=band),
            "raw": raw,
            "p_corrected": _corrected(evidence),
            "p_equivalent": formatting.p_value(_or_nan(evidence.p_equivalent)),
            "num_images": evidence.num_images,
            "num_seeds": evidence.num_seeds,
            "protocol": evidence.protocol,
            "rules": rules_id(content, evidence.protocol, verdict.claim.metric),
            "models": models_id(content, setting),
        }


def _gain(evidence: Evidence) -> tuple[float, float, float]:
    """Return the gain and the ends of its interval, NaN where there is none."""
    return _or_nan(evidence.gain), _or_nan(evidence.low), _or_nan(evidence.high)


def _corrected(evidence: Evidence) -> str:
    """Return the corrected p-value, or the q-value of an exploratory comparison."""
    if evidence.p_corrected is None:
        return formatting.NO_VALUE
    text = formatting.p_value(evidence.p_corrected)
    return f"q {text}" if evidence.family == "exploratory" else text


def _or_nan(number: float | None) -> float:
    return math.nan if number is None else number


def _sentence(sentence: str, outcome: str) -> str:
    """Return a sentence without its leading outcome, capitalised and with a full stop."""
    text = sentence.removeprefix(outcome.replace("_", " ")).removeprefix(":").strip()
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _provenance(content: ReportContent) -> dict[str, Any]:
    """Return protocols, metric definitions, arms and trained models with their identifiers."""
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
