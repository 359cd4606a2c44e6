"""Capture the output of one layer; the model is restored afterwards, also after an error."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn

from lico_bench.errors import InvalidInputError, UnknownNameError


@dataclass
class Tap:
    """Output of the tapped layer in the last forward pass, a leaf tensor for gradients."""

    layer: str
    _activation: Tensor | None = None

    @property
    def activation(self) -> Tensor:
        """(N, C, h, w).

        Raises:
            InvalidInputError: if no forward pass has reached the layer.
        """
        if self._activation is None:
            raise InvalidInputError(
                f"layer '{self.layer}' was not reached by the forward pass; name one that is used"
            )
        return self._activation


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


def explanation_layer(model: nn.Module, layer: str | None = None) -> str:
    """Return `layer` if given, else the layer that the model declares, else `layer4` of a ResNet.

    Raises:
        InvalidInputError: if there is none.
    """
    if layer is not None:
        return layer
    declared = getattr(model, "explanation_layer", None)
    if isinstance(declared, str):
        return declared
    if "torchvision" in sys.modules:  # not imported here: it takes seconds
        from torchvision.models import ResNet

        if isinstance(model, ResNet):
            return "layer4"
    raise InvalidInputError(
        "the model does not declare a layer to explain; pass layer='...', "
        "the dotted name of its last convolutional module"
    )


def find_layer(model: nn.Module, layer: str, *, option: str = "") -> nn.Module:
    """Return the module with the dotted name `layer`.

    Args:
        option: command line option that gave the name, for the message.

    Raises:
        UnknownNameError: if the model has no such module; the message names close matches.
    """
    modules: dict[str, nn.Module] = {name: part for name, part in model.named_modules() if name}
    if layer not in modules:
        nearest = difflib.get_close_matches(layer, modules, n=3, cutoff=0.3)
        hint = f"near: {', '.join(nearest)}" if nearest else f"it has: {', '.join([*modules][:10])}"
        prefix = f"{option}: " if option else ""
        raise UnknownNameError(f"{prefix}the model has no layer '{layer}'; {hint}")
    return modules[layer]


@contextmanager
def tap(model: nn.Module, layer: str) -> Iterator[Tap]:
    """Capture the output of `layer` in forward passes of the block, in evaluation mode.

    The output is detached and passed on as a new leaf. A gradient on it therefore costs one forward
    pass and a backward pass through the layers after it only.

    Raises:
        UnknownNameError: if the model has no such module; the message names close matches.
        InvalidInputError: if the layer's output is not (N, C, h, w).
    """
    module = find_layer(model, layer)
    point = Tap(layer)

    def capture(_module: nn.Module, _inputs: object, output: object) -> Tensor:
        if not isinstance(output, Tensor) or output.ndim != 4:
            found = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise InvalidInputError(
                f"layer '{layer}': expected maps (N, C, h, w), got {found}; "
                "name a convolutional layer"
            )
        point._activation = output.detach().requires_grad_()
        return point._activation.clone()  # a copy: the next layer may write in place

    with evaluating(model):
        handle = module.register_forward_hook(capture)
        try:
            yield point
        finally:
            handle.remove()
