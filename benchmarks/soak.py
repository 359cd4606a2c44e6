"""Memory while 50,000 images of 32 px are classified, explained, scored and written to disk.

Limit: the resident set grows by less than 64 MiB after the first tenth of the images.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from lico_bench.data import load_dataset
from lico_bench.data.dataset import Dataset
from lico_bench.data.image_files import ArrayImages
from lico_bench.evaluation import EvalConfig, Subject, score_in_parts
from lico_bench.metrics import PROTOCOLS
from lico_bench.models import build_classifier
from lico_bench.store import SCORE_TABLES, CellFolder, read_parquet

BAR_MIB = 64
STEPS = 8  # of the curves; a quarter of the default, to save time


def resident_mib() -> float:
    """Return the resident memory of this process in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise SystemExit("no /proc/self/status here: run this on Linux")


def many_images(count: int) -> Dataset:
    """Return `count` images: repeated drawn scenes with unique ids."""
    scenes = load_dataset("cifar10", "test", source="standin")
    indices = torch.arange(count) % len(scenes)
    images = ArrayImages(scenes.image_source.pixels[indices])
    return replace(
        scenes,
        image_source=images,
        labels=scenes.labels[indices],
        image_ids=tuple(f"{number:06d}" for number in range(count)),
        region_source=scenes.region_source[indices],
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=50_000)
    args = parser.parse_args()

    dataset = many_images(args.images)
    model = build_classifier(
        "wrn_10_1", num_classes=dataset.num_classes, mean=dataset.mean, std=dataset.std, seed=0
    ).eval()
    subject = Subject(
        model.to(memory_format=torch.channels_last), "pair", "cell", "wrn_10_1", "own", 0, "full"
    )
    rules = replace(PROTOCOLS["lico_bench_1"], steps=STEPS)
    eval_config = EvalConfig.of(("grad_cam",), ("insertion", "deletion", "pointing_game"), rules)
    started = time.perf_counter()
    samples: list[tuple[int, float]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = CellFolder(Path(name))
        scored = 0
        for part in score_in_parts(subject, dataset, eval_config, stored=folder.part_rows):
            folder.write_part(part.name, {n: getattr(part.scores, n) for n in SCORE_TABLES})
            scored += part.scores.rows["method"].eq("grad_cam").any() * 256
            if scored and scored % 2560 == 0:
                gc.collect()
                samples.append((scored, resident_mib()))
                files = len(list(folder.parts.glob("scored-*.rows.parquet")))
                print(
                    f"{scored:6,} images scored, {files:4} parts on disk, "
                    f"{samples[-1][1]:7.0f} MiB, {time.perf_counter() - started:5.0f} s",
                    flush=True,
                )
        rows = folder.join_parts()
        after = resident_mib()
        size = folder.table("rows").stat().st_size / 2**20
        print(f"{rows:,} rows in one file of {size:.1f} MiB, {after:.0f} MiB resident after it")
        found = read_parquet(folder.table("rows"), ("image_id", "metric"))
        if found[found["metric"] == "deletion"]["image_id"].nunique() != args.images:
            raise SystemExit("rows are missing")
    early = [mib for count, mib in samples if count <= max(2560, args.images // 10)]
    growth = max(mib for _, mib in samples) - early[-1]
    print(f"grown by {growth:.1f} MiB after the first tenth, bar {BAR_MIB}")
    sys.exit(growth > BAR_MIB)


if __name__ == "__main__":
    main()
