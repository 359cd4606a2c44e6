"""Time and memory of a report over ten million rows, on a run folder of random numbers.

`--shape deep`: 8 datasets x 2 arms x 5 seeds; each of the 80 models has 7,000 images, 2 methods, 6
metrics of a map and 6 scores of the model: 126,000 rows, 28,000 curves and 128 maps.
`--shape wide`: 8 datasets x 11 arms x 5 seeds, 440 models with 1,000 images and 3 methods.
Limits: the report in 60 s and 4 GB, including reading. `--times 10` writes ten times the seeds, 10⁸
rows; `--query` reads one metric of one method and averages it.
"""

from __future__ import annotations

import argparse
import io
import resource
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from lico_bench.bench import Suite, make_plan
from lico_bench.data import card_names
from lico_bench.records import CURVE_COLUMNS, ROW_COLUMNS
from lico_bench.store import RunFolder, write_json, write_parquet
from lico_bench.store.run_records import CellEntry, CellRecord, InferenceCost, Manifest
from lico_bench.training import ARMS

BAR_S, BAR_GB = 60, 4.0
NUM_SEEDS, NUM_KEPT = 5, 64
METRICS = ("insertion", "deletion", "overall", "pointing_game")
DESCRIPTIVE_METRICS = ("flat_map", "tied_ranks")
MODEL_METRICS = ("accuracy", "confidence", "brier", "score_whole", "score_blurred", "score_emptied")
POINTS, SIDE = 33, 32


@dataclass(frozen=True)
class Shape:
    """Number of arms and images, and methods of a run of ten million rows."""

    arms: int
    images: int
    methods: tuple[str, ...]


SHAPES = {
    "deep": Shape(2, 7000, ("grad_cam", "random_map")),
    "wide": Shape(11, 1000, ("grad_cam", "score_cam", "random_map")),
}


def write_run(path: Path, shape: Shape, *, times: int, rows_alone: bool) -> RunFolder:
    """Write a run folder with random rows, curves and maps of all models."""
    run = RunFolder(path)
    manifest = _manifest(shape, NUM_SEEDS * times)
    run.open_for(manifest)
    protocols = {name: spec.protocol for name, spec in manifest.metrics.items()}
    run_protocol = next(name for name in manifest.protocols if name.startswith("lico_bench_1@"))
    images = _images()
    for number, cell in enumerate(manifest.cells):
        folder = run.cell(cell.key)
        draw = np.random.default_rng(number)
        base = _base(cell)
        rules = {
            name: protocols.get(name) or run_protocol for name in (*METRICS, *DESCRIPTIVE_METRICS)
        }
        write_parquet(folder.table("rows"), _rows(shape, base, draw, rules, run_protocol))
        if not rows_alone:
            curves = _curves(shape, base, draw, run_protocol)
            pq.write_table(curves, folder.table("curves"), compression="zstd")
            write_parquet(folder.table("gallery"), _gallery(shape, base, draw, images))
            write_parquet(folder.table("history"), _history(cell.key))
        counted = InferenceCost(parameters=1_234_567, gigaflop=0.5)
        write_json(folder.done, CellRecord(key=cell.key, inference=counted))
    return run


def measure_report(run: RunFolder) -> bool:
    """Read, compare and write the report; return whether both limits are met."""
    from lico_bench.report import build_report, gather

    started = time.perf_counter()
    content = gather(run)
    gathered = time.perf_counter() - started
    print(f"{len(content.rows):,} rows gathered in {gathered:.1f} s, {_peak_gb():.2f} GB peak",
          flush=True)  # fmt: skip
    build_report(run, content)
    total = time.perf_counter() - started
    print(f"report written after {total:.1f} s (bar {BAR_S}), {_peak_gb():.2f} GB peak "
          f"(bar {BAR_GB:.0f})")  # fmt: skip
    return total <= BAR_S and _peak_gb() <= BAR_GB


def measure_query(run: RunFolder) -> bool:
    """Read one metric of one method by column and average it; return whether the limit is met."""
    started = time.perf_counter()
    found = run.rows(
        ("dataset", "arm", "value"), where={"metric": {"deletion"}, "method": {"grad_cam"}}
    )
    means = found.groupby(["dataset", "arm"], observed=True)["value"].mean()
    print(f"{len(means)} means of {len(found):,} rows in {time.perf_counter() - started:.1f} s, "
          f"{_peak_gb():.2f} GB peak")  # fmt: skip
    return _peak_gb() <= BAR_GB


def _manifest(shape: Shape, num_seeds: int) -> Manifest:
    arms = ("baseline", "lico", *(name for name in ARMS if name not in ("baseline", "lico")))
    suite = Suite(
        datasets=card_names(), arms=arms[: shape.arms], seeds=num_seeds, methods=shape.methods,
        metrics=METRICS, data="standin", limit=shape.images,
    )  # fmt: skip
    manifest = make_plan(suite).manifest()
    # Claims are judged on real images only.
    datasets = {n: replace(facts, source="real") for n, facts in manifest.datasets.items()}
    cells = [replace(c, recipe=replace(c.recipe, source="real")) for c in manifest.cells]
    return replace(manifest, datasets=datasets, cells=tuple(cells))


