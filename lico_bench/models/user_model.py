"""User models: build the network, load weights, normalise its input, check it on an image.

A hook on the network's input normalises images. A wrapper module would add a prefix to the name of
every layer.
"""

from __future__ import annotations

import re
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from lico_bench.errors import InvalidInputError
from lico_bench.models.classifier import scoring
from lico_bench.models.tap import explanation_layer, find_layer, tap
from lico_bench.models.user_options import (
    IMAGENET,
    NO_NORMALISATION,
    Normalisation,
    build_network,
    parse_normalisation,
)
from lico_bench.models.weight_files import fill_network, weights_digest
from lico_bench.records import Output

IMAGENET_CLASSES = 1000


@dataclass(frozen=True)
class UserModel:
    """A user's network in evaluation mode that takes images in [0, 1], and its origin.

    Attributes:
        title: name of the factory, with that of its file.
        reference: as given by the user.
        weights: path of the weights file; None for the weights of the factory.
        digest: hex SHA-256 of all parameters and buffers.
        layer: explanation layer given by the user.
        notes: messages for the user.
    """

    network: nn.Module
    title: str
    reference: str
    weights: Path | None
    digest: str
    normalisation: Normalisation
    layer: str | None
    notes: tuple[str, ...]

    @property
    def explained_layer(self) -> str | None:
        """Layer that methods explain by default; None if it is unknown."""
        try:
            return explanation_layer(self.network)
        except InvalidInputError:
            return None


def load_user_model(
    reference: str,
    *,
    weights: Path | None = None,
    layer: str | None = None,
    normalise: str | None = None,
    device: torch.device | str = "cpu",
) -> UserModel:
    """Build a user model that is ready to be explained.

    Args:
        reference: `package.module:name` or `path/to/file.py:name` of a function without arguments,
            an `nn.Module` class or an instance.
        weights: safetensors, or a state dict saved by torch.
        layer: dotted name of the layer that methods explain.
        normalise: `imagenet`, `none`, or `m1,m2,m3/s1,s2,s3`; None selects imagenet for networks of
            torchvision and none for others.

    Raises:
        InvalidInputError: for an invalid reference, factory or normalisation.
        MissingDataError: for a missing file or module.
        BrokenFileError: for weights that are unsafe, damaged, or of another model.
        UnknownNameError: for a layer that the network does not have; names close matches.
    """
    network = build_network(reference)
    if layer is not None:
        # before reading the weights, which can take long
        find_layer(network, layer, option="--layer")
    notes = [] if weights is None else list(fill_network(network, weights))
    if not any(True for _ in network.parameters()):
        raise InvalidInputError(f"model '{reference}': expected parameters, got none")
    lazy = (UninitializedParameter, UninitializedBuffer)
    if any(isinstance(tensor, lazy) for tensor in chain(network.parameters(), network.buffers())):
        raise InvalidInputError(
            f"model '{reference}': a lazy layer has no parameters yet; run the network once on an "
            "image in its factory, or pass --weights"
        )
    if weights is None:
        notes.append(f"{reference}: no --weights given; the weights of the factory are used")
    if network.training:
        notes.append(f"{reference}: was in training mode; it is scored in evaluation mode")
    if normalise is not None:
        normalisation = parse_normalisation(normalise)
    else:
        normalisation = IMAGENET if is_of_torchvision(network) else NO_NORMALISATION
    if layer is not None:
        untyped_network: Any = network
        untyped_network.explanation_layer = layer  # as `Classifier` declares it
    digest = weights_digest(network)
    network.eval().requires_grad_(False).to(device)
    if normalisation != NO_NORMALISATION:
        network.register_forward_pre_hook(_Normalise(normalisation))
        if not hasattr(network, "mean"):  # read by `mean_colour`
            network.register_buffer("mean", torch.tensor(normalisation.mean), persistent=False)
    source, _, name = reference.rpartition(":")
    title = f"{Path(source).stem}_{name}" if source.endswith(".py") else name
    title = re.sub(r"\W+", "_", title)
    return UserModel(network, title, reference, weights, digest, normalisation, layer, tuple(notes))


def is_of_torchvision(network: nn.Module) -> bool:
    """Whether the class is from torchvision, whose classifiers use ImageNet's normalisation."""
    return type(network).__module__.partition(".")[0] == "torchvision"


