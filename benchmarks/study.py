"""The tables of the published study in README.md and BENCHMARK.md, from `results/reference`.

Each stands between `<!-- study: NAME -->` and `<!-- end -->`. Their numbers are those of
`results/reference/report`, which `lico-bench report results/reference` makes of the published rows,
and, for the rules of other parties, of the rows under `results/reference/protocols`.

    uv run python benchmarks/study.py            # write them
    uv run python benchmarks/study.py --check    # exit 1 where they are not what the rows say
    uv run python benchmarks/study.py --figure   # draw the README's figure again, too
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from lico_bench.data import load_card
from lico_bench.metrics import METRICS, MetricSpec
from lico_bench.report import wording
from lico_bench.report.content import gather
from lico_bench.report.figures.canvas import drawing
from lico_bench.report.figures.forest import draw_forests
from lico_bench.stats import OWN_SCORES, paired_differences
from lico_bench.store import RunFolder, read_parquet
from lico_bench.training import ARMS

REPOSITORY = Path(__file__).parent.parent
REFERENCE = REPOSITORY / "results" / "reference"
DOCUMENTS = ("README.md", "BENCHMARK.md")
FIGURE = REFERENCE / "first_study.png"
PRIMARY, PRIMARY_MAP = "cifar10", "grad_cam"
CURVES = ("insertion", "deletion", "overall")
MAIN = "overall"
PRIMARY_ENDPOINTS = (
    ("accuracy", "", "accuracy_all_labels"),
    *((metric, PRIMARY_MAP, metric) for metric in CURVES),
)
FLAT = "degenerate_map"
CONTROLS = ("lico_shuffled_names", "lico_random_text")
SPECS: dict[str, MetricSpec] = {**{n: METRICS[n].spec for n in METRICS.names()}, **OWN_SCORES}
MAPS = {
    "grad_cam": "Grad-CAM",
    "grad_cam_plus_plus": "Grad-CAM++",
    "rise(num_masks=50)": "RISE, 50 masks",
    "random_map": "Random map",
}

ENDS = ("difference", "low", "high")
RULES = {"scorer_baseline": "`lico_bench_1`, the baseline's network scores both"}
INSIDE = {  # what a training stores of each epoch, and the digits that say something
    "train_accuracy": 3, "channel_cosine": 2, "effective_rank": 1, "temperature": 2,
    "manifold_matching": 5, "transport": 3, "cross_entropy_gradient_norm": 3,
    "manifold_matching_gradient_norm": 4, "transport_gradient_norm": 3,
}  # fmt: skip


class Study:
    """What is published, as the tables ask for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        tables = folder / "report" / "tables"
        self._differences = _read(tables / "differences.csv")
        self._means = _read(tables / "means.csv")
        verdicts = json.loads((folder / "report" / "verdicts.json").read_text(encoding="utf-8"))
        self.claims: list[dict[str, Any]] = verdicts["claims"]
        self.manifest = RunFolder(folder).manifest()
        self.datasets: list[str] = list(self.manifest["suite"]["datasets"])

    def mean(self, dataset: str, arm: str, metric: str, method: str = "") -> str:
        """An arm's mean, or a dash."""
        found = _pick(self._means, dataset=dataset, arm=arm, metric=metric, method=method)
        if found is None:
            return wording.NOTHING
        return wording.value(found["mean"], SPECS[metric])

    def difference_row(self, dataset: str, arm: str, metric: str, method: str = "") -> Any:
        """An arm's difference to the baseline as the report has it, or None."""
        return _pick(
            self._differences,
            dataset=dataset, arm=arm, metric=metric, method=method, subset="all",
        )  # fmt: skip

    def difference(self, dataset: str, arm: str, metric: str, method: str = "") -> str:
        """An arm's difference to the baseline with interval and word, or a dash."""
        found = self.difference_row(dataset, arm, metric, method)
        return wording.NOTHING if found is None else _told(found, SPECS[metric])

    def flat_share(self, dataset: str, arm: str) -> str:
        """The share of an arm's Grad-CAM maps that are the same everywhere."""
        rows = self.rows
        is_asked = (rows["dataset"] == dataset) & (rows["arm"] == arm) & (rows["metric"] == MAIN)
        flags = rows.loc[is_asked & (rows["method"] == PRIMARY_MAP), "flag"]
        return f"{100 * (flags == FLAT).mean():.1f} %"

    @cached_property
    def rows(self) -> pd.DataFrame:
        """Every score."""
        return RunFolder(self.folder).rows()

    def arms(self, dataset: str) -> list[str]:
        """Arms trained on a dataset beside the baseline."""
        found = set(self._differences.loc[self._differences["dataset"] == dataset, "arm"])
        return [arm for arm in self.manifest["suite"]["arms"] if arm in found]

    def between(self, arm: str, reference: str, metrics: Iterable[tuple[str, str]]) -> pd.DataFrame:
        """Paired differences of two arms, from the rows."""
        return _between(self.rows, arm, reference, metrics)


