"""Changed images: the fill colour of hidden pixels and the target's score."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn

from lico_bench.errors import InvalidInputError
from lico_bench.models import (
    MicroBatchRunner,
    default_micro_batch,
    mean_colour,
    scoring,
    target_scores,
)
from lico_bench.models.forwards import LogitsModel
from lico_bench.records import IMAGENET_MEAN


def fill_colour(fill: float | str, model: nn.Module, images: Tensor) -> Tensor:
    """Return the colour of a hidden pixel, (1, 3, 1, 1) in [0, 1].

    Args:
        fill: "mean" for the colour that the model normalises to zero, or a grey level in [0, 1].
            The colour is the `mean` of a `Classifier`, or ImageNet's mean for other models.

    Raises:
        InvalidInputError: for any other `fill`.
    """
    if fill == "mean":
        return images.new_tensor(mean_colour(model) or IMAGENET_MEAN).view(1, 3, 1, 1)
    if isinstance(fill, str) or not 0 <= fill <= 1:
        raise InvalidInputError(f"fill: expected 'mean' or a grey level in [0, 1], got {fill!r}")
    return images.new_full((1, 3, 1, 1), fill)


def scores_in_states(
    model: LogitsModel,
    images: Tensor,
    targets: Tensor,
    num_states: int,
    make: Callable[[Tensor, Tensor], Tensor],
    *,
    quantity: Literal["probability", "logit"] = "probability",
    micro_batch: int | None = None,
) -> Tensor:
    """Score of each image's target in each state, (N, num_states).

    Args:
        model: from the results of `make` to logits (n, K).
        images: what a forward pass reads, for the size of a micro-batch and the device.
        targets: (N,) int64.
        make: maps image numbers (n,) and state numbers (n,) to changed images (n, 3, H, W).
        micro_batch: images per forward; chosen by image size and device if None.

    Raises:
        InvalidInputError: for a target that the model does not have.
    """
    highest, targets = int(targets.max()), targets.to(images.device)
    size = default_micro_batch(images) if micro_batch is None else micro_batch
    forwards = MicroBatchRunner(model, size=size)

    def read(logits: Tensor, jobs: Tensor) -> Tensor:
        scores = logits.float() if quantity == "logit" else logits.float().softmax(1)
        return target_scores(scores, targets[jobs // num_states], highest)

    with scoring(model):
        scores = forwards.run(
            len(targets) * num_states,
            lambda jobs: make(jobs // num_states, jobs % num_states),
            read,
            device=images.device,
        )
    return scores.view(len(targets), num_states)
