"""Time of optimal transport, forward and with its gradient, against POT as shipped.

The same points, cost matrix included: (128, 128, 17) problems at epsilon 0.1, rows of 64 values.
POT's side is `ot.batch.dist_batch` and `ot.solve_batch`, with the gradient it defaults to
("envelope") and with the one through its iterations ("autodiff"). Bar: ours at most 1.15 times.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import ot.batch
import torch
import torch.nn.functional as F
from torch import Tensor

from lico_bench.losses import transport_loss
from lico_bench.runtime import pick_device

BAR = 1.15
SAME = 1e-5  # both sides solve one problem, in float32
WARM_ROUNDS = 2
OF_POT = {"cost": "envelope", "full": "autodiff"}
Loss = Callable[[Tensor, Tensor], Tensor]


def ours(gradient: str, epsilon: float) -> Loss:
    """The loss of this package."""
    return lambda features, text: transport_loss(
        features,
        text,
        epsilon=epsilon,
        gradient=gradient,  # type: ignore[arg-type]
    )


def shipped(gradient: str, epsilon: float) -> Loss:
    """The same loss, written with POT alone; "envelope" holds the plan as well."""

    def loss(features: Tensor, text: Tensor) -> Tensor:
        cost = ot.batch.dist_batch(F.normalize(features, dim=2), F.normalize(text, dim=2))
        solved = ot.solve_batch(
            cost, epsilon, max_iter=100, tol=1e-3, method="log_sinkhorn", grad=OF_POT[gradient]
        )
        value: Tensor = (solved.plan * cost).sum((1, 2)).mean()
        return value

    return loss


def seconds(loss: Loss, features: Tensor, text: Tensor) -> tuple[float, float]:
    """Of one forward, and of forward and backward."""
    started = time.perf_counter()
    value = loss(features, text)
    _wait(value)
    forward = time.perf_counter() - started
    torch.autograd.grad(value, (features, text))
    _wait(value)
    return forward, time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--channels", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=17)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--epsilon", type=float, default=0.1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", default="auto")
    requested = parser.parse_args()

    device = pick_device(requested.device)
    rng = torch.Generator().manual_seed(0)
    features, text = (
        torch.randn(requested.batch, rows, requested.width, generator=rng)
        .to(device)
        .requires_grad_()
        for rows in (requested.channels, requested.tokens)
    )
    shape = (requested.batch, requested.channels, requested.tokens)
    print(f"{shape}, epsilon {requested.epsilon:g}, {device}, threads {torch.get_num_threads()}")
    missed = False
    for gradient, grad in OF_POT.items():
        sides = {
            "ours": ours(gradient, requested.epsilon),
            "POT": shipped(gradient, requested.epsilon),
        }
        values = [loss(features, text).item() for loss in sides.values()]
        if abs(values[0] - values[1]) > SAME:
            raise SystemExit(f"expected one value on both sides, got {values}")
        took: dict[str, list[tuple[float, float]]] = {side: [] for side in sides}
        for _ in range(WARM_ROUNDS + requested.rounds):
            for side, loss in sides.items():
                took[side].append(seconds(loss, features, text))
        for part, name in enumerate(("forward", "forward and backward")):
            mine, theirs = ([t[part] for t in took[s][WARM_ROUNDS:]] for s in ("ours", "POT"))
            ratio = statistics.median(a / b for a, b in zip(mine, theirs, strict=True))
            print(
                f"{gradient:5} {name:21} ours {statistics.median(mine):.4f} s, "
                f"POT ({grad}) {statistics.median(theirs):.4f} s, ratio {ratio:.3f}"
            )
            missed |= ratio > BAR
    sys.exit(missed)


def _wait(value: Tensor) -> None:
    if value.is_cuda:
        torch.cuda.synchronize(value.device)


if __name__ == "__main__":
    main()
