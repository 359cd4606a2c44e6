"""Speed of reading 224 px batches from JPEG files of about 500 px, and of drawing stand-ins.

Limits per core: 150 JPEGs a second with the training and with the evaluation transform, and memory
that does not grow with the number of images. On two cores: 2,000 drawn scenes of 32 px a second.
"""

from __future__ import annotations

import argparse
import io
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image

from lico_bench.data import image_batches, load_card
from lico_bench.data.cards import StandinFacts
from lico_bench.data.image_files import FileImages, Fit, num_workers
from lico_bench.data.scenes import draw_scenes

JPEG_BAR, SCENES_BAR, GROWTH_BAR_MIB = 150, 2000, 32
BATCH, SIZE = 64, 224
EVALUATION = Fit(SIZE, "crop", 256 / 224, 0)


def photographs(folder: Path | None) -> list[bytes]:
    """Return JPEG contents: the files under `folder`, or drawn scenes of 500 x 375 px."""
    if folder is not None:
        files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))
        return [path.read_bytes() for path in files[:256]]
    facts = load_card("imagenet").standin
    assert isinstance(facts, StandinFacts)
    out = []
    for scene in draw_scenes("imagenet", facts, "train", image_size=500, count=64).images:
        stream = io.BytesIO()
        Image.fromarray(scene[:, :375].permute(1, 2, 0).numpy()).save(stream, "JPEG", quality=90)
        out.append(stream.getvalue())
    return out


def images_per_second(images: FileImages, num_batches: int, training: bool) -> float:
    """Return the speed of reading `num_batches` batches with all workers."""
    rng = torch.Generator().manual_seed(0)
    steps = (
        (
            torch.randint(len(images), (BATCH,), generator=rng),
            image_batches.draw(BATCH, rng) if training else None,
        )
        for _ in range(num_batches)
    )
    started = time.perf_counter()
    for _ in images.stream(steps, torch.device("cpu")):
        pass
    return num_batches * BATCH / (time.perf_counter() - started)


def peak_mib() -> float:
    """Return the peak resident memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def decode_only_s(images: FileImages) -> float:
    """Return the seconds per image and core of decoding at full size, without resizing."""
    started = time.perf_counter()
    for content in images.files[:64]:
        assert isinstance(content, Path)
        with Image.open(content) as image:
            image.load()
    return (time.perf_counter() - started) / min(64, len(images))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="JPEG files to use instead of drawn ones")
    parser.add_argument("--batches", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()

    cores, failed = num_workers(), False
    contents = photographs(args.folder)
    sizes = [Image.open(io.BytesIO(content)).size for content in contents]
    width, height = (statistics.median(side) for side in zip(*sizes, strict=True))
    with tempfile.TemporaryDirectory() as folder:
        # More names than the cache holds, as in a dataset larger than memory.
        paths = []
        for index, content in enumerate(contents):
            paths.append(Path(folder, f"{index}.jpg"))
            paths[-1].write_bytes(content)
        files = tuple(paths[i % len(paths)] for i in range(5000))
        images = FileImages(files, tuple(map(str, range(5000))), EVALUATION)
        print(f"{len(contents)} JPEGs, median {width:.0f} x {height:.0f} px, {cores} cores")
        for training, title in ((True, "training: random resized crop"), (False, "evaluation")):
            images_per_second(images, 2, training)
            speeds = [
                images_per_second(images, args.batches, training) / cores
                for _ in range(args.rounds)
            ]
            speed = statistics.median(speeds)
            failed |= speed < JPEG_BAR
            print(
                f"{title:32} {speed:6.0f} images/s per core   rounds {min(speeds):.0f} to "
                f"{max(speeds):.0f}, bar {JPEG_BAR}"
            )
        alone_s = decode_only_s(images)
        print(f"{'decoding alone, full size':32} {1 / alone_s:6.0f} images/s per core")
        before = peak_mib()
        images_per_second(images, 4 * args.batches, training=True)
        growth = peak_mib() - before
        failed |= growth > GROWTH_BAR_MIB
        print(f"{'memory over four times as many':32} {growth:6.1f} MiB more")
    facts = load_card("cifar10").standin
    assert isinstance(facts, StandinFacts)
    speeds = []
    for _ in range(args.rounds):
        started = time.perf_counter()
        draw_scenes("cifar10", facts, "train", count=1024)
        speeds.append(1024 / (time.perf_counter() - started))
    speed = statistics.median(speeds)
    failed |= speed < SCENES_BAR
    print(
        f"{'drawn scenes, 32 px':32} {speed:6.0f} images/s on {cores} cores   rounds "
        f"{min(speeds):.0f} to {max(speeds):.0f}, bar {SCENES_BAR}"
    )
    sys.exit(failed)


if __name__ == "__main__":
    main()
