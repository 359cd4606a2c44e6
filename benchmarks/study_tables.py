"""The tables of the published study in Markdown; `study.py` writes them to the documents."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from study_rows import PRIMARY, PRIMARY_MAP, SPECS, Study, between, ends, pick

from lico_bench.data import load_card
from lico_bench.records import MetricSpec
from lico_bench.report import formatting
from lico_bench.store import RunFolder, read_parquet
from lico_bench.training import ARMS

CURVES = ("insertion", "deletion", "overall")
PRIMARY_ENDPOINTS = (
    ("accuracy", "", "accuracy_all_labels"),
    *((metric, PRIMARY_MAP, metric) for metric in CURVES),
)
CONTROLS = ("lico_shuffled_names", "lico_random_text")
MAPS = {
    "grad_cam": "Grad-CAM",
    "grad_cam_plus_plus": "Grad-CAM++",
    "rise(num_masks=50)": "RISE, 50 masks",
    "random_map": "Random map",
}
RULES = {"scorer_baseline": "`lico_bench_1`, the baseline's network scores both"}
INSIDE = {  # quantities of the training history, and their number of digits
    "train_accuracy": 3, "channel_cosine": 2, "effective_rank": 1, "temperature": 2,
    "manifold_matching": 5, "transport": 3, "cross_entropy_gradient_norm": 3,
    "manifold_matching_gradient_norm": 4, "transport_gradient_norm": 3,
}  # fmt: skip


def tables(folder: Path) -> dict[str, str]:
    """Return all tables by name, in Markdown."""
    study = Study(folder)
    return {
        "verdicts": verdict_table(study),
        "primary": primary_table(study),
        "arms": arm_table(study),
        "datasets": dataset_table(study),
        "names": names_table(study),
        "maps": map_table(study),
        "places": place_table(study),
        "protocols": protocol_table(study),
        "inside": inside_table(study),
    }


def verdict_table(study: Study) -> str:
    """Return the verdict on each claim, its reason, and the gain on the primary dataset."""
    lines = []
    for claim in study.claims:
        first = claim["methods"][0] if claim["methods"] else ""
        found = [
            one
            for one in claim["evidence"]
            if one["dataset"] == PRIMARY and one["method"] == first and one["gain"] is not None
        ]
        message = formatting.NO_VALUE
        if found:
            spec = SPECS[claim["metric"]]
            gain = (found[0][name] for name in ("gain", "low", "high"))
            message = " ".join([spec.title, *formatting.difference(*gain, spec), *_points(spec)])
        verdict = claim["outcome"].replace("_", " ")
        before = study.verdicts_before[claim["id"]].replace("_", " ")
        lines.append([claim["title"], f"**{verdict}**", before, message, _reason(claim)])
    titles = ["claim", "verdict", "under rules 1", "gain on CIFAR-10", "because"]
    return _table(titles, lines)


def primary_table(study: Study) -> str:
    """Return the declared primary endpoints by seed, with the p-values of their claims."""
    judged = {claim["id"]: claim["evidence"] for claim in study.claims}
    lines = []
    for metric, method, claim in PRIMARY_ENDPOINTS:
        spec = SPECS[metric]
        row = study.difference_row(PRIMARY, "lico", metric, method)
        (judgement,) = (
            one for one in judged[claim] if one["dataset"] == PRIMARY and one["method"] == method
        )
        seeds = (formatting.signed(float(each), spec) for each in row["per_seed"].split())
        corrected = judgement["p_corrected"]
        sign = 1 if spec.higher_is_better else -1
        above = sorted(sign * judgement[end] for end in ("low", "high"))
        gain = formatting.difference(sign * judgement["gain"], *above, spec)
        lines.append(
            [
                _title(metric),
                study.mean(PRIMARY, "baseline", metric, method),
                study.mean(PRIMARY, "lico", metric, method),
                ends(row, spec),
                ", ".join(seeds),
                " ".join(gain) if method else formatting.NO_VALUE,
                f"{judgement['p_value']:.4f}",
                formatting.NO_VALUE if corrected is None else f"{corrected:.3f}",
            ]
        )
    titles = [
        "endpoint", "baseline", "LICO", "difference", "seeds 0 to 4", "minus random map", "p",
        "p after Holm",
    ]  # fmt: skip
    return _table(titles, lines)


def arm_table(study: Study) -> str:
    """Return the differences of all arms to the baseline on the primary dataset, with Grad-CAM."""
    columns = [("accuracy", ""), *((metric, PRIMARY_MAP) for metric in CURVES)]
    titles = ["arm", *(_title(metric) for metric, _ in columns)]
    lines = [
        ["baseline, itself", *(study.mean(PRIMARY, "baseline", m, of) for m, of in columns)],
        *(
            [f"`{arm}`", *(study.difference(PRIMARY, arm, m, of) for m, of in columns)]
            for arm in study.arms(PRIMARY)
        ),
    ]
    return _table(titles, lines)


def dataset_table(study: Study) -> str:
    """Return the differences of `lico` to the baseline on every dataset, with Grad-CAM."""
    lines = [
        [
            load_card(name).title,
            study.mean(name, "baseline", "accuracy"),
            study.difference(name, "lico", "accuracy"),
            *(study.difference(name, "lico", metric, PRIMARY_MAP) for metric in CURVES),
            " → ".join(study.flat_share(name, arm) for arm in ("baseline", "lico")),
        ]
        for name in study.datasets
    ]
    titles = ["data set", "baseline's accuracy", *map(_title, ("accuracy", *CURVES)), "flat maps"]
    return _table(titles, lines)


def names_table(study: Study) -> str:
    """Return the differences of `lico` to its controls: shuffled names, random vectors."""
    wanted = [("accuracy", ""), ("overall", PRIMARY_MAP)]
    found = {arm: study.between("lico", arm, wanted) for arm in CONTROLS}
    lines = []
    for dataset in study.datasets:
        line = [load_card(dataset).title]
        for arm in CONTROLS:
            for metric, method in wanted:
                row = pick(found[arm], dataset=dataset, metric=metric, method=method)
                line.append(ends(row, SPECS[metric]))
        lines.append(line)
    titles = [
        f"{_title(metric)}, against {ARMS[arm].title}" for arm in CONTROLS for metric, _ in wanted
    ]
    return _table(["data set", *titles], lines)


def map_table(study: Study) -> str:
    """Return the differences of `lico` to the baseline on the primary dataset, by method."""
    lines = [
        [title, *(study.difference(PRIMARY, "lico", metric, method) for metric in CURVES)]
        for method, title in MAPS.items()
    ]
    return _table(["maps", *map(_title, CURVES)], lines)


def place_table(study: Study) -> str:
    """Return the differences of `lico` to the baseline on datasets with regions, by method."""
    metrics = ("pointing_game", "energy_lift")
    lines = []
    for name in study.datasets:
        for method, title in MAPS.items():
            if study.mean(name, "baseline", metrics[0], method) == formatting.NO_VALUE:
                continue
            line = [load_card(name).title, title]
            for metric in metrics:
                line.append(study.mean(name, "baseline", metric, method))
                line.append(study.difference(name, "lico", metric, method))
            lines.append(line)
    titles = [t for m in metrics for t in (f"{_title(m)}, baseline", "LICO's difference")]
    return _table(["data set", "maps", *titles], lines)


def protocol_table(study: Study) -> str:
    """Return the differences of `lico` to the baseline on the primary dataset, by protocol."""
    runs = {"lico_bench_1": study.folder}
    runs |= {path.name: path for path in sorted((study.folder / "protocols").iterdir())}
    lines = []
    for name, path in runs.items():
        wanted = [(metric, PRIMARY_MAP) for metric in CURVES]
        scores = study.rows if path == study.folder else RunFolder(path).rows()
        found = between(scores, "lico", "baseline", wanted, dataset=PRIMARY)
        rows = [pick(found, metric=metric) for metric, _ in wanted]
        message = (ends(row, SPECS[metric]) for row, (metric, _) in zip(rows, wanted, strict=True))
        lines.append([RULES.get(name, f"`{name}`"), *message])
    return _table(["rules", *map(_title, CURVES)], lines)


def inside_table(study: Study) -> str:
    """Return quantities of the last training epoch on the primary dataset, mean over seeds."""
    run = RunFolder(study.folder)
    finished = set(run.finished())
    seen: dict[tuple[str, str], list[float]] = {}
    for cell in study.manifest.cells:
        if cell.recipe.dataset == PRIMARY and cell.key in finished:
            history = read_parquet(run.cell(cell.key).table("history"))
            last = history[history["epoch"] == history["epoch"].max()]
            for quantity, value in zip(last["quantity"], last["value"], strict=True):
                seen.setdefault((cell.recipe.arm, quantity), []).append(float(value))
    lines = []
    for arm in study.manifest.suite.arms:
        values = (
            f"{statistics.fmean(seen[arm, name]):.{digits}f}" if (arm, name) in seen else "–"
            for name, digits in INSIDE.items()
        )
        lines.append([f"`{arm}`", *values])
    return _table(["arm", *(name.replace("_", " ") for name in INSIDE)], lines)


def _reason(claim: Mapping[str, Any]) -> str:
    """Return the dataset and p-value that decide, or the first sentence of the verdict."""
    for one in claim["evidence"]:
        if one["family"] == "primary" and one["p_corrected"] and claim["direction"] == "better":
            title = f"{load_card(one['dataset']).title}, {one['num_seeds']} trainings"
            if claim["outcome"] == "equivalent":
                size = f"{claim['smallest_effect']:g}"
                return f"{title}: smaller than {size}, p = {one['p_equivalent']:.3f}"
            return f"{title}: p = {one['p_corrected']:.3f}"
    sentence = str(claim["sentence"]).removeprefix(claim["outcome"].replace("_", " "))
    return re.split(r"; | \((?=gain)", sentence.lstrip(": "))[0].replace("|", "/")


def _points(spec: MetricSpec) -> tuple[str, ...]:
    return ("points",) if formatting.is_percent(spec) else ()


def _title(metric: str) -> str:
    return formatting.title_with_arrow(SPECS[metric])


def _table(titles: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    head = list(titles)
    rows = [head, ["---"] * len(head), *map(list, lines)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
