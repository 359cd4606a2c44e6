"""Capture or replace the output of one layer; the model is restored afterwards."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from lico_bench.errors import InvalidInputError, UnknownNameError
from lico_bench.models.classifier import evaluating, is_out_of_memory, logits_of

TOLERANCE = 1e-4  # relative to the largest logit; kernels differ slightly between batch sizes


@dataclass
class Tap:
    """Output of the tapped layer in its last call, a leaf tensor for gradients."""

    layer: str
    num_calls: int = 0
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
        point.num_calls += 1
        point._activation = output.detach().requires_grad_()
        return point._activation.clone()  # a copy: the next layer may write in place

    with evaluating(model), module.register_forward_hook(capture):
        yield point


class Replay:
    """Computes logits for modified activations of one layer, from the layers after it if possible.

    `torch.fx` traces the model and extracts the part after the layer (the tail). The tail is used
    if the logits depend on the layer's output only and the tail reproduces the logits of a full
    forward pass. Otherwise the full model runs with a hook that replaces the layer's output.

    Call it, inside `scoring(model)`, with activations (n, C, h, w), which it may overwrite, and the
    indices (n,) of their images; it returns logits (n, K).

    Args:
        images: (N, 3, H, W) in [0, 1].
        layer: dotted name of a module whose output is (N, C, h, w). If a forward pass calls it more
            than once, the last call is replaced.

    Attributes:
        activation: (N, C, h, w) unmodified output of the layer.
        logits: (N, K) of the unmodified images.
        is_tail_only: whether a call runs only the layers after `layer`.

    Raises:
        UnknownNameError: if the model has no such module.
        InvalidInputError: if its output is not (N, C, h, w), or the model returns no logits.
    """

    def __init__(self, model: nn.Module, images: Tensor, layer: str) -> None:
        self._model, self._layer = model, layer
        self._images = images.contiguous(memory_format=torch.channels_last)
        with torch.no_grad(), evaluating(model):
            # Trace first: a module that stores tensors of its last forward must store real ones.
            tail = _trace_tail(model, layer)
            with tap(model, layer) as point:
                self.logits = logits_of(model(self._images)).detach()
            self.activation, self._num_calls = point.activation.detach(), point.num_calls
            self._tail = tail if tail is not None and self._reproduces_logits(tail) else None
        self.is_tail_only = self._tail is not None

    def __call__(self, activation: Tensor, indices: Tensor) -> Tensor:
        """Return logits (n, K) with the layer's output replaced."""
        if self._tail is not None:
            return logits_of(self._tail(activation))
        num_calls = 0

        def replace(_module: nn.Module, _inputs: object, _output: object) -> Tensor | None:
            nonlocal num_calls
            num_calls += 1
            return activation if num_calls == self._num_calls else None

        with self._model.get_submodule(self._layer).register_forward_hook(replace):
            return logits_of(self._model(self._images[indices]))

    def _reproduces_logits(self, tail: nn.Module) -> bool:
        try:
            logits = logits_of(tail(self.activation.clone()))
        except Exception as error:  # user code may raise anything when run in part
            if is_out_of_memory(error):
                raise
            return False
        if logits.shape != self.logits.shape:
            return False
        gap = (logits - self.logits).abs().max()
        return bool(gap <= TOLERANCE * self.logits.abs().max())


class _Tracer(fx.Tracer):
    """Treats `layer` as a leaf, and other modules as torch.fx does."""

    def __init__(self, layer: str) -> None:
        super().__init__()
        self._layer = layer

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return name == self._layer or super().is_leaf_module(module, name)


def _trace_tail(model: nn.Module, layer: str) -> nn.Module | None:
    """Return the network after the layer, or None if it cannot be extracted."""
    try:
        graph = _Tracer(layer).trace(model)
    except Exception:  # a forward that branches on values or cannot be traced otherwise
        return None
    calls = [node for node in graph.nodes if node.op == "call_module" and node.target == layer]
    (output,) = (node for node in graph.nodes if node.op == "output")
    if not calls:
        return None
    needed = _ancestors(output, until=calls[-1])
    if any(node.op == "placeholder" for node in needed):
        return None
    tail = fx.Graph()
    copies = {calls[-1]: tail.placeholder("activation")}
    for node in graph.nodes:  # in execution order
        if node in needed:
            copies[node] = tail.node_copy(node, copies.__getitem__)
    return fx.GraphModule(model, tail)


def _ancestors(node: fx.Node, *, until: fx.Node) -> set[fx.Node]:
    """Return `node` and all its inputs, without `until` and the nodes that only `until` needs."""
    found = {node}
    queue = [node]
    while queue:
        for parent in queue.pop().all_input_nodes:
            if parent is not until and parent not in found:
                found.add(parent)
                queue.append(parent)
    return found
