"""Insertion and deletion curves, batched over images and steps.

The pixels of a map are ranked once. A state with k changed pixels is `rank < k`, so every state is
made from the image at once and none from the state before it. The states of all images form one
list of jobs, cut into micro-batches of one fixed size: a score does not depend on its neighbours.

Source: Petsiuk et al., BMVC 2018 (RISE); the rules are a `Protocol`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lico_bench.checks import check_choice, check_images, check_maps, check_targets
from lico_bench.errors import InvalidInputError
from lico_bench.metrics.insertion_baseline import insertion_baseline
from lico_bench.metrics.protocols import PROTOCOLS
from lico_bench.models import (
    Forwards,
    LogitsModel,
    default_micro_batch,
    mean_colour,
    of_target,
    scoring,
)
from lico_bench.records import Protocol

Rgb = tuple[float, float, float]
Order = Literal["most", "least"]


@dataclass(frozen=True)
class Curves:
    """Scores of the target class while pixels change, most salient first unless asked otherwise.

    Attributes:
        fractions: (K + 1,) share of the pixels changed, from 0 up.
        insertion: (N, K + 1) pixels of the image put into its blurred copy.
        deletion: (N, K + 1) pixels of the image replaced by the fill colour.
        insertion_auc, deletion_auc: (N,) area by the rule of the protocol, in [0, 1].
        forwards: images sent through the model, 2 K N + 1.
    """

    fractions: Tensor
    insertion: Tensor
    deletion: Tensor
    insertion_auc: Tensor
    deletion_auc: Tensor
    forwards: int


@dataclass(frozen=True)
class _Jobs:
    """States to score, those of one image together: which image, how many pixels changed."""

    image: Tensor
    changed: Tensor


@dataclass(frozen=True)
class Curve:
    """One curve of each image.

    Attributes:
        fractions: (K + 1,) share of the pixels changed, from 0 up.
        values: (N, K + 1) probability of the target class.
        auc: (N,) area by the rule of the protocol, in [0, 1].
        forwards: images sent through the model.
    """

    fractions: Tensor
    values: Tensor
    auc: Tensor
    forwards: int


def perturbation_curves(
    model: LogitsModel,
    images: Tensor,
    targets: Tensor,
    maps: Tensor,
    *,
    protocol: Protocol | str = "lico_bench_1",
    first: Order = "most",
    mean_rgb: Rgb | None = None,
    micro_batch: int | None = None,
) -> Curves:
    """Insertion and deletion curves of each image.

    Args:
        model: any callable from images (n, 3, H, W) in [0, 1] to logits (n, K).
        images: (N, 3, H, W) float32 in [0, 1].
        targets: (N,) int64 in [0, K), the class whose probability is followed.
        maps: (N, H, W) float, finite.
        first: which pixels change first, the most or the least salient; the latter is the former's
            order read backwards.
        mean_rgb: what a normalised zero stands for, for protocols that fill with it; that of a
            `Classifier` is known.
        micro_batch: images per forward; chosen by size and device if None.

    Returns:
        `Curves` on the CPU. The unchanged image ends the insertion and starts the deletion
        curve, and the fully deleted one is the same for all, so that N images cost 2 K N + 1
        forwards.

    Raises:
        InvalidInputError: for images, targets or maps that are not as said.
        UnknownNameError: for an unknown protocol.
        OutOfMemoryError: if not even one image fits into memory.
    """
    scorer = _Scorer.of(model, images, targets, maps, protocol, first, mean_rgb, micro_batch)
    with scoring(model):
        deletion = scorer.deletion()
        insertion = scorer.insertion(whole=deletion[:, 0])
    return Curves(
        fractions=scorer.fractions.float(),
        insertion=insertion.cpu(),
        deletion=deletion.cpu(),
        insertion_auc=scorer.area(insertion),
        deletion_auc=scorer.area(deletion),
        forwards=scorer.forwards.sent,
    )


def deletion_curve(
    model: LogitsModel,
    images: Tensor,
    targets: Tensor,
    maps: Tensor,
    *,
    protocol: Protocol | str = "lico_bench_1",
    first: Order = "most",
    mean_rgb: Rgb | None = None,
    micro_batch: int | None = None,
) -> Curve:
    """The deletion curve alone, at half the cost: K N + 1 forwards; see `perturbation_curves`."""
    scorer = _Scorer.of(model, images, targets, maps, protocol, first, mean_rgb, micro_batch)
    with scoring(model):
        deletion = scorer.deletion()
    return Curve(
        scorer.fractions.float(), deletion.cpu(), scorer.area(deletion), scorer.forwards.sent
    )


def rank_pixels(maps: Tensor, *, ties: str = "stable_descending") -> Tensor:
    """Rank of each pixel, 0 for the most salient.

    Args:
        maps: (N, H, W).
        ties: `stable_descending` keeps the order of equal pixels, `stable_reversed` turns it round.

    Returns:
        (N, H, W) int32, each a permutation of 0 .. H * W - 1.
    """
    flat = maps.flatten(1)
    if ties == "stable_reversed":
        order = flat.argsort(dim=1, stable=True).flip(1)
    else:
        order = flat.argsort(dim=1, descending=True, stable=True)
    places = torch.arange(flat.shape[1], dtype=torch.int32, device=maps.device).expand_as(order)
    ranks = torch.empty_like(order, dtype=torch.int32).scatter_(1, order, places)
    return ranks.view(maps.shape)


def area_under(curve: Tensor, fractions: Tensor, *, rule: str = "trapezoid") -> Tensor:
    """Area of curves (N, S) over the shares (S,) in [0, 1] by the trapezoid rule; (N,) float32.

    Args:
        rule: `trapezoid` over the true shares, `even` as if they were evenly spaced, `per_point`
            with a spacing of 1 / S in place of 1 / (S - 1).
    """
    if rule == "trapezoid":
        return torch.trapezoid(curve.double(), fractions.double(), dim=1).float()
    points = curve.shape[1]
    spacing = 1 / (points - 1) if rule == "even" else 1 / points
    return torch.trapezoid(curve.double(), dx=spacing, dim=1).float()


def fill_colour(rules: Protocol, model: object, mean_rgb: Rgb | None) -> Tensor:
    """(3,) float32, the colour in [0, 1] that deletion fills with.

    Raises:
        InvalidInputError: if the rules want the model's mean colour and nobody knows it.
    """
    if rules.fill_rgb != "model_mean":
        return torch.tensor(rules.fill_rgb)
    known = mean_rgb or mean_colour(model)
    if known is None:
        raise InvalidInputError(
            f"protocol {rules.name} fills with the mean colour of the model's normalisation, which "
            "this model does not tell; pass mean_rgb=(r, g, b) in [0, 1]"
        )
    return torch.tensor(known)


class _Scorer:
    """Scores the states of one batch of images."""

    def __init__(
        self, forwards: Forwards, images: Tensor, targets: Tensor, ranks: Tensor, rules: Protocol,
        fill: Tensor,
    ) -> None:  # fmt: skip
        self.forwards = forwards
        self.images = images.contiguous(memory_format=torch.channels_last)
        self.targets = targets.to(images.device)
        self.ranks = ranks.to(images.device)
        self.rules = rules
        self.fill = fill
        self._highest = int(targets.max())
        self._rooms: dict[str, Tensor] = {}
        num_pixels = images.shape[2] * images.shape[3]
        changed = rules.changed_px(num_pixels)
        self.fractions = torch.tensor(changed, dtype=torch.float64) / num_pixels
        # A curve that ends with every pixel changed needs no state of its own for its last point.
        self._ends_whole = changed[-1] == num_pixels
        self._jobs = _jobs_for(
            changed[:-1] if self._ends_whole else changed, len(images), images.device
        )

    @classmethod
    def of(
        cls, model: LogitsModel, images: Tensor, targets: Tensor, maps: Tensor,
        protocol: Protocol | str, first: Order, mean_rgb: Rgb | None, micro_batch: int | None,
    ) -> _Scorer:  # fmt: skip
        """A scorer of checked arguments."""
        rules = PROTOCOLS[protocol] if isinstance(protocol, str) else protocol
        check_images(images)
        check_targets(targets, num_images=len(images))
        height, width = images.shape[2:]
        check_maps(maps, num_images=len(images), size=(height, width))
        check_choice("first", first, ("most", "least"))
        ranks = rank_pixels(maps, ties=rules.ties)
        if first == "least":
            ranks = height * width - 1 - ranks
        fill = fill_colour(rules, model, mean_rgb).to(images).view(1, 3, 1, 1)
        size = default_micro_batch(images) if micro_batch is None else micro_batch
        return cls(Forwards(model, size=size), images, targets, ranks, rules, fill)

    def deletion(self) -> Tensor:
        """(N, K + 1) on the device."""
        filled = self.fill.expand(1, 3, *self.images.shape[2:])
        scores = self._score(changed_to=filled, unchanged=self.images)
        if self._ends_whole:
            scores = torch.cat([scores, self._score_everywhere(filled)[:, None]], dim=1)
        return scores

    def insertion(self, *, whole: Tensor) -> Tensor:
        """(N, K + 1) on the device; `whole` are the scores (N,) of the unchanged images."""
        start = insertion_baseline(self.images, self.rules, fill=self.fill)
        start = start.contiguous(memory_format=torch.channels_last)
        scores = self._score(changed_to=self.images, unchanged=start)
        if self._ends_whole:  # nothing deleted is everything inserted
            scores = torch.cat([scores, whole[:, None]], dim=1)
        return scores

    def area(self, curve: Tensor) -> Tensor:
        """(N,) on the CPU, by the protocol's rule."""
        return area_under(curve.cpu(), self.fractions, rule=self.rules.area)

    def _score(self, *, changed_to: Tensor, unchanged: Tensor) -> Tensor:
        """Probability of the target in each state, (N, number of states).

        Both are (N or 1, 3, H, W): where a pixel's rank is below the state's number of changed
        pixels it comes from the first, elsewhere from the second.
        """
        jobs = self._jobs

        def make(numbers: Tensor) -> Tensor:
            image = jobs.image[numbers]
            is_changed = self.ranks[image] < jobs.changed[numbers][:, None, None]
            return torch.where(
                is_changed[:, None],
                self._pick("changed", changed_to, image),
                self._pick("unchanged", unchanged, image),
                out=self._room("states", len(image)),
            )

        def read(logits: Tensor, numbers: Tensor) -> Tensor:
            targets = self.targets[jobs.image[numbers]]
            return of_target(logits.float().softmax(1), targets, self._highest)

        scores = self.forwards.run(len(jobs.image), make, read, device=self.images.device)
        return scores.view(len(self.images), -1)

    def _pick(self, name: str, images: Tensor, image: Tensor) -> Tensor:
        if len(images) == 1:
            return images
        return torch.index_select(images, 0, image, out=self._room(name, len(image)))

    def _room(self, name: str, count: int) -> Tensor:
        """Memory for `count` images, the same each time: a fresh page costs more than its use."""
        if name not in self._rooms:
            shape = (count, *self.images.shape[1:])
            self._rooms[name] = torch.empty(
                shape, dtype=self.images.dtype, device=self.images.device,
                memory_format=torch.channels_last,
            )  # fmt: skip
        return self._rooms[name][:count]

    def _score_everywhere(self, state: Tensor) -> Tensor:
        """Probability of every image's target in one common `state` (1, 3, H, W), (N,)."""

        def make(numbers: Tensor) -> Tensor:
            filled = state.expand(len(numbers), -1, -1, -1)
            return filled.contiguous(memory_format=torch.channels_last)

        def read(logits: Tensor, _numbers: Tensor) -> Tensor:
            return logits.float().softmax(1)

        return self.forwards.run(1, make, read, device=state.device)[0, self.targets]


def _jobs_for(changed: list[int], num_images: int, device: torch.device) -> _Jobs:
    counts = torch.tensor(changed, dtype=torch.int32, device=device)
    return _Jobs(
        image=torch.arange(num_images, device=device).repeat_interleave(len(counts)),
        changed=counts.repeat(num_images),
    )
