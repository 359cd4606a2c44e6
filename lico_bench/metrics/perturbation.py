"""Insertion and deletion curves, batched over pictures and steps.

The pixels of a map are ranked once. A state with k changed pixels is `rank < k`, so every state is
made from the picture at once and none from the state before it. The states of all pictures form one
list of jobs, cut into micro-batches of one fixed size: a score does not depend on its neighbours.

Source: Petsiuk et al., BMVC 2018 (RISE); the rules are a `Protocol`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lico_bench.checks import check_images, check_maps, check_targets
from lico_bench.errors import InvalidInputError
from lico_bench.metrics.protocols import PROTOCOLS
from lico_bench.models import Forwards, LogitsModel, default_micro_batch, scoring
from lico_bench.records import Protocol


@dataclass(frozen=True)
class Curves:
    """Scores of the target class while pixels change, most salient first.

    Attributes:
        fractions: (K + 1,) share of the pixels changed, from 0 to 1.
        insertion: (N, K + 1) pixels of the picture put into its blurred copy.
        deletion: (N, K + 1) pixels of the picture replaced by the fill colour.
        insertion_auc, deletion_auc: (N,) normalised trapezoid area, in [0, 1].
        forwards: pictures sent through the model, 2 K N + 1.
    """

    fractions: Tensor
    insertion: Tensor
    deletion: Tensor
    insertion_auc: Tensor
    deletion_auc: Tensor
    forwards: int


@dataclass(frozen=True)
class _Jobs:
    """States to score: which picture, how many pixels changed, where the score goes."""

    image: Tensor
    changed: Tensor
    step: Tensor


def perturbation_curves(
    model: LogitsModel,
    images: Tensor,
    targets: Tensor,
    maps: Tensor,
    *,
    protocol: Protocol | str = "lico_bench_1",
    micro_batch: int | None = None,
) -> Curves:
    """Insertion and deletion curves of each picture.

    Args:
        model: any callable from images (n, 3, H, W) in [0, 1] to logits (n, K).
        images: (N, 3, H, W) float32 in [0, 1].
        targets: (N,) int64 in [0, K), the class whose probability is followed.
        maps: (N, H, W) float, finite; the largest value changes first, equal values in the order
            of the pixels.
        micro_batch: pictures per forward; chosen by size and device if None.

    Returns:
        `Curves` on the CPU. The unchanged picture ends the insertion and starts the deletion
        curve, and the fully deleted one is the same for all, so that N pictures cost 2 K N + 1
        forwards.

    Raises:
        InvalidInputError: for images, targets or maps that are not as said.
        UnknownNameError: for an unknown protocol.
    """
    rules = PROTOCOLS[protocol] if isinstance(protocol, str) else protocol
    check_images(images)
    check_targets(targets, num_images=len(images))
    height, width = images.shape[2:]
    check_maps(maps, num_images=len(images), size=(height, width))
    changed = step_sizes(height * width, rules.steps)
    size = micro_batch or default_micro_batch(images)
    with scoring(model):
        scorer = _Scorer(model, images, targets.to(images.device), rank_pixels(maps), size)
        deletion, insertion = _score_all(scorer, changed, rules)
    fractions = torch.tensor(changed, dtype=torch.float64) / (height * width)
    return Curves(
        fractions=fractions.float(),
        insertion=insertion,
        deletion=deletion,
        insertion_auc=area_under(insertion, fractions),
        deletion_auc=area_under(deletion, fractions),
        forwards=scorer.forwards.sent,
    )


def step_sizes(num_pixels: int, steps: int) -> list[int]:
    """Number of changed pixels at each of the K + 1 points, round(j * pixels / K)."""
    if steps > num_pixels:
        raise InvalidInputError(f"protocol: {steps} steps for {num_pixels} pixels; use fewer steps")
    return [round(j * num_pixels / steps) for j in range(steps + 1)]


def rank_pixels(maps: Tensor) -> Tensor:
    """Rank of each pixel, 0 for the most salient; equal values keep the order of the pixels.

    Args:
        maps: (N, H, W).

    Returns:
        (N, H, W) int32, each a permutation of 0 .. H * W - 1.
    """
    flat = maps.flatten(1)
    order = flat.argsort(dim=1, descending=True, stable=True)
    places = torch.arange(flat.shape[1], dtype=torch.int32, device=maps.device).expand_as(order)
    ranks = torch.empty_like(order, dtype=torch.int32).scatter_(1, order, places)
    return ranks.view(maps.shape)


def area_under(curve: Tensor, fractions: Tensor) -> Tensor:
    """Trapezoid area of curves (N, S) over their fractions (S,) in [0, 1]; (N,) float32."""
    return torch.trapezoid(curve.double(), fractions.double(), dim=1).float()


def blur(images: Tensor, *, sigma_px: float, radius_px: int) -> Tensor:
    """Images after a Gaussian, cut off at `radius_px`, with mirrored borders.

    Args:
        images: (N, 3, H, W).

    Returns:
        (N, 3, H, W) in the range of the input.
    """
    offsets = torch.arange(-radius_px, radius_px + 1, device=images.device, dtype=torch.float32)
    kernel = torch.exp(-(offsets**2) / (2 * sigma_px**2))
    kernel = (kernel / kernel.sum()).to(images.dtype)
    planes = images.reshape(-1, 1, *images.shape[2:])
    padded = F.pad(planes, (radius_px,) * 4, mode="reflect")
    blurred = F.conv2d(F.conv2d(padded, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))
    return blurred.view(images.shape).clamp(0, 1)


def insertion_start(images: Tensor, rules: Protocol) -> Tensor:
    """The blurred pictures (N, 3, H, W) that insertion starts from."""
    shorter = min(images.shape[2:])
    sigma = rules.blur_sigma_frac * shorter
    radius = min(math.ceil(rules.blur_radius_sigmas * sigma), shorter - 1)
    return blur(images, sigma_px=sigma, radius_px=radius)


class _Scorer:
    """Scores lists of states of one batch of pictures."""

    def __init__(
        self, model: LogitsModel, images: Tensor, targets: Tensor, ranks: Tensor, size: int
    ) -> None:
        self.forwards = Forwards(model, size=size)
        self.images = images.contiguous(memory_format=torch.channels_last)
        self.targets = targets
        self.ranks = ranks.to(images.device)

    def score(self, jobs: _Jobs, *, changed_to: Tensor, unchanged: Tensor) -> Tensor:
        """Probability of the target in each state, (number of jobs,), on the device.

        `changed_to` and `unchanged` are (N or 1, 3, H, W): where a pixel's rank is below the job's
        number of changed pixels it comes from the first, elsewhere from the second.
        """

        def make(numbers: Tensor) -> Tensor:
            image = jobs.image[numbers]
            is_changed = self.ranks[image] < jobs.changed[numbers][:, None, None]
            return torch.where(
                is_changed[:, None], _pick(changed_to, image), _pick(unchanged, image)
            )

        def read(logits: Tensor, numbers: Tensor) -> Tensor:
            targets = self.targets[jobs.image[numbers]]
            _check_classes(targets, logits)
            return logits.float().softmax(1).gather(1, targets[:, None])[:, 0]

        return self.forwards.run(len(jobs.image), make, read, device=self.images.device)

    def score_everywhere(self, state: Tensor) -> Tensor:
        """Probability of every picture's target in one common `state` (1, 3, H, W), (N,)."""

        def make(numbers: Tensor) -> Tensor:
            filled = state.expand(len(numbers), -1, -1, -1)
            return filled.contiguous(memory_format=torch.channels_last)

        def read(logits: Tensor, _numbers: Tensor) -> Tensor:
            return logits.float().softmax(1)

        return self.forwards.run(1, make, read, device=state.device)[0, self.targets]