def tables(folder: Path) -> dict[str, str]:
    """Every table by its name, as Markdown."""
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
    """The verdict on each claim, what it rests on, and the gain on the primary dataset."""
    lines = []
    for claim in study.claims:
        first = claim["methods"][0] if claim["methods"] else ""
        found = [
            one
            for one in claim["evidence"]
            if one["dataset"] == PRIMARY and one["method"] == first and one["gain"] is not None
        ]
        told = wording.NOTHING
        if found:
            spec = SPECS[claim["metric"]]
            ends = (found[0][name] for name in ("gain", "low", "high"))
            told = " ".join([spec.title, *wording.difference(*ends, spec), *_points(spec)])
        verdict = claim["outcome"].replace("_", " ")
        lines.append([claim["title"], f"**{verdict}**", told, _reason(claim)])
    return _table(["claim", "verdict", "gain on CIFAR-10", "because"], lines)


def primary_table(study: Study) -> str:
    """The declared primary endpoints, seed by seed, with the p-values of their claims."""
    judged = {claim["id"]: claim["evidence"] for claim in study.claims}
    lines = []
    for metric, method, claim in PRIMARY_ENDPOINTS:
        spec = SPECS[metric]
        row = study.difference_row(PRIMARY, "lico", metric, method)
        (judgement,) = (
            one for one in judged[claim] if one["dataset"] == PRIMARY and one["method"] == method
        )
        seeds = (wording.signed(float(each), spec) for each in row["per_seed"].split())
        lines.append(
            [
                _title(metric),
                study.mean(PRIMARY, "baseline", metric, method),
                study.mean(PRIMARY, "lico", metric, method),
                _ends(row, spec),
                ", ".join(seeds),
                f"{judgement['p_value']:.4f}",
                f"{judgement['p_holm']:.3f}",
            ]
        )
    titles = ["endpoint", "baseline", "LICO", "difference", "seeds 0 to 4", "p", "p after Holm"]
    return _table(titles, lines)


def arm_table(study: Study) -> str:
    """All arms on the primary dataset against its baseline, by Grad-CAM."""
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
    """`lico` against the baseline on every dataset, by Grad-CAM."""
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
    """`lico` against its own controls: wrong names, random vectors."""
    wanted = [("accuracy", ""), ("overall", PRIMARY_MAP)]
    found = {arm: study.between("lico", arm, wanted) for arm in CONTROLS}
    lines = []
    for dataset in study.datasets:
        line = [load_card(dataset).title]
        for arm in CONTROLS:
            for metric, method in wanted:
                row = _pick(found[arm], dataset=dataset, metric=metric, method=method)
                line.append(_ends(row, SPECS[metric]))
        lines.append(line)
    titles = [
        f"{_title(metric)}, against {ARMS[arm].title}" for arm in CONTROLS for metric, _ in wanted
    ]
    return _table(["data set", *titles], lines)


def map_table(study: Study) -> str:
    """`lico` against the baseline on the primary dataset, by every method."""
    lines = [
        [title, *(study.difference(PRIMARY, "lico", metric, method) for metric in CURVES)]
        for method, title in MAPS.items()
    ]
    return _table(["maps", *map(_title, CURVES)], lines)


def place_table(study: Study) -> str:
    """`lico` against the baseline where it is known where objects are, by every method."""
    metrics = ("pointing_game", "energy_lift")
    lines = []
    for name in study.datasets:
        for method, title in MAPS.items():
            if study.mean(name, "baseline", metrics[0], method) == wording.NOTHING:
                continue
            line = [load_card(name).title, title]
            for metric in metrics:
                line.append(study.mean(name, "baseline", metric, method))
                line.append(study.difference(name, "lico", metric, method))
            lines.append(line)
    titles = [t for m in metrics for t in (f"{_title(m)}, baseline", "LICO's difference")]
    return _table(["data set", "maps", *titles], lines)


def protocol_table(study: Study) -> str:
    """`lico` against the baseline on the primary dataset, by the rules of each party."""
    runs = {"lico_bench_1": study.folder}
    runs |= {path.name: path for path in sorted((study.folder / "protocols").iterdir())}
    lines = []
    for name, path in runs.items():
        wanted = [(metric, PRIMARY_MAP) for metric in CURVES]
        scores = study.rows if path == study.folder else RunFolder(path).rows()
        found = _between(scores, "lico", "baseline", wanted, dataset=PRIMARY)
        rows = [_pick(found, metric=metric) for metric, _ in wanted]
        told = (_ends(row, SPECS[metric]) for row, (metric, _) in zip(rows, wanted, strict=True))
        lines.append([RULES.get(name, f"`{name}`"), *told])
    return _table(["rules", *map(_title, CURVES)], lines)


