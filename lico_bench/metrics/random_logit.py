"""Does a map change with the class it is asked for?

Computed here and not by Quantus, which seeds NumPy's global state, draws the other classes by a
picture's place in its batch, and takes the structural similarity of flattened rows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lico_bench.errors import InvalidInputError
from lico_bench.metrics import METRICS, Effort, Evidence, Metric
from lico_bench.metrics.map_similarity import similarity as similarity_of
from lico_bench.models import logits_of
from lico_bench.models.forwards import scoring
from lico_bench.records import MetricSpec, Protocol
from lico_bench.runtime import make_generator


def random_logit(evidence: Evidence, *, similarity: str = "ssim") -> Tensor:
    """Similarity of the map to that of another class, drawn evenly by picture, (N,) in [-1, 1].

    1 where the method does not look at the class.

    Args:
        similarity: `ssim` or `spearman`, see `map_similarity`.

    Source: Sixt et al., ICML 2020.
    """
    others = _other_classes(evidence)
    found = evidence.explain(evidence.images, others).to(evidence.maps)
    return similarity_of(evidence.maps, found, similarity)


def _other_classes(evidence: Evidence) -> Tensor:
    network = evidence.network if evidence.network is not None else evidence.model
    with scoring(network):
        num_classes = logits_of(network(evidence.images[:1])).shape[1]
    if num_classes < 2:
        raise InvalidInputError("random_logit: expected a model with at least two classes, got one")
    drawn = torch.cat(
        [
            torch.randint(
                num_classes - 1, (1,), generator=make_generator(
                    evidence.seed, f"random_logit:{evidence.key(row)}"
                )
            )
            for row in range(len(evidence.images))
        ]
    ).to(evidence.targets)  # fmt: skip
    return drawn + (drawn >= evidence.targets)


def one_map(_protocol: Protocol, **_rules: object) -> Effort:
    """The map of one other class."""
    return Effort(explains=1)


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
                "no ranking: near 1 the method does not look at the class, below that the value "
                "depends on how alike the two classes are; smooth maps are alike to begin with"
            ),
        ),
        random_logit,
        effort=one_map,
    ),
)
