"""A user's own classifier: made, filled with weights, normalised, tried on an image.

The network stays the user's and its layers keep their names: images are normalised by a hook on
its input, not by a wrapper around it, which would put a prefix before every name.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from lico_bench.errors import InvalidInputError, UnknownNameError
from lico_bench.models.classifier import declare_mean_colour
from lico_bench.models.forwards import scoring
from lico_bench.models.normalisation import (
    IMAGENET,
    NO_NORMALISATION,
    Normalisation,
    parse_normalisation,
)
from lico_bench.models.tap import explanation_layer, tap
from lico_bench.models.user_factory import build_network
from lico_bench.models.user_weights import fill_network, weights_digest
from lico_bench.records import Output

IMAGENET_CLASSES = 1000


@dataclass(frozen=True)
class UserModel:
    """A network in evaluation mode that takes images in [0, 1], and what it is made of.

    Attributes:
        title: the factory's name, with that of its file.
        reference: what the user wrote.
        weights: the file; None takes what the factory made.
        digest: hex SHA-256 of all parameters and buffers.
        layer: the one named by the user.
        notes: sentences that the user should read.
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
        """The layer that methods look at unless they name another; None if nothing says it."""
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
    """The user's model, ready to be explained.

    Args:
        reference: `package.module:name` or `path/to/file.py:name` of a function without arguments,
            an `nn.Module` class or an instance.
        weights: safetensors, or a state dict saved by torch.
        layer: dotted name of the layer that methods look at.
        normalise: `imagenet`, `none`, or `m1,m2,m3/s1,s2,s3`; None takes imagenet for networks of
            torchvision and none for others.

    Raises:
        InvalidInputError: for a reference, factory or normalisation that is not as said.
        MissingDataError: for a file or module that is not there.
        BrokenFileError: for weights that are unsafe, torn, or of another model.
        UnknownNameError: for a layer that the network does not have; near matches are named.
    """
    network = build_network(reference)
    if layer is not None:
        _check_layer(network, layer)  # before the weights are read, which may take a while
    notes = [] if weights is None else list(fill_network(network, weights))
    if not any(True for _ in network.parameters()):
        raise InvalidInputError(f"model '{reference}': expected parameters, got none")
    lazy = (UninitializedParameter, UninitializedBuffer)
    if any(isinstance(tensor, lazy) for tensor in chain(network.parameters(), network.buffers())):
        raise InvalidInputError(
            f"model '{reference}': a lazy layer has no parameters yet; let its factory run it once "
            "on an image, or give --weights"
        )
    if weights is None:
        notes.append(f"{reference}: no --weights, so those that the factory made are taken")
    if network.training:
        notes.append(f"{reference}: handed over in training mode, scored in evaluation mode")
    normalisation = _normalisation_of(network, normalise)
    if layer is not None:
        open_network: Any = network
        open_network.explanation_layer = layer  # as our own classifiers declare it
    digest = weights_digest(network)
    network.eval().requires_grad_(False).to(device)
    if normalisation != NO_NORMALISATION:
        network.register_forward_pre_hook(_Normalise(normalisation))
        declare_mean_colour(network, normalisation.mean)
    title = _title_of(reference)
    return UserModel(network, title, reference, weights, digest, normalisation, layer, tuple(notes))


def is_of_torchvision(network: nn.Module) -> bool:
    """Whether its class comes from torchvision, whose classifiers want ImageNet's normalisation."""
    return type(network).__module__.partition(".")[0] == "torchvision"


def imagenet_names(network: nn.Module, num_classes: int) -> tuple[str, ...] | None:
    """Names of ImageNet's classes for a torchvision network with a thousand of them, else None."""
    if not (is_of_torchvision(network) and num_classes == IMAGENET_CLASSES):
        return None
    from torchvision.models import ResNet18_Weights  # seconds to import

    return tuple(ResNet18_Weights.DEFAULT.meta["categories"])