def imagenet_names(network: nn.Module, num_classes: int) -> tuple[str, ...] | None:
    """Return ImageNet's class names for a torchvision network with 1000 classes, else None."""
    if not (is_of_torchvision(network) and num_classes == IMAGENET_CLASSES):
        return None
    from torchvision.models import ResNet18_Weights  # takes seconds to import

    return tuple(ResNet18_Weights.DEFAULT.meta["categories"])


def try_model(model: UserModel, image: Tensor, *, needs_layer: bool) -> int:
    """Check a forward pass of `image` and return the number of classes.

    Args:
        image: (1, 3, H, W) float32 in [0, 1], on the model's device.
        needs_layer: whether a method needs the model's explanation layer.

    Raises:
        InvalidInputError: if the forward pass fails, its result is not finite logits of at least
            two classes, or a required convolutional layer is missing.
    """
    logits = _logits(model, image)
    if logits.shape[1] < 2:
        raise InvalidInputError(
            f"model '{model.reference}': expected logits of two classes or more, got one, whose "
            "softmax is always 1; for a sigmoid output x, return torch.cat([0 * x, x], 1)"
        )
    if not logits.isfinite().all():
        raise InvalidInputError(
            f"model '{model.reference}': expected finite logits, got NaN or infinity for the first "
            "image; check the weights and --normalise"
        )
    if needs_layer:
        _check_maps(model, image)
    return int(logits.shape[1])


def suggest_layer(network: nn.Module, image: Tensor) -> str | None:
    """Return the last module, in execution order, whose maps come from a convolution.

    The maps must have more than one position. Used in messages only: in a network that ends in
    several branches, the last one may not be the best.
    """
    names: list[str] = []

    def record(name: str, _module: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output[0, 0].numel() > 1:
            names.append(name)

    with ExitStack() as hooks, scoring(network):
        for name, module in network.named_modules():
            if name and any(isinstance(part, nn.Conv2d) for part in module.modules()):
                hooks.enter_context(module.register_forward_hook(partial(record, name)))
        network(image)
    return names[-1] if names else None


class _Normalise:
    """Forward pre-hook that normalises images in [0, 1]."""

    def __init__(self, normalisation: Normalisation) -> None:
        self.mean = torch.tensor(normalisation.mean).view(1, 3, 1, 1)
        self.std = torch.tensor(normalisation.std).view(1, 3, 1, 1)

    def __call__(self, _network: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        images = inputs[0]
        if self.mean.device != images.device:
            self.mean, self.std = self.mean.to(images.device), self.std.to(images.device)
        return ((images - self.mean) / self.std, *inputs[1:])


def _logits(model: UserModel, image: Tensor) -> Tensor:
    try:
        with scoring(model.network):
            result = model.network(image)
    except Exception as error:
        lines = str(error).strip().splitlines()
        reason = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
        raise InvalidInputError(
            f"model '{model.reference}': its forward fails on an image {tuple(image.shape)} "
            f"({reason}); pass its input size with --image-size"
        ) from error
    logits = result.logits if isinstance(result, Output) else result
    if not isinstance(logits, Tensor):
        part = "[0]" if isinstance(logits, tuple | list) else "['out']"
        part = ".logits" if hasattr(logits, "logits") else part
        raise InvalidInputError(
            f"model '{model.reference}': expected logits (N, K), got {type(logits).__name__}; name "
            f"a module whose forward returns the logits alone, such as network(images){part}"
        )
    if logits.ndim != 2 or logits.shape[0] != 1:
        raise InvalidInputError(
            f"model '{model.reference}': expected logits (1, K) for one image, got "
            f"{tuple(logits.shape)}; name a module that returns one number per class"
        )
    return logits


def _check_maps(model: UserModel, image: Tensor) -> None:
    layer = model.explained_layer
    if layer is None:
        guess = suggest_layer(model.network, image)
        hint = f" such as --layer {guess}" if guess else ""
        raise InvalidInputError(
            f"model '{model.reference}': it does not declare a layer to explain; name its last "
            f"convolutional layer{hint}, or select methods that need none"
        )
    # `tap` raises if the output is not (N, C, h, w).
    with tap(model.network, layer) as point, torch.no_grad():
        model.network(image)
        height, width = point.activation.shape[2:]
    if height * width == 1:
        guess = suggest_layer(model.network, image)
        hint = f", such as {guess}" if guess else ""
        raise InvalidInputError(
            f"--layer {layer}: its maps have a single position at this image size and locate "
            f"nothing; name an earlier layer{hint}, or a larger --image-size"
        )