def _check_classes(targets: Tensor, logits: Tensor) -> None:
    if logits.shape[1] <= int(targets.max()):
        raise InvalidInputError(
            f"targets: expected classes in [0, {logits.shape[1]}), got {int(targets.max())}"
        )


def _score_all(scorer: _Scorer, changed: list[int], rules: Protocol) -> tuple[Tensor, Tensor]:
    """Deletion and insertion curves (N, K + 1) on the CPU."""
    images, num_images, steps = scorer.images, len(scorer.images), rules.steps
    fill = torch.tensor(rules.fill_rgb, dtype=images.dtype, device=images.device).view(1, 3, 1, 1)
    fill = fill.expand(1, 3, *images.shape[2:])
    start = insertion_start(images, rules).contiguous(memory_format=torch.channels_last)
    curves = torch.empty(2, num_images, steps + 1, device=images.device)
    deletion, insertion = curves
    jobs = _jobs_for(range(steps), changed, num_images, images.device)
    deletion[jobs.image, jobs.step] = scorer.score(jobs, changed_to=fill, unchanged=images)
    deletion[:, steps] = scorer.score_everywhere(fill)
    jobs = _jobs_for(range(steps), changed, num_images, images.device)
    insertion[jobs.image, jobs.step] = scorer.score(jobs, changed_to=images, unchanged=start)
    insertion[:, steps] = deletion[:, 0]  # nothing deleted is everything inserted
    deletion, insertion = curves.cpu()
    return deletion, insertion


def _jobs_for(steps: range, changed: list[int], num_images: int, device: torch.device) -> _Jobs:
    step = torch.tensor(list(steps), device=device)
    counts = torch.tensor(changed, dtype=torch.int32, device=device)[step]
    return _Jobs(
        image=torch.arange(num_images, device=device).repeat_interleave(len(step)),
        changed=counts.repeat(num_images),
        step=step.repeat(num_images),
    )


def _pick(pictures: Tensor, image: Tensor) -> Tensor:
    return pictures if len(pictures) == 1 else pictures[image]
