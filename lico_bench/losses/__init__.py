"""LICO's auxiliary losses: manifold matching and optimal transport."""

from lico_bench.losses.manifold import affinity, manifold_matching
from lico_bench.losses.transport import (
    Transport,
    sinkhorn,
    solve_transport,
    transport_cost,
    transport_loss,
)

__all__ = [
    "Transport",
    "affinity",
    "manifold_matching",
    "sinkhorn",
    "solve_transport",
    "transport_cost",
    "transport_loss",
]
