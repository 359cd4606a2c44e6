"""Run a model with a modified activation of one layer, computing only the layers after it.

`torch.fx` traces the model and extracts the part after the layer (the tail). The tail is used if
the logits depend on the layer's output only and the tail reproduces the logits of a full forward
pass. Otherwise the full model runs with a hook that replaces the layer's output. Both give the same
logits.
"""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from lico_bench.models.classifier import logits_of
from lico_bench.models.forwards import is_out_of_memory
from lico_bench.models.tap import evaluating, tap

TOLERANCE = 1e-4  # relative to the largest logit; kernels differ slightly between batch sizes


class Replay:
    """Computes logits for modified activations of one layer.

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
        calls: list[None] = []
        with evaluating(model), torch.no_grad():
            # Trace first: a module that stores tensors of its last forward must store real ones.
            tail = _trace_tail(model, layer)
            with tap(model, layer) as point:
                handle = model.get_submodule(layer).register_forward_hook(
                    lambda *_: calls.append(None)
                )
                try:
                    self.logits = logits_of(model(self._images)).detach()
                finally:
                    handle.remove()
            self.activation = point.activation.detach()
            self._last_call = len(calls)
            self._tail = tail if tail is not None and self._reproduces_logits(tail) else None
        self.is_tail_only = self._tail is not None

    def __call__(self, activation: Tensor, indices: Tensor) -> Tensor:
        """Return logits (n, K) with the layer's output replaced."""
        if self._tail is not None:
            return logits_of(self._tail(activation))
        calls: list[None] = []

        def replace(_module: nn.Module, _inputs: object, _output: object) -> Tensor | None:
            calls.append(None)
            return activation if len(calls) == self._last_call else None

        handle = self._model.get_submodule(self._layer).register_forward_hook(replace)
        try:
            return logits_of(self._model(self._images[indices]))
        finally:
            handle.remove()

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
