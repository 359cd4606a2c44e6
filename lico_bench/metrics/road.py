"""ROAD: the target's probability after pixels are removed and imputed from their neighbours.

A fill colour creates edges that are out of distribution. Here a removed pixel becomes the weighted
mean of its neighbours plus a little noise, which hides its value and, mostly, its position. Pixels
are removed by rank and not by a threshold, so that a map with a plateau loses exactly the requested
share.

Source: Rong et al., ICML 2022, noisy linear imputation.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from lico_bench.checks import check_images, check_maps, check_not_negative, check_targets
from lico_bench.errors import ConvergenceError, InvalidInputError
from lico_bench.metrics.imputation import Imputer
from lico_bench.metrics.metric import MetricCost, MetricInputs, add_metric
from lico_bench.metrics.perturbation import rank_pixels
from lico_bench.models import MicroBatchRunner, default_micro_batch, scoring, target_scores
from lico_bench.runtime import make_generator

PERCENT = "10 20 30 40 50 70 90"  # shares of removed pixels, as in the paper
NOISE = 0.01  # standard deviation, in units of images in [0, 1]


@dataclass(frozen=True)
class RoadCurves:
    """Probability of the target at each share of removed pixels.

    Attributes:
        fractions: (S,) share of removed pixels, rounded to whole pixels.
        most_first: (N, S) with the most salient pixels removed.
        least_first: (N, S) with the least salient pixels removed.
        iterations: maximum number of iterations of an imputation.
        forwards: number of forwards, 2 S N.
    """

    fractions: Tensor
    most_first: Tensor
    least_first: Tensor
    iterations: int
    forwards: int


def curves_of(inputs: MetricInputs, percent: str, noise: float) -> RoadCurves:
    """`road_curves`, computed once for the three metrics."""
    return inputs.shared.once(
        _shared_name(percent, noise), lambda: road_curves(inputs, percent=percent, noise=noise)
    )


def _shared_name(percent: str, noise: float) -> str:
    return f"road:{percent}:{noise}"


_add = partial(
    add_metric,
    bounds=(0.0, 1.0),
    unit="probability",
    source="Rong et al., ICML 2022",
    cost="forwards",
    cost_of=lambda _protocol, *, percent=PERCENT, noise=NOISE: MetricCost(
        _shared_name(percent, noise), forwards=2 * len(str(percent).split())
    ),
    pitfalls="grows with the model's confidence, so compare with the random map of the same model; "
    "a smooth hole still shows its outline, and a wide hole is imputed from its border",
)


@_add("road_morf", title="ROAD, most relevant first", higher_is_better=False)
def road_morf(inputs: MetricInputs, *, percent: str = PERCENT, noise: float = NOISE) -> Tensor:
    """Mean probability of the target over the shares, most relevant pixels first, (N,).

    Args:
        percent: shares of removed pixels, as numbers between 0 and 100 separated by blanks.
        noise: standard deviation of the noise added to every imputed value.

    Source: Rong et al., ICML 2022.
    Differs: the probability of the explained class per image instead of the accuracy; pixels are
    removed by rank; the mean over the shares summarises the curve.
    """
    return curves_of(inputs, percent, noise).most_first.mean(1)


@_add("road_lerf", title="ROAD, least relevant first", higher_is_better=True)
def road_lerf(inputs: MetricInputs, *, percent: str = PERCENT, noise: float = NOISE) -> Tensor:
    """Mean probability of the target over the shares, least relevant first; see `road_morf`."""
    return curves_of(inputs, percent, noise).least_first.mean(1)


@_add("road", title="ROAD", higher_is_better=True, bounds=(-0.5, 0.5))
def road(inputs: MetricInputs, *, percent: str = PERCENT, noise: float = NOISE) -> Tensor:
    """Half the difference of least and most relevant first, (LeRF - MoRF) / 2, in [-1/2, 1/2].

    Source: `ROADCombined` of pytorch-grad-cam; see `road_morf`.
    """
    curves = curves_of(inputs, percent, noise)
    return (curves.least_first.mean(1) - curves.most_first.mean(1)) / 2


def road_curves(
    inputs: MetricInputs,
    *,
    percent: str = PERCENT,
    noise: float = NOISE,
    micro_batch: int | None = None,
) -> RoadCurves:
    """Compute the probabilities for both removal orders at every share.

    Args:
        micro_batch: images per imputation and forward; chosen by image size and device if None.

    Returns:
        `RoadCurves` on the CPU. The noise depends only on the seed, the image and the share; it is
        equal for both orders and all maps of an image.

    Raises:
        InvalidInputError: for invalid images, targets, maps or rules.
        ConvergenceError: if an imputation did not reach its tolerance.
        OutOfMemoryError: if a single image does not fit into memory.
    """
    images = inputs.images
    check_images(images)
    check_targets(inputs.targets, num_images=len(images))
    height, width = images.shape[2:]
    check_maps(inputs.maps, num_images=len(images), size=(height, width))
    check_not_negative("noise", noise)
    counts = removed_px(percent, height * width)
    forwards = MicroBatchRunner(
        inputs.model, size=default_micro_batch(images) if micro_batch is None else micro_batch
    )
    states = _States(inputs, counts, noise)
    targets, highest = inputs.targets.to(images.device), int(inputs.targets.max())

    def read(logits: Tensor, jobs: Tensor) -> Tensor:
        return target_scores(logits.float().softmax(1), targets[jobs // states.per_image], highest)

    with scoring(inputs.model):
        scores = forwards.run(
            len(images) * states.per_image, states.make, read, device=images.device
        )
    scores = scores.view(len(images), len(counts), 2).cpu()
    fractions = torch.tensor(counts, dtype=torch.float32) / (height * width)
    return RoadCurves(
        fractions, scores[:, :, 0], scores[:, :, 1], states.iterations, forwards.num_images
    )


def removed_px(percent: str | float, num_pixels: int) -> list[int]:
    """Return the number of pixels to remove for each share.

    Raises:
        InvalidInputError: unless `percent` has ascending numbers between 0 and 100.
    """
    try:
        shares = [float(share) for share in str(percent).split()]
    except ValueError:
        shares = []
    is_ascending = all(a < b for a, b in itertools.pairwise(shares))
    if not shares or not is_ascending or not (shares[0] > 0 and shares[-1] < 100):
        raise InvalidInputError(
            f"percent: expected ascending numbers between 0 and 100 separated by blanks, such as "
            f"'10 50 90', got '{percent}'"
        )
    return [round(share * num_pixels / 100) for share in shares]


class _States:
    """Images with removed pixels; jobs are ordered by image, share, and removal order."""

    def __init__(self, inputs: MetricInputs, counts: list[int], noise: float) -> None:
        self.inputs = inputs
        self.counts = counts
        self.noise = noise
        self.per_image = 2 * len(counts)
        self.iterations = 0
        self._impute = Imputer()
        self._ranks = rank_pixels(inputs.maps).to(inputs.images.device)

    def make(self, jobs: Tensor) -> Tensor:
        """Return the images (n, 3, H, W) of jobs (n,)."""
        image, state = jobs // self.per_image, jobs % self.per_image
        count = torch.tensor(self.counts, device=jobs.device)[state // 2][:, None, None]
        ranks = self._ranks[image]
        is_least_first = (state % 2 == 1)[:, None, None]
        kept = torch.where(is_least_first, ranks < ranks[0].numel() - count, ranks >= count)
        imputation = self._impute(self.inputs.images[image], kept)
        self.iterations = max(self.iterations, int(imputation.iterations.max()))
        if not imputation.converged.all():
            raise ConvergenceError(
                f"road: {int((~imputation.converged).sum())} imputations did not reach their "
                f"tolerance in {self.iterations} iterations; report the image and its map"
            )
        states = imputation.images.addcmul_(self._noise(jobs), ~kept[:, None])
        return states.contiguous(memory_format=torch.channels_last)

    def _noise(self, jobs: Tensor) -> Tensor:
        """Noise (n, 3, H, W), one draw per image and share."""
        images = self.inputs.images
        if self.noise == 0:
            return torch.zeros_like(images[:1])
        pairs, positions = (jobs // 2).unique_consecutive(return_inverse=True)
        drawn = []
        for pair in pairs.tolist():
            row, share = divmod(pair, len(self.counts))
            purpose = f"road:{self.inputs.key(row)}:{self.counts[share]}"
            rng = make_generator(self.inputs.seed, purpose)
            drawn.append(torch.randn(images.shape[1:], generator=rng))
        return torch.stack(drawn).to(images)[positions] * self.noise
