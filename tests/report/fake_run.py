"""A small run folder drawn at random: what `lico-bench run` leaves behind, without the training."""

from __future__ import annotations

import io
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from lico_bench.records import CURVE_COLUMNS, ROW_COLUMNS, MetricSpec
from lico_bench.store import RunFolder, write_json, write_parquet
from lico_bench.store.codec import decode, encode_value
from lico_bench.store.run_records import Manifest

PROTOCOL = "lico_bench_1@1a2b3c4d"
STEPS = 32
SIDE = 32
CLASSES = ["airplane", "cat & dog", "50% <b>bird</b>", "ship_#1", "a$b~c^d{e}\\f"]


def metric_specs() -> dict[str, dict[str, Any]]:
    specs = [
        MetricSpec("insertion", "Insertion", True, (0, 1), "probability", "RISE", ("curves",)),
        MetricSpec("deletion", "Deletion", False, (0, 1), "probability", "RISE", ("curves",)),
        MetricSpec("overall", "Overall", True, (-1, 1), "probability", "Group-CAM", ("curves",)),
        MetricSpec(
            "pointing_game", "Pointing game", True, (0, 1), "share of hits", "IJCV 2018",
            ("maps", "regions"), "pointing_relative_1",
        ),
    ]  # fmt: skip
    return {spec.name: asdict(spec) for spec in specs}


def make_run(
    path: Path,
    *,
    datasets: dict[str, str] | None = None,
    arms: tuple[str, ...] = ("baseline", "lico"),
    seeds: int = 2,
    methods: tuple[str, ...] = ("grad_cam", "random_map"),
    num_test: int = 120,
    num_explained: int = 40,
    effect: float = 0.03,
    finish: bool = True,
    draw: int = 0,
) -> RunFolder:
    """A run folder; `datasets` maps names to `real` or `standin`."""
    rng = np.random.default_rng(draw)
    datasets = datasets or {"cifar10": "real", "cub200": "standin"}
    run = RunFolder(path)
    cells = [
        (dataset, source, arm, seed)
        for dataset, source in datasets.items()
        for seed in range(seeds)
        for arm in arms
    ]
    manifest = _manifest(datasets, arms, seeds, methods, cells)
    run.open_for(decode(Manifest, encode_value(manifest), run.manifest_path))
    for number, (dataset, source, arm, seed) in enumerate(cells):
        if not finish and number == len(cells) - 1:
            break
        _write_cell(
            run, rng, dataset, source, arm, seed, methods=methods, num_test=num_test,
            num_explained=num_explained, effect=effect * arms.index(arm),
        )  # fmt: skip
    return run


def cell_key(dataset: str, arm: str, seed: int) -> str:
    return f"{dataset}-{arm}-s{seed}"


