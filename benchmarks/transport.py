"""Time of the transport loss, forward and with gradient, compared with POT.

Both sides compute the cost matrix of the same points: (128, 128, 17) problems at epsilon 0.1, rows
of 64 values. POT's side uses `ot.batch.dist_batch` and `ot.solve_batch`, with its default gradient
("envelope") and with the gradient through its iterations ("autodiff"). Limit: a ratio of 1.15.
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
MAX_DIFFERENCE = 1e-5  # between the float32 values of both sides
WARM_ROUNDS = 2
OF_POT = {"cost": "envelope", "full": "autodiff"}
Loss = Callable[[Tensor, Tensor], Tensor]


def ours(gradient: str, epsilon: float) -> Loss:
    """Return the loss of this package."""
    return lambda features, text: transport_loss(
        features,
        text,
        epsilon=epsilon,
        gradient=gradient,  # type: ignore[arg-type]
    )


def pot_loss(gradient: str, epsilon: float) -> Loss:
    """Return the same loss computed with POT only; "envelope" also treats the plan as constant."""

    def loss(features: Tensor, text: Tensor) -> Tensor:
        cost = ot.batch.dist_batch(F.normalize(features, dim=2), F.normalize(text, dim=2))
        solved = ot.solve_batch(
            cost, epsilon, max_iter=100, tol=1e-3, method="log_sinkhorn", grad=OF_POT[gradient]
        )
        value: Tensor = (solved.plan * cost).sum((1, 2)).mean()
        return value

    return loss


def seconds(loss: Loss, features: Tensor, text: Tensor) -> tuple[float, float]:
    """Return the seconds of one forward pass, and of forward and backward pass."""
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
    args = parser.parse_args()

    device = pick_device(args.device)
    rng = torch.Generator().manual_seed(0)
    features, text = (
        torch.randn(args.batch, rows, args.width, generator=rng).to(device).requires_grad_()
        for rows in (args.channels, args.tokens)
    )
    shape = (args.batch, args.channels, args.tokens)
    print(f"{shape}, epsilon {args.epsilon:g}, {device}, threads {torch.get_num_threads()}")
    missed = False
    for gradient, grad in OF_POT.items():
        sides = {
            "ours": ours(gradient, args.epsilon),
            "POT": pot_loss(gradient, args.epsilon),
        }
        values = [loss(features, text).item() for loss in sides.values()]
        if abs(values[0] - values[1]) > MAX_DIFFERENCE:
            raise SystemExit(f"expected equal values on both sides, got {values}")
        took: dict[str, list[tuple[float, float]]] = {side: [] for side in sides}
        for _ in range(WARM_ROUNDS + args.rounds):
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
