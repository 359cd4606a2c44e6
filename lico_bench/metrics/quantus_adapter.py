"""Quantus behind a fence: its complexity and localisation metrics, with the traps shut.

What the fence does, for every metric called here (Quantus 0.6.0):

- Maps are made non-negative and brought to a largest value of 1 image by image, in float64,
  before they are handed over. Quantus' own normalisation divides by the maximum of the batch.
- A map without mass counts as the uniform map, where Quantus divides by zero.
- A ramp rides along as the last row and its score is dropped: Quantus refuses a batch whose maps
  are all flat or all negative, so that a score depended on its neighbours.
- The arrays are copies: two of the metrics write into what they are given.
- No metric that draws at random, loads a baseline by name or makes maps anew goes through Quantus:
  see `robustness` and `randomisation` for those, and `object_ranks` for those that sort.

The one file that loads Quantus (seconds), and only when a metric is first computed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lico_bench.checks import check_choice, check_positive
from lico_bench.metrics import METRICS, Metric, MetricInputs
from lico_bench.records import MetricSpec

LOUD = 1e9  # the index does not depend on a map's scale
SIGNS = ("absolute", "positive")
Array = NDArray[np.float64]


def sparseness(inputs: MetricInputs, *, sign: str = "absolute") -> Tensor:
    """Gini index of the map's absolute values, (N,) in [0, 1): 0 for a flat map.

    With the n values in rising order, Σ_i (2 i - n - 1) a_i / (n Σ a).

    Source: Chalasani et al., ICML 2020.
    """
    # Quantus adds 1e-7 to every value: 0.005 of the mass of a one-pixel map at 224 px.
    return quantus_scores("Sparseness", LOUD * weights_of(inputs.maps, sign))


def complexity(inputs: MetricInputs, *, sign: str = "absolute") -> Tensor:
    """Entropy -Σ p ln p of the map's absolute values as shares p, (N,) in [0, ln(H W)] nats.

    Source: Bhatt et al., IJCAI 2020.
    """
    return quantus_scores("Complexity", weights_of(inputs.maps, sign))


def effective_complexity(
    inputs: MetricInputs, *, eps: float = 0.05, sign: str = "absolute"
) -> Tensor:
    """Share of the pixels whose absolute value is above `eps` of the map's largest, (N,) in (0, 1].

    Source: Nguyen & Martínez, 2020 (arXiv 2007.07584).
    Differs: a share of the pixels in place of their number, above a share of the map's own
    maximum; Quantus compares with 1e-5 in whatever unit the map has.
    """
    check_positive("effective_complexity: eps", eps)
    counted = quantus_scores("EffectiveComplexity", weights_of(inputs.maps, sign), eps=eps)
    return counted / inputs.maps[0].numel()


def mass_accuracy(inputs: MetricInputs, *, sign: str = "positive") -> Tensor:
    """Share of the map's positive mass that lies on the region, (N,) in [0, 1].

    NaN where the region is empty; a map without positive values scores the region's area share.

    Source: Arras et al., Information Fusion 2022 (CLEVR-XAI), relevance mass accuracy.
    """
    regions = inputs.known_regions.cpu()
    weights = weights_of(inputs.maps, sign)
    is_defined = regions.flatten(1).any(1)
    return _region_scores("RelevanceMassAccuracy", weights, regions, is_defined)


def localisation_auc(inputs: MetricInputs) -> Tensor:
    """Area under the ROC curve of "on the region" by the map's value, (N,) in [0, 1].

    The chance that a pixel on the region has a larger value than one beside it, ties half. NaN
    where the region is empty or fills the image; 0.5 for a flat map.

    Source: Fawcett, Pattern Recognition Letters 2006, as in Quantus.
    """
    regions = inputs.known_regions.cpu()
    values = inputs.maps.detach().cpu().double().numpy()
    is_defined = regions.flatten(1).any(1) & ~regions.flatten(1).all(1)
    return _region_scores("AUC", values, regions, is_defined)


def weights_of(maps: Tensor, sign: str) -> Array:
    """Maps as non-negative weights (N, H, W) with a largest value of 1, float64, a fresh array.

    `absolute` takes the size of each value, `positive` leaves out what speaks against the class. A
    map of zeros becomes the uniform map.
    """
    check_choice("sign", sign, SIGNS)
    values = maps.detach().cpu().double()
    values = values.abs() if sign == "absolute" else values.clamp_min(0)
    largest = values.amax(dim=(1, 2), keepdim=True)
    return torch.where(largest > 0, values / largest, 1.0).numpy()


def quantus_scores(
    metric: str, maps: Array, *, regions: Tensor | None = None, **options: Any
) -> Tensor:
    """What a metric of Quantus says of each map, (N,) float32 on the CPU, not below 0.

    Args:
        metric: a class of Quantus that scores maps row by row, without a model.
        maps: (N, H, W) float64, finite.
        regions: (N, H, W) bool, none of them empty.
        options: of the metric's constructor.
    """
    import quantus  # seconds

    height, width = maps.shape[1:]
    ramp = np.linspace(0, 1, height * width).reshape(1, height, width)
    rows = np.concatenate([maps, ramp])[:, None]
    scorer = getattr(quantus, metric)(
        abs=regions is None,  # changes nothing of weights, and Quantus warns where it is off
        normalise=False,
        return_aggregate=False,
        disable_warnings=True,
        display_progressbar=False,
        **options,
    )
    scores = scorer(
        model=None,
        x_batch=np.zeros_like(rows),  # looked at for its shape
        y_batch=np.zeros(len(rows), dtype=np.int64),
        a_batch=rows,
        s_batch=None if regions is None else np.concatenate([regions, _corner(regions)])[:, None],
        channel_first=True,
        batch_size=len(rows),
    )
    return torch.from_numpy(np.asarray(scores, dtype=np.float32)[:-1]).clamp_min(0)


def _region_scores(metric: str, maps: Array, regions: Tensor, is_defined: Tensor) -> Tensor:
    """`quantus_scores` where defined, else NaN; the library warns of regions it cannot use."""
    usable = torch.where(is_defined[:, None, None], regions, _corner(regions))
    return torch.where(is_defined, quantus_scores(metric, maps, regions=usable), torch.nan)


def _corner(regions: Tensor) -> Tensor:
    """(1, H, W) bool, the first pixel: stands in where there is no region to ask about."""
    corner = torch.zeros_like(regions[:1])
    corner[0, 0, 0] = True
    return corner


COMPARE_AREA = "a uniform map scores the region's area share, so compare with the random map"
_FENCED = "maps made non-negative and scaled to a maximum of 1 one by one"
for _name, _title, _compute, _facts in (
    (
        "sparseness", "Sparseness", sparseness,
        {
            "bounds": (0.0, 1.0), "unit": "Gini index", "source": "Chalasani et al., ICML 2020",
            "pitfalls": f"no merit: a sharper map is not a better one; {_FENCED}",
        },
    ),
    (
        "complexity", "Complexity", complexity,
        {
            "bounds": (0.0, None), "unit": "nats", "source": "Bhatt et al., IJCAI 2020",
            "pitfalls": f"no merit; its largest value ln(H W) grows with the image; {_FENCED}",
        },
    ),
    (
        "effective_complexity", "Effective complexity", effective_complexity,
        {
            "bounds": (0.0, 1.0), "unit": "share of pixels", "source": "Nguyen & Martínez, 2020",
            "pitfalls": (
                "no merit; depends on eps, here a share of each map's maximum; Quantus counts "
                f"pixels above an absolute 1e-5; {_FENCED}"
            ),
        },
    ),
):  # fmt: skip
    METRICS.add(
        _name,
        Metric(
            MetricSpec(
                name=_name, title=_title, higher_is_better=None, category="complexity", **_facts
            ),
            _compute,
        ),
    )  # fmt: skip
METRICS.add(
    "mass_accuracy",
    Metric(
        MetricSpec(
            name="mass_accuracy",
            title="Mass accuracy",
            higher_is_better=True,
            bounds=(0.0, 1.0),
            unit="share of mass",
            source="Arras et al., Information Fusion 2022",
            needs=("maps", "regions"),
            category="localisation",
            pitfalls=f"{COMPARE_AREA}; negative values are left out, where Quantus' ratio with "
            "them leaves [0, 1]",
        ),
        mass_accuracy,
    ),
)
METRICS.add(
    "localisation_auc",
    Metric(
        MetricSpec(
            name="localisation_auc",
            title="Localisation AUC",
            higher_is_better=True,
            bounds=(0.0, 1.0),
            unit="probability",
            source="Fawcett, 2006",
            needs=("maps", "regions"),
            category="localisation",
            pitfalls="looks at order alone: a faint halo around the object counts like a peak; "
            "undefined, and skipped, where the region fills the image",
        ),
        localisation_auc,
    ),
)
