"""The classifier of this project, and how any classifier is run on many images.

`MicroBatchRunner` runs a model in micro-batches of one size, halved when memory runs out. The last
one is padded with copies of its final image, so that all have the same shape: the result of an
image does not depend on its position in a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lico_bench.checks import check_count
from lico_bench.errors import InvalidInputError, OutOfMemoryError
from lico_bench.models.backbones import BACKBONES
from lico_bench.records import Output
from lico_bench.runtime import seeded

LogitsModel = Callable[[Tensor], Any]

SMALL_PIXELS = 64 * 64  # up to this size larger batches fit into CPU caches
MICRO_BATCH_SMALL = 64
MICRO_BATCH_LARGE = 16
MICRO_BATCH_GPU = 256


class Classifier(nn.Module):
    """Backbone, mean over positions, one linear layer; normalises its input.

    Args:
        features: from images (N, 3, H, W) to maps (N, C, h, w).
        channels: C.
        num_classes: K.
        mean, std: of the training images per channel, in [0, 1].
        explanation_layer: dotted name of the module that saliency methods explain.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        features: nn.Module,
        *,
        channels: int,
        num_classes: int,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        explanation_layer: str = "features",
    ) -> None:
        super().__init__()
        self.features = features
        self.head = nn.Linear(channels, num_classes)
        self.explanation_layer = explanation_layer
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Output:
        """Return logits (N, K) and last feature maps (N, C, h * w) of images in [0, 1]."""
        maps: Tensor = self.features((images - self.mean) / self.std)
        # The logits are computed from the returned maps, so that they have a gradient on them.
        features = maps.flatten(2)
        return Output(logits=self.head(features.mean(dim=2)), features=features)

    @property
    def num_classes(self) -> int:
        """K."""
        return self.head.out_features


def build_classifier(
    backbone: str,
    *,
    num_classes: int,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    seed: int,
) -> Classifier:
    """Build a classifier; its random weights depend only on `seed` and are equal for all arms.

    Raises:
        UnknownNameError: for a backbone that is not registered.
    """
    check_count("num_classes", num_classes, at_least=2)
    entry = BACKBONES[backbone]
    with seeded(seed, "weights"):
        return Classifier(
            entry.build(),
            channels=entry.channels,
            num_classes=num_classes,
            mean=mean,
            std=std,
            explanation_layer=entry.explanation_layer,
        )


def target_scores(scores: Tensor, targets: Tensor, max_target: int) -> Tensor:
    """Return the score of each row's target, (n,), from scores (n, K).

    Args:
        max_target: maximum of all targets, passed in to avoid a synchronisation with the device.

    Raises:
        InvalidInputError: for a target that the model does not have.
    """
    if max_target >= scores.shape[1]:
        raise InvalidInputError(
            f"targets: expected classes in [0, {scores.shape[1]}), got {max_target}"
        )
    return torch.gather(scores, 1, targets[:, None])[:, 0]


def mean_colour(model: object) -> tuple[float, float, float] | None:
    """Return the RGB colour in [0, 1] that a model normalises to zero; None if not declared."""
    declared = getattr(model, "mean", None)
    if not isinstance(declared, Tensor) or declared.numel() != 3:
        return None
    red, green, blue = declared.detach().flatten().tolist()
    return red, green, blue


def logits_of(result: Any) -> Tensor:
    """Return the logits from a model's result, a tensor (N, K) or an `Output`.

    Raises:
        InvalidInputError: if it is neither.
    """
    logits = result.logits if isinstance(result, Output) else result
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise InvalidInputError(
            f"model: expected logits (N, K) from images (N, 3, H, W), got {found}; "
            "wrap it in a function that returns the logits alone"
        )
    return logits


class MicroBatchRunner:
    """Runs a model in micro-batches and counts the images.

    Args:
        model: from images (n, 3, H, W) in [0, 1] to logits (n, K), or an `Output`.
        size: images per forward pass; halved permanently when memory runs out.

    Attributes:
        num_images: images run so far, without the padding of micro-batches.
    """

    def __init__(self, model: LogitsModel, *, size: int) -> None:
        check_count("micro_batch", size)
        self.model = model
        self.size = size
        self.num_images = 0

    def run(
        self,
        num_jobs: int,
        make: Callable[[Tensor], Tensor],
        read: Callable[[Tensor, Tensor], Tensor],
        *,
        device: torch.device,
    ) -> Tensor:
        """Return one result per job; a job is one image.

        Args:
            make: from job indices (n,) to their images (n, 3, H, W).
            read: from logits (n, K) and job indices (n,) to results (n, ...).

        Returns:
            (num_jobs, ...) on `device`.

        Raises:
            OutOfMemoryError: if a single image does not fit.
        """

        def run_jobs(start: int, size: int) -> Tensor:
            jobs = torch.arange(start, start + size, device=device).clamp_(max=num_jobs - 1)
            result = read(logits_of(self.model(make(jobs))), jobs)
            return result[: num_jobs - start]

        results, self.size = _halve_until_it_fits(run_jobs, num_jobs, self.size)
        self.num_images += num_jobs
        return results


def compute_in_batches(compute: Callable[[slice], Tensor], num_images: int) -> Tensor:
    """Apply `compute` to all images at once; halve the batch size while memory runs out.

    Args:
        compute: from a slice of n images to their results (n, ...).

    Returns:
        (num_images, ...).

    Raises:
        OutOfMemoryError: if a single image does not fit.
    """
    return _halve_until_it_fits(
        lambda start, size: compute(slice(start, min(start + size, num_images))),
        num_images,
        num_images,
    )[0]


def _halve_until_it_fits(
    compute: Callable[[int, int], Tensor], num_images: int, size: int
) -> tuple[Tensor, int]:
    """Return the results of `compute(start, size)` over all images, and the final batch size."""
    results: list[Tensor] = []
    start = 0
    while start < num_images:
        result = _compute_if_it_fits(compute, start, size)
        if result is not None:
            results.append(result)
            start += size
        elif size == 1:
            raise OutOfMemoryError(
                "memory ran out with a single image; use a smaller image_size or backbone, "
                "or another --device"
            )
        else:
            size //= 2
    return torch.cat(results), size


def _compute_if_it_fits(
    compute: Callable[[int, int], Tensor], start: int, size: int
) -> Tensor | None:
    # The error is released on return: its traceback references large tensors.
    try:
        return compute(start, size)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error reports that memory ran out, on any device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)


def default_micro_batch(images: Tensor) -> int:
    """Return the number of images per forward pass; on a CPU a batch should fit into caches."""
    if images.device.type != "cpu":
        return MICRO_BATCH_GPU
    is_small = images.shape[-2] * images.shape[-1] <= SMALL_PIXELS
    return MICRO_BATCH_SMALL if is_small else MICRO_BATCH_LARGE


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Use evaluation mode and frozen parameters inside the block; restore both afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.eval()
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
        for module, mode in modes:
            module.training = mode


@contextmanager
def scoring(model: LogitsModel) -> Iterator[None]:
    """Use inference mode, and evaluation mode if the model is a module, inside the block."""
    if isinstance(model, nn.Module):
        with evaluating(model), torch.inference_mode():
            yield
    else:
        with torch.inference_mode():
            yield
