"""Ask a model again with another output of one layer, running only what comes after it.

The model is traced with `torch.fx` and cut behind the layer. The cut is used if the logits depend
on nothing else before it, and only after it has given the logits of a whole forward; else the model
is called as it is, with a hook that replaces the layer's output. Both give the same answer.
"""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from lico_bench.models.classifier import logits_of
from lico_bench.models.forwards import is_out_of_memory
from lico_bench.models.tap import evaluating, tap

TOLERANCE = 1e-4  # of the largest logit: kernels differ between batch sizes, a wrong cut does not


class Replay:
    """A model's answers to images whose activations at one layer are changed by hand.

    Call it, inside `scoring(model)`, with activations (n, C, h, w), which it may write to, and the
    numbers (n,) of their images; it gives logits (n, K).

    Args:
        images: (N, 3, H, W) in [0, 1].
        layer: dotted name of a module whose output is (N, C, h, w); where it is called more than
            once in a forward, the last call counts.

    Attributes:
        activation: (N, C, h, w) as the layer gives them.
        logits: (N, K) of the unchanged images.
        is_tail_only: whether a replay runs no more than the network after the layer.

    Raises:
        UnknownNameError: if the model has no such module.
        InvalidInputError: if its output is no map, or the model gives no logits.
    """

    def __init__(self, model: nn.Module, images: Tensor, layer: str) -> None:
        self._model, self._layer = model, layer
        self._images = images.contiguous(memory_format=torch.channels_last)
        calls: list[None] = []
        with evaluating(model), torch.no_grad():
            # Traced first: a forward that keeps tensors on the module shall keep real ones.
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
            self._tail = tail if tail is not None and self._is_right(tail) else None
        self.is_tail_only = self._tail is not None

    def __call__(self, activation: Tensor, numbers: Tensor) -> Tensor:
        """Logits (n, K) with the layer's output replaced."""
        if self._tail is not None:
            return logits_of(self._tail(activation))
        calls: list[None] = []

        def replace(_module: nn.Module, _inputs: object, _output: object) -> Tensor | None:
            calls.append(None)
            return activation if len(calls) == self._last_call else None

        handle = self._model.get_submodule(self._layer).register_forward_hook(replace)
        try:
            return logits_of(self._model(self._images[numbers]))
        finally:
            handle.remove()

    def _is_right(self, tail: nn.Module) -> bool:
        try:
            logits = logits_of(tail(self.activation.clone()))
        except Exception as error:  # a stranger's code, run in a way it was not written for
            if is_out_of_memory(error):
                raise
            return False
        if logits.shape != self.logits.shape:
            return False
        gap = (logits - self.logits).abs().max()
        return bool(gap <= TOLERANCE * self.logits.abs().max())


class _Tracer(fx.Tracer):
    """Sees `layer` as one step, and other modules as torch.fx does."""

    def __init__(self, layer: str) -> None:
        super().__init__()
        self._layer = layer

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return name == self._layer or super().is_leaf_module(module, name)


def _trace_tail(model: nn.Module, layer: str) -> nn.Module | None:
    """The network from the layer's output to the model's, or None where it cannot be cut out."""
    try:
        graph = _Tracer(layer).trace(model)
    except Exception:  # a forward that branches on values, or anything else a tracer cannot follow
        return None
    cuts = [node for node in graph.nodes if node.op == "call_module" and node.target == layer]
    (output,) = (node for node in graph.nodes if node.op == "output")
    if not cuts:
        return None
    needed = _ancestors(output, until=cuts[-1])
    if any(node.op == "placeholder" for node in needed):
        return None
    tail = fx.Graph()
    copies = {cuts[-1]: tail.placeholder("activation")}
    for node in graph.nodes:  # in the order they run
        if node in needed:
            copies[node] = tail.node_copy(node, copies.__getitem__)
    return fx.GraphModule(model, tail)


def _ancestors(node: fx.Node, *, until: fx.Node) -> set[fx.Node]:
    """`node` and all it is made from, without `until` and what only that is made from."""
    found = {node}
    waiting = [node]
    while waiting:
        for parent in waiting.pop().all_input_nodes:
            if parent is not until and parent not in found:
                found.add(parent)
                waiting.append(parent)
    return found