def try_model(model: UserModel, image: Tensor, *, needs_layer: bool) -> int:
    """The number of classes, after one forward of `image` in which everything is checked.

    Args:
        image: (1, 3, H, W) float32 in [0, 1], on the model's device.
        needs_layer: whether a method asks for the model's explanation layer.

    Raises:
        InvalidInputError: if the forward fails, returns no logits, those of one class alone or
            NaN, or if no convolutional layer is named where one is needed.
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
    """The last module with a convolution, in the order of the forward, that gives proper maps.

    Proper maps have more than one position. A guess for a message: where a network ends in several
    branches the last one need not be the best.
    """
    names: list[str] = []
    with _watching(network, names), scoring(network):
        network(image)
    return names[-1] if names else None


def _normalisation_of(network: nn.Module, message: str | None) -> Normalisation:
    if message is not None:
        return parse_normalisation(message)
    return IMAGENET if is_of_torchvision(network) else NO_NORMALISATION


def _title_of(reference: str) -> str:
    """`resnet18` of a module; `net_build` for `build` in net.py, as names in files mean little."""
    place, _, name = reference.rpartition(":")
    title = f"{Path(place).stem}_{name}" if place.endswith(".py") else name
    return re.sub(r"\W+", "_", title)


class _Normalise:
    """Hook on a network's input: images in [0, 1] become what it was trained on."""

    def __init__(self, rules: Normalisation) -> None:
        self.mean = torch.tensor(rules.mean).view(1, 3, 1, 1)
        self.std = torch.tensor(rules.std).view(1, 3, 1, 1)

    def __call__(self, _network: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        images = inputs[0]
        if self.mean.device != images.device:
            self.mean, self.std = self.mean.to(images.device), self.std.to(images.device)
        return ((images - self.mean) / self.std, *inputs[1:])


def _check_layer(network: nn.Module, layer: str) -> None:
    names = [name for name, _ in network.named_modules() if name]
    if layer not in names:
        nearest = difflib.get_close_matches(layer, names, n=3, cutoff=0.3)
        hint = f"; near: {', '.join(nearest)}" if nearest else f"; it has: {', '.join(names[:10])}"
        raise UnknownNameError(f"--layer: the model has no layer '{layer}'{hint}")


def _logits(model: UserModel, image: Tensor) -> Tensor:
    try:
        with scoring(model.network):
            result = model.network(image)
    except Exception as error:
        lines = str(error).strip().splitlines()
        reason = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
        raise InvalidInputError(
            f"model '{model.reference}': its forward fails on an image {tuple(image.shape)} "
            f"({reason}); pass the size it was made for with --image-size"
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
            f"model '{model.reference}': it does not say which layer to explain; name its last "
            f"convolutional layer{hint}, or ask for methods that need none"
        )
    # The tap itself refuses an output that is no map.
    with tap(model.network, layer) as point, torch.no_grad():
        model.network(image)
        height, width = point.activation.shape[2:]
    if height * width == 1:
        guess = suggest_layer(model.network, image)
        hint = f", such as {guess}" if guess else ""
        raise InvalidInputError(
            f"--layer {layer}: its maps have a single position at this image size, so that "
            f"nothing can be located; name an earlier layer{hint}, or a larger --image-size"
        )


@contextmanager
def _watching(network: nn.Module, names: list[str]) -> Iterator[None]:
    """Note the name of each module that gives maps, in the order in which they end."""
    handles = []

    def watch(name: str, module: nn.Module) -> None:
        def note(_module: nn.Module, _inputs: object, output: object) -> None:
            if isinstance(output, Tensor) and output.ndim == 4 and output[0, 0].numel() > 1:
                names.append(name)

        handles.append(module.register_forward_hook(note))

    try:
        for name, module in network.named_modules():
            if name and any(isinstance(part, nn.Conv2d) for part in module.modules()):
                watch(name, module)
        yield
    finally:
        for handle in handles:
            handle.remove()