def _base(cell: CellEntry) -> dict[str, Any]:
    names = ("dataset", "source", "backbone", "arm", "seed")
    return {"pair": cell.pair, "cell": cell.key, **{n: getattr(cell.recipe, n) for n in names},
            "labels": "full"}  # fmt: skip


def _rows(
    shape: Shape, base: dict[str, Any], draw: Any, rules: dict[str, str], ends: str
) -> pd.DataFrame:
    """Draw rows in the order of the collector: one block per method and metric."""
    count = shape.images
    ease = np.random.default_rng(len(base["dataset"])).beta(4, 2, count)
    gain = 0.0 if base["arm"] == "baseline" else 0.01
    right = ease + draw.normal(0.2, 0.2, count) > 0.5
    skipped = np.arange(count) % 97 == 0
    blocks = [("", name, ends if name.startswith("score") else "") for name in MODEL_METRICS]
    blocks += [(method, metric, rules[metric]) for method in shape.methods for metric in rules]
    values, flags = [], []
    for method, metric, _ in blocks:
        value = np.clip(ease + draw.normal(gain * (method != "random_map"), 0.1, count), 0, 1)
        if metric in ("accuracy", "pointing_game"):
            value = right.astype(float) if metric == "accuracy" else (value > 0.5).astype(float)
        if metric == "pointing_game":
            value = np.where(skipped, np.nan, value)
        values.append(value)
        flags.append(np.where(np.isnan(value), "skipped_region", ""))
    frame = pd.DataFrame(
        {
            **base,
            "image_id": _ids(count) * len(blocks),
            "target": np.tile(np.arange(count, dtype=np.int32) % 10, len(blocks)),
            "correct": np.tile(right, len(blocks)),
            "method": np.repeat([block[0] for block in blocks], count),
            "metric": np.repeat([block[1] for block in blocks], count),
            "protocol": np.repeat([block[2] for block in blocks], count),
            "value": np.concatenate(values).astype(np.float32).astype(np.float64),
            "flag": np.concatenate(flags),
        }
    )
    return frame[list(ROW_COLUMNS)]


def _curves(shape: Shape, base: dict[str, Any], draw: Any, protocol: str) -> pa.Table:
    steps = np.linspace(0, 1, POINTS, dtype=np.float32)
    kinds = [(method, curve) for method in shape.methods for curve in ("insertion", "deletion")]
    count = len(kinds) * shape.images
    level = draw.beta(4, 2, (count, 1))
    values = (level * steps ** draw.uniform(0.5, 2, (count, 1))).astype(np.float32)
    ends = pa.array(np.arange(0, (count + 1) * POINTS, POINTS, dtype=np.int32))
    columns = {
        **{name: [value] * count for name, value in base.items()},
        "image_id": _ids(shape.images) * len(kinds),
        "target": np.zeros(count, dtype=np.int32),
        "correct": np.ones(count, dtype=bool),
        "method": np.repeat([method for method, _ in kinds], shape.images),
        "protocol": [protocol] * count,
        "curve": np.repeat([curve for _, curve in kinds], shape.images),
        "fractions": pa.ListArray.from_arrays(ends, pa.array(np.tile(steps, count))),
        "values": pa.ListArray.from_arrays(ends, pa.array(values.ravel())),
    }
    return pa.table({name: columns[name] for name in CURVE_COLUMNS})


def _gallery(shape: Shape, base: dict[str, Any], draw: Any, images: list[bytes]) -> pd.DataFrame:
    names = ("pair", "cell", "dataset", "source", "arm", "seed")
    return pd.DataFrame(
        {
            **{name: base[name] for name in names},
            "image_id": image_id, "method": method, "label_name": "bird", "predicted_name": "bird",
            "correct": True, "height": SIDE, "width": SIDE,
            "image_png": png if method == shape.methods[0] else None, "region_png": None,
            "lowest": 0.0, "highest": 1.0,
            "map": draw.random(SIDE * SIDE, dtype=np.float32).astype(np.float16),
        }
        for image_id, png in zip(_ids(NUM_KEPT), images, strict=True)
        for method in shape.methods
    )  # fmt: skip


def _history(cell: str) -> pd.DataFrame:
    return pd.DataFrame(
        {"epoch": epoch, "quantity": name, "cell": cell, "value": 1 / epoch}
        for epoch in range(1, 11)
        for name in ("loss", "train_accuracy")
    )


def _ids(count: int) -> list[str]:
    return [f"test/{number:05d}" for number in range(count)]


def _images() -> list[bytes]:
    def png(seed: int) -> bytes:
        content = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(content).save(stream, format="PNG")
        return stream.getvalue()

    return [png(seed) for seed in range(NUM_KEPT)]


def _peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="deep")
    parser.add_argument("--times", type=int, default=1, help="as many seeds")
    parser.add_argument("--folder", type=Path, help="written if it holds no run; else temporary")
    parser.add_argument("--query", action="store_true", help="read one metric; no report")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        path = args.folder or Path(temporary) / "run"
        run = RunFolder(path) if (path / "manifest.json").is_file() else None
        if run is None:
            started = time.perf_counter()
            shape = SHAPES[args.shape]
            run = write_run(path, shape, times=args.times, rows_alone=args.query)
            print(f"written in {time.perf_counter() - started:.0f} s, {_peak_gb():.2f} GB peak")
        is_good = measure_query(run) if args.query else measure_report(run)
    sys.exit(not is_good)


if __name__ == "__main__":
    main()