def _manifest(
    datasets: dict[str, str],
    arms: tuple[str, ...],
    seeds: int,
    methods: tuple[str, ...],
    cells: list[tuple[str, str, str, int]],
) -> dict[str, Any]:
    titles = {"cifar10": "CIFAR-10", "cub200": "CUB-200-2011", "flowers": "Flowers-102"}
    return {
        "suite_key": "fake",
        "suite": {
            "name": "fake-quick", "datasets": list(datasets), "arms": list(arms), "seeds": seeds,
            "methods": list(methods), "metrics": list(metric_specs()), "profile": "quick",
            "protocol": "lico_bench_1",
        },
        "datasets": {
            name: {
                "name": name, "title": titles.get(name, name), "source": source,
                "found": {"train": [10_000, 50_000], "test": [2_000, 10_000]},
                "class_names": CLASSES, "prompt_names": CLASSES, "image_size": [SIDE, SIDE],
                "has_regions": source == "standin", "notes": [],
                "fingerprint": "0123456789ab",
            }
            for name, source in datasets.items()
        },
        "metrics": metric_specs(),
        "methods": {
            "grad_cam": {"title": "Grad-CAM", "source": "ICCV 2017", "is_control": False},
            "random_map": {"title": "Random map", "source": "", "is_control": True},
        },
        "arms": {
            "baseline": {"title": "Baseline", "summary": "cross-entropy", "source": ""},
            "lico": {"title": "LICO", "summary": "matching and transport too", "source": ""},
        },
        "protocols": {
            PROTOCOL: {
                "name": "lico_bench_1", "steps": STEPS, "fill_rgb": [0.485, 0.456, 0.406],
                "blur_sigma_frac": 0.125, "explained_class": "label", "score": "probability",
                "ties": "stable_descending", "source": "this project",
            }
        },
        "cells": [
            {
                "key": cell_key(dataset, arm, seed), "pair": f"{dataset}-{seed}",
                "recipe": {
                    "dataset": dataset, "backbone": "wrn_10_2", "arm": arm, "seed": seed,
                    "source": source, "labels": "full", "epochs": 15, "batch_size": 128,
                    "learning_rate": 0.3, "objective": [],
                },
                "options": {} if arm == "baseline" else {"alpha": 10.0, "beta": 1.0},
                "encoder": None if arm == "baseline" else {"name": "minilm", "sha256": "53aa"},
            }
            for dataset, source, arm, seed in cells
        ],
        "versions": {"python": "3.11.7", "torch": "2.15.0", "lico-bench": "0.1.0"},
        "started": "2026-11-21T10:00:00+00:00",
    }  # fmt: skip


def _write_cell(
    run: RunFolder,
    rng: np.random.Generator,
    dataset: str,
    source: str,
    arm: str,
    seed: int,
    *,
    methods: tuple[str, ...],
    num_test: int,
    num_explained: int,
    effect: float,
) -> None:
    key = cell_key(dataset, arm, seed)
    ids = [f"test/{number:05d}" for number in range(num_test)]
    # The images' own difficulty is shared by all models, so that pairing has something to win.
    ease = np.random.default_rng(len(dataset)).beta(4, 2, num_test)
    confidence = np.clip(ease + rng.normal(0, 0.05, num_test), 0.05, 1)
    correct = ease + rng.normal(0.25, 0.2, num_test) > 0.5
    base = {
        "pair": f"{dataset}-{seed}", "cell": key, "dataset": dataset, "source": source,
        "backbone": "wrn_10_2", "arm": arm, "seed": seed, "labels": "full",
    }  # fmt: skip
    rows = [
        _rows(base, ids, correct, "", metric, "", values)
        for metric, values in (("accuracy", correct.astype(float)), ("confidence", confidence))
    ]
    shown, right, level = ids[:num_explained], correct[:num_explained], confidence[:num_explained]
    curves, gallery = [], []
    steps = np.linspace(0, 1, STEPS + 1)
    for method in methods:
        gain = 0.0 if method == "random_map" else 0.15 + effect
        rise = level[:, None] * steps[None] ** np.exp(
            -4 * gain - rng.normal(0, 0.2, (len(shown), 1))
        )
        fall = level[:, None] * (1 - steps[None]) ** np.exp(
            4 * gain + rng.normal(0, 0.2, (len(shown), 1))
        )
        areas = {"insertion": rise.mean(1), "deletion": fall.mean(1)}
        areas["overall"] = areas["insertion"] - areas["deletion"]
        for metric, values in areas.items():
            flag = np.where(np.arange(len(shown)) == 3, "degenerate_map", "")
            rows.append(_rows(base, shown, right, method, metric, PROTOCOL, values, flag))
        if source == "standin":
            hits = (rng.random(len(shown)) < 0.5 + 2 * effect).astype(float)
            hits[:2] = np.nan
            flag = np.where(np.isnan(hits), "skipped_region", "")
            rows.append(
                _rows(
                    base, shown, right, method, "pointing_game", "pointing_relative_1", hits, flag
                )
            )
        for curve, values in (("insertion", rise), ("deletion", fall)):
            frame = pd.DataFrame({**base, "image_id": shown, "target": 0, "correct": right})
            frame = frame.assign(method=method, protocol=PROTOCOL, curve=curve)
            frame["fractions"] = [steps.astype(np.float32)] * len(shown)
            frame["values"] = list(values.astype(np.float32))
            curves.append(frame[list(CURVE_COLUMNS)])
        gallery += [
            _image(base, ids[k], k, method, rng, bool(right[k])) for k in range(min(6, len(shown)))
        ]
    folder = run.cell(key)
    write_parquet(folder.table("rows"), pd.concat(rows, ignore_index=True))
    write_parquet(folder.table("curves"), pd.concat(curves, ignore_index=True))
    write_parquet(folder.table("gallery"), pd.DataFrame(gallery))
    write_parquet(folder.table("history"), _history(rng, key, arm))
    if arm != "baseline":
        words = [[{"word": f"<word {n}>", "cosine": 0.25}] for n in range(3)]
        write_json(folder.path / "findings.json", {"context_words": words})
    inference = {"parameters": 1_234_567, "gigaflop": 0.5}
    write_json(folder.path / "done.json", {"key": key, "inference": inference})


