"""Compare the CAM methods with pytorch-grad-cam: time and maps, on torchvision's resnet18.

Limits at 224 px on two cores, with maps equal to 1e-4 after the library's rescaling: the gradient
methods at least 2.5 times faster (32 images), Ablation-CAM at least 20 times (one image), Score-CAM
not slower and at most 1.10 times its forward passes (one image). Eigen-CAM at least 1.5 times (32
images): it needs no gradient, so that the forward pass takes most of the time in both.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import pytorch_grad_cam
import torch
import torchvision
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from lico_bench.models import default_micro_batch
from lico_bench.saliency import explain
from lico_bench.saliency.cams import first_component
from lico_bench.saliency.readouts import enlarge, layer_activation

GRADIENTS = {
    "grad_cam": pytorch_grad_cam.GradCAM,
    "grad_cam_plus_plus": pytorch_grad_cam.GradCAMPlusPlus,
    "hires_cam": pytorch_grad_cam.HiResCAM,
    "xgrad_cam": pytorch_grad_cam.XGradCAM,
    "layer_cam": pytorch_grad_cam.LayerCAM,
}
MAP_GAP = 1e-4
GRADIENT_BAR, EIGEN_BAR, ABLATION_BAR, SCORE_BAR, BARE_BAR = 2.5, 1.5, 20.0, 1.0, 1.10
CHANNELS = 512  # of layer4

Maps = torch.Tensor | np.ndarray


def library_maps(cam_class, model, images, targets) -> np.ndarray:
    """Compute maps with pytorch-grad-cam, with its progress bars suppressed."""
    with (
        contextlib.redirect_stderr(io.StringIO()),
        cam_class(model, [model.layer4]) as cam,
    ):
        return cam(images, [ClassifierOutputTarget(int(t)) for t in targets])


def bare_forwards(model: torch.nn.Module, micro_batch: torch.Tensor, forwards: int) -> None:
    """Run the model on `forwards` images by repeating one micro-batch."""
    with torch.inference_mode():
        for _ in range(-(-forwards // len(micro_batch))):
            model(micro_batch)


def alternate(sides: dict[str, Callable[[], Maps | None]], rounds: int):
    """Return the seconds of each side in each round, and its last result."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    results = {}
    for _ in range(rounds):
        for name, run in sides.items():
            started = time.perf_counter()
            results[name] = run()
            seconds[name].append(time.perf_counter() - started)
    return seconds, results


def ratio_of(seconds: dict[str, list[float]], slow: str, fast: str) -> float:
    """Return the median over rounds of the time of `slow` divided by that of `fast`."""
    return statistics.median(s / f for s, f in zip(seconds[slow], seconds[fast], strict=True))


def gaps(ours: Maps, theirs: np.ndarray) -> np.ndarray:
    """Return the largest difference per image after scaling ours to [0, 1]; (N,)."""
    maps = np.asarray(ours)
    low, high = maps.min((1, 2), keepdims=True), maps.max((1, 2), keepdims=True)
    scaled = (maps - low) / np.where(high > low, high - low, 1)
    return np.abs(scaled - theirs).max((1, 2))


def eigen_gaps(model, images, targets, theirs: np.ndarray) -> np.ndarray:
    """Return the smaller gap over both signs; the library's sign is LAPACK's, thus arbitrary."""
    activation = layer_activation(model, images, targets, layer="layer4")
    component = first_component(activation, centred=True)
    both = [gaps(enlarge((sign * component).relu(), images), theirs) for sign in (1, -1)]
    print(f"{'':20} eigen_cam: the library has the other sign in "
          f"{int((both[1] < both[0]).sum())} of {len(images)} maps")  # fmt: skip
    return np.minimum(*both)


def compare(name: str, cam_class, model, images, targets, rounds: int, bar: float) -> bool:
    """Measure one method and the library, print a row and return whether a limit is missed."""
    seconds, maps = alternate(
        {
            "ours": partial(explain, model, images, targets, method=name),
            "theirs": partial(library_maps, cam_class, model, images, targets),
        },
        rounds,
    )
    model.zero_grad(set_to_none=True)
    ratio = ratio_of(seconds, "theirs", "ours")
    is_eigen = name == "eigen_cam"
    gap = (
        eigen_gaps(model, images, targets, maps["theirs"])
        if is_eigen
        else gaps(maps["ours"], maps["theirs"])
    ).max()
    ours, theirs = (statistics.median(seconds[side]) for side in ("ours", "theirs"))
    print(f"{name:20} {ours:8.3f} s {theirs:8.3f} s {ratio:8.2f} (bar {bar}) {gap:10.1e}")
    return ratio < bar or gap > MAP_GAP


def score_against_bare(model, images, targets, rounds: int) -> bool:
    """Compare Score-CAM with its forward passes, one per channel."""
    size = default_micro_batch(images)
    micro_batch = images.expand(size, -1, -1, -1).contiguous(memory_format=torch.channels_last)
    seconds, _ = alternate(
        {
            "bare": partial(bare_forwards, model, micro_batch, CHANNELS + 1),
            "ours": partial(explain, model, images, targets, method="score_cam"),
        },
        rounds,
    )
    ratio = ratio_of(seconds, "ours", "bare")
    bare = statistics.median(seconds["bare"])
    print(f"score_cam over its {CHANNELS + 1} bare forwards ({bare:.2f} s): {ratio:.3f}"
          f" (bar {BARE_BAR})")  # fmt: skip
    return ratio > BARE_BAR


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slow-rounds", type=int, default=3, help="of Ablation- and Score-CAM")
    args = parser.parse_args()

    torch.manual_seed(0)
    model = torchvision.models.resnet18().eval()
    images = torch.rand(args.images, 3, args.size, args.size)
    with torch.no_grad():
        targets = model(images).argmax(1)  # scored above zero, as Ablation-CAM's division needs
    print(f"resnet18, {args.size} px, {args.images} images; ablation_cam and score_cam: 1 image")
    print(f"threads {torch.get_num_threads()}, torch {torch.__version__}, {args.rounds} rounds")
    print(f"{'method':20} {'ours':>10} {'library':>10} {'times faster':>12} {'largest gap':>15}")
    batch, one = (model, images, targets), (model, images[:1], targets[:1])
    rounds, slow_rounds = args.rounds, args.slow_rounds
    missed = [
        compare(name, cam_class, *batch, rounds, GRADIENT_BAR)
        for name, cam_class in GRADIENTS.items()
    ]
    missed += [
        compare("eigen_cam", pytorch_grad_cam.EigenCAM, *batch, rounds, EIGEN_BAR),
        compare("ablation_cam", pytorch_grad_cam.AblationCAM, *one, slow_rounds, ABLATION_BAR),
        compare("score_cam", pytorch_grad_cam.ScoreCAM, *one, slow_rounds, SCORE_BAR),
        score_against_bare(*one, slow_rounds),
    ]
    sys.exit(any(missed))


if __name__ == "__main__":
    main()
