"""ROAD: the target's probability when pixels are gone and their neighbours fill the gap.

A hard fill colour makes edges that no image has; here a removed pixel becomes the mean of its
neighbours plus a little noise, so that neither its value nor, as far as that goes, its place is
told. Pixels go by rank and not by a threshold on their value: a map with a plateau loses exactly
the share that is asked for.

Source: Rong et al., ICML 2022, noisy linear imputation.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from lico_bench.checks import check_images, check_maps, check_not_negative, check_targets
from lico_bench.errors import ConvergenceError, InvalidInputError
from lico_bench.metrics import METRICS, Metric, MetricCost, MetricInputs
from lico_bench.metrics.imputation import Imputer
from lico_bench.metrics.perturbation import rank_pixels
from lico_bench.models import Forwards, default_micro_batch, of_target, scoring
from lico_bench.records import MetricSpec, Protocol
from lico_bench.runtime import make_generator

PERCENT = "10 20 30 40 50 70 90"  # of the pixels removed: the shares of the paper
NOISE = 0.01  # standard deviation, in units of images in [0, 1]


@dataclass(frozen=True)
class RoadCurves:
    """Probability of the target at each share of removed pixels.

    Attributes:
        fractions: (S,) share of the pixels removed, as counted in whole pixels.
        most_first: (N, S) the most salient removed.
        least_first: (N, S) the least salient removed.
        iterations: the largest number that an imputation took.
        forwards: images sent through the model, 2 S N.
    """

    fractions: Tensor
    most_first: Tensor
    least_first: Tensor
    iterations: int
    forwards: int


def road_morf(inputs: MetricInputs, *, percent: str = PERCENT, noise: float = NOISE) -> Tensor:
    """Mean probability of the target over the shares, most relevant pixels first, (N,).

    Args:
        percent: shares of the pixels that are removed, numbers between 0 and 100 and blanks.
        noise: standard deviation of what is added to every filled-in value.

    Source: Rong et al., ICML 2022.
    Differs: probability of the explained class where the source counts correct classes, a number
    per image; pixels go by rank; the mean over the shares stands for the curve.
    """
    return _curves(inputs, percent, noise).most_first.mean(1)


def road_lerf(inputs: MetricInputs, *, percent: str = PERCENT, noise: float = NOISE) -> Tensor:
    """Mean probability of the target over the shares, least relevant first; see `road_morf`."""
    return _curves(inputs, percent, noise).least_first.mean(1)


def road(inputs: MetricInputs, *, percent: str = PERCENT, noise: float = NOISE) -> Tensor:
    """Half the gap between least and most relevant first, (LeRF - MoRF) / 2, in [-1/2, 1/2].

    Source: `ROADCombined` of pytorch-grad-cam; see `road_morf`.
    """
    curves = _curves(inputs, percent, noise)
    return (curves.least_first.mean(1) - curves.most_first.mean(1)) / 2


def road_curves(
    inputs: MetricInputs,
    *,
    percent: str = PERCENT,
    noise: float = NOISE,
    micro_batch: int | None = None,
) -> RoadCurves:
    """Both orders of removal at every share.

    Args:
        micro_batch: images per imputation and forward; chosen by size and device if None.

    Returns:
        `RoadCurves` on the CPU. The noise of an image and share is the same for both orders and
        all maps of the image, and does not depend on the batch.

    Raises:
        InvalidInputError: for images, targets, maps or rules that are not as said.
        ConvergenceError: if an imputation did not reach its tolerance.
        OutOfMemoryError: if not even one image fits into memory.
    """
    images = inputs.images
    check_images(images)
    check_targets(inputs.targets, num_images=len(images))
    height, width = images.shape[2:]
    check_maps(inputs.maps, num_images=len(images), size=(height, width))
    check_not_negative("noise", noise)
    counts = removed_px(percent, height * width)
    forwards = Forwards(
        inputs.model, size=default_micro_batch(images) if micro_batch is None else micro_batch
    )
    states = _States(inputs, counts, noise)
    targets, highest = inputs.targets.to(images.device), int(inputs.targets.max())

    def read(logits: Tensor, jobs: Tensor) -> Tensor:
        return of_target(logits.float().softmax(1), targets[jobs // states.per_image], highest)

    with scoring(inputs.model):
        scores = forwards.run(
            len(images) * states.per_image, states.make, read, device=images.device
        )
    scores = scores.view(len(images), len(counts), 2).cpu()
    fractions = torch.tensor(counts, dtype=torch.float32) / (height * width)
    return RoadCurves(fractions, scores[:, :, 0], scores[:, :, 1], states.iterations, forwards.sent)


def removed_px(percent: str | float, num_pixels: int) -> list[int]:
    """Number of pixels to remove for each share.

    Raises:
        InvalidInputError: for shares that are no numbers, or not rising between 0 and 100.
    """
    try:
        shares = [float(share) for share in str(percent).split()]
    except ValueError:
        shares = []
    rising = all(a < b for a, b in itertools.pairwise(shares))
    if not shares or not rising or not (shares[0] > 0 and shares[-1] < 100):
        raise InvalidInputError(
            f"percent: expected rising numbers between 0 and 100 with blanks, got '{percent}'"
        )
    return [round(share * num_pixels / 100) for share in shares]


class _States:
    """Images without some of their pixels; jobs run over image, share, most and least first."""

    def __init__(self, inputs: MetricInputs, counts: list[int], noise: float) -> None:
        self.inputs = inputs
        self.counts = counts
        self.noise = noise
        self.per_image = 2 * len(counts)
        self.iterations = 0
        self._impute = Imputer()
        self._ranks = rank_pixels(inputs.maps).to(inputs.images.device)

    def make(self, jobs: Tensor) -> Tensor:
        """(n, 3, H, W) of the jobs (n,)."""
        image, state = jobs // self.per_image, jobs % self.per_image
        count = torch.tensor(self.counts, device=jobs.device)[state // 2][:, None, None]
        ranks = self._ranks[image]
        is_least_first = (state % 2 == 1)[:, None, None]
        kept = torch.where(is_least_first, ranks < ranks[0].numel() - count, ranks >= count)
        filled = self._impute(self.inputs.images[image], kept)
        self.iterations = max(self.iterations, int(filled.iterations.max()))
        if not filled.converged.all():
            raise ConvergenceError(
                f"road: {int((~filled.converged).sum())} imputations did not reach their tolerance "
                f"in {self.iterations} steps; report the image and its map"
            )
        made = filled.images.addcmul_(self._noise(jobs), ~kept[:, None])
        return made.contiguous(memory_format=torch.channels_last)

    def _noise(self, jobs: Tensor) -> Tensor:
        """(n, 3, H, W), one draw for each image and share."""
        images = self.inputs.images
        if self.noise == 0:
            return torch.zeros_like(images[:1])
        pairs, places = (jobs // 2).unique_consecutive(return_inverse=True)
        drawn = []
        for pair in pairs.tolist():
            row, share = divmod(pair, len(self.counts))
            purpose = f"road:{self.inputs.key(row)}:{self.counts[share]}"
            rng = make_generator(self.inputs.seed, purpose)
            drawn.append(torch.randn(images.shape[1:], generator=rng))
        return torch.stack(drawn).to(images)[places] * self.noise


def _curves(inputs: MetricInputs, percent: str, noise: float) -> RoadCurves:
    key = _cost(inputs.protocol, percent=percent, noise=noise).shared
    if key not in inputs.shared:
        inputs.shared[key] = road_curves(inputs, percent=percent, noise=noise)
    return cast(RoadCurves, inputs.shared[key])


def _cost(_protocol: Protocol, *, percent: str = PERCENT, noise: float = NOISE) -> MetricCost:
    """Two forwards a share; the three metrics read the same curves."""
    return MetricCost(f"road:{percent}:{noise}", forwards=2 * len(str(percent).split()))


PITFALLS = (
    "grows with the model's confidence: compare with the random map of the same model; a smooth "
    "hole still tells its outline, and what a wide one removes is filled from its rim"
)
for _name, _title, _compute, _is_better, _bounds in (
    ("road_morf", "ROAD, most relevant first", road_morf, False, (0.0, 1.0)),
    ("road_lerf", "ROAD, least relevant first", road_lerf, True, (0.0, 1.0)),
    ("road", "ROAD", road, True, (-0.5, 0.5)),
):
    METRICS.add(
        _name,
        Metric(
            MetricSpec(
                name=_name,
                title=_title,
                higher_is_better=_is_better,
                bounds=_bounds,
                unit="probability",
                source="Rong et al., ICML 2022",
                cost="forwards",
                pitfalls=PITFALLS,
            ),
            _compute,
            cost=_cost,
        ),
    )