def _rows(
    base: dict[str, Any], ids: list[str], correct: Any, method: str, metric: str, protocol: str,
    values: Any, flag: Any = "",
) -> pd.DataFrame:  # fmt: skip
    said = np.arange(len(ids)) % len(CLASSES) if not method else 0
    frame = pd.DataFrame({**base, "image_id": ids, "target": said, "correct": correct})
    frame = frame.assign(method=method, metric=metric, protocol=protocol, value=values, flag=flag)
    return frame[list(ROW_COLUMNS)]


def _image(
    base: dict[str, Any], image_id: str, number: int, method: str, rng: np.random.Generator,
    correct: bool,
) -> dict[str, Any]:  # fmt: skip
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    scene = np.random.default_rng(number)
    cy, cx = scene.uniform(0.3, 0.7, 2)
    disc = ((y - cy) ** 2 + (x - cx) ** 2 < 0.05).astype(float)
    image = np.stack([0.3 + 0.5 * disc, 0.5 * x + 0.3 * disc, 0.6 * y], 2)
    heat = np.exp(-((y - cy - rng.normal(0, 0.1)) ** 2 + (x - cx - rng.normal(0, 0.1)) ** 2) / 0.04)
    if method == "random_map":
        heat = rng.random((SIDE, SIDE))
    label = CLASSES[number % len(CLASSES)]
    return {
        **{name: base[name] for name in ("pair", "cell", "dataset", "source", "arm", "seed")},
        "image_id": image_id, "method": method, "label_name": label,
        "predicted_name": label if correct else CLASSES[(number + 1) % len(CLASSES)],
        "correct": correct, "height": SIDE, "width": SIDE,
        "image_png": _png(image), "map": heat.astype(np.float32).ravel(),
        "region_png": _png(disc) if base["source"] == "standin" else None,
    }  # fmt: skip


def _png(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray((255 * image.clip(0, 1)).astype(np.uint8)).save(stream, format="PNG")
    return stream.getvalue()


def _history(rng: np.random.Generator, key: str, arm: str) -> pd.DataFrame:
    quantities = {"loss": 2.0, "cross_entropy": 2.0, "train_accuracy": 0.3, "learning_rate": 0.3}
    if arm != "baseline":
        quantities |= {"manifold_matching": 0.1, "transport": 0.8, "temperature": 2.6}
    return pd.DataFrame(
        {"epoch": epoch, "quantity": name, "cell": key,
         "value": start * np.exp(-epoch / 8) + rng.normal(0, 0.01)}
        for name, start in quantities.items()
        for epoch in range(15)
    )  # fmt: skip
