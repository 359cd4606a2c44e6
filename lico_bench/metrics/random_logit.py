"""Does a map change with the target class?

Quantus is not used: it seeds NumPy's global state, draws the other class by the position of an
image in its batch, and computes the structural similarity of flattened rows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lico_bench.errors import InvalidInputError
from lico_bench.metrics import METRICS, Metric, MetricCost, MetricInputs
from lico_bench.metrics.map_similarity import similarity as similarity_of
from lico_bench.models import logits_of
from lico_bench.models.forwards import scoring
from lico_bench.records import MetricSpec, Protocol
from lico_bench.runtime import make_generator


def random_logit(inputs: MetricInputs, *, similarity: str = "ssim") -> Tensor:
    """Similarity of the map to that of another class, (N,) in [-1, 1].

    The other class is drawn uniformly for each image. A value of 1 means that the method ignores
    the class.

    Args:
        similarity: `ssim` or `spearman`, see `map_similarity`.

    Source: Sixt et al., ICML 2020.
    """
    others = _other_classes(inputs)
    other_maps = inputs.explain(inputs.images, others).to(inputs.maps)
    return similarity_of(inputs.maps, other_maps, similarity)


def _other_classes(inputs: MetricInputs) -> Tensor:
    """Draw for each image a class (N,) other than its target, seeded by the image."""
    network = inputs.network if inputs.network is not None else inputs.model
    with scoring(network):
        num_classes = logits_of(network(inputs.images[:1])).shape[1]
    if num_classes < 2:
        raise InvalidInputError("random_logit: expected a model with at least two classes, got one")
    drawn = torch.cat(
        [
            torch.randint(
                num_classes - 1, (1,), generator=make_generator(
                    inputs.seed, f"random_logit:{inputs.key(row)}"
                )
            )
            for row in range(len(inputs.images))
        ]
    ).to(inputs.targets)  # fmt: skip
    return drawn + (drawn >= inputs.targets)


def random_logit_cost(_protocol: Protocol, **_rules: object) -> MetricCost:
    """One map of another class."""
    return MetricCost(explains=1)


METRICS.add(
    "random_logit",
    Metric(
        MetricSpec(
            name="random_logit",
            title="Random logit",
            higher_is_better=None,
            bounds=(-1.0, 1.0),
            unit="similarity",
            source="Sixt et al., ICML 2020",
            needs=("maps", "explainer", "network"),
            category="randomisation",
            cost="explains",
            pitfalls=(
                "not a ranking: near 1 the method ignores the class; lower values depend on the "
                "similarity of the two classes; smooth maps are similar in any case"
            ),
        ),
        random_logit,
        cost=random_logit_cost,
    ),
)