def inside_table(study: Study) -> str:
    """What the last epoch of training looked like on the primary dataset, mean over the seeds."""
    run = RunFolder(study.folder)
    finished = set(run.finished())
    seen: dict[tuple[str, str], list[float]] = {}
    for cell in study.manifest["cells"]:
        if cell["recipe"]["dataset"] == PRIMARY and cell["key"] in finished:
            history = read_parquet(run.cell(cell["key"]).table("history"))
            last = history[history["epoch"] == history["epoch"].max()]
            for quantity, value in zip(last["quantity"], last["value"], strict=True):
                seen.setdefault((cell["recipe"]["arm"], quantity), []).append(float(value))
    lines = []
    for arm in study.manifest["suite"]["arms"]:
        values = (
            f"{statistics.fmean(seen[arm, name]):.{digits}f}" if (arm, name) in seen else "–"
            for name, digits in INSIDE.items()
        )
        lines.append([f"`{arm}`", *values])
    return _table(["arm", *(name.replace("_", " ") for name in INSIDE)], lines)


def figure(folder: Path) -> bytes:
    """The arms' differences on the primary dataset in one number, as PNG."""
    content = gather(RunFolder(folder))
    shown = replace(
        content,
        blocks=tuple(block for block in content.blocks if block.dataset == PRIMARY),
        specs={MAIN: content.specs[MAIN]},
    )
    with drawing():
        plots = {plot.name: plot for plot in draw_forests(shown)}
    return plots[f"forest_{PRIMARY_MAP}"].png


def put_in(text: str, found: Mapping[str, str]) -> str:
    """The document with each of its tables replaced.

    Raises:
        KeyError: for a table that the study does not have.
    """
    return re.sub(
        r"<!-- study: (\w+) -->\n.*?<!-- end -->",
        lambda place: f"<!-- study: {place[1]} -->\n{found[place[1]]}\n<!-- end -->",
        text,
        flags=re.DOTALL,
    )


def _between(
    rows: pd.DataFrame,
    arm: str,
    reference: str,
    wanted: Iterable[tuple[str, str]],
    dataset: str | None = None,
) -> pd.DataFrame:
    is_asked = pd.Series(False, index=rows.index)
    for metric, method in wanted:
        is_asked |= (rows["metric"] == metric) & (rows["method"] == method)
    rows = rows[is_asked & rows["arm"].isin([arm, reference])]
    if dataset is not None:
        rows = rows[rows["dataset"] == dataset]
    return paired_differences(rows, reference_arm=reference)


def _reason(claim: Mapping[str, Any]) -> str:
    sentence = str(claim["sentence"]).removeprefix(claim["outcome"].replace("_", " "))
    return sentence.lstrip(": ").split("; ")[0].replace("|", "/")


def _read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, keep_default_na=False, na_values={"p_holm": [""]})


def _pick(frame: pd.DataFrame, **wanted: str) -> Any:
    for name, value in wanted.items():
        frame = frame[frame[name] == value]
    if len(frame) > 1:
        raise ValueError(f"{wanted}: {len(frame)} rows, expected one")
    return None if frame.empty else frame.iloc[0]


def _told(row: Any, spec: MetricSpec) -> str:
    """A difference of the report, with the word that its correction allows."""
    word = wording.effect(float(row["low"]), float(row["high"]), spec, float(row["p_holm"]))
    return f"{_ends(row, spec)} {word}"


def _ends(row: Any, spec: MetricSpec) -> str:
    """A difference and its interval: it is in no report's family, so there is no word for it."""
    if row is None:
        return wording.NOTHING
    return " ".join(wording.difference(*(float(row[name]) for name in ENDS), spec))


def _points(spec: MetricSpec) -> tuple[str, ...]:
    return ("points",) if wording.is_percent(spec) else ()


def _title(metric: str) -> str:
    return wording.title_with_arrow(SPECS[metric])


def _table(titles: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    head = list(titles)
    return "\n".join(_drawn([head, ["---"] * len(head), *map(list, lines)]))


def _drawn(lines: Iterable[list[str]]) -> Iterator[str]:
    for cells in lines:
        yield f"| {' | '.join(cells)} |"


def main() -> int:
    """Write the tables, or compare them with what is written."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    parser.add_argument("--figure", action="store_true", help="draw the README's figure, too")
    asked = parser.parse_args()
    is_check = asked.check
    if asked.figure:
        FIGURE.write_bytes(figure(REFERENCE))
    found, is_same = tables(REFERENCE), True
    for name in DOCUMENTS:
        path = REPOSITORY / name
        before = path.read_text(encoding="utf-8")
        after = put_in(before, found)
        is_same &= before == after
        if before != after:
            print(f"{name}: {'not what the rows say' if is_check else 'written'}")
            if not is_check:
                path.write_text(after, encoding="utf-8")
    return 0 if is_same or not is_check else 1


if __name__ == "__main__":
    sys.exit(main())
