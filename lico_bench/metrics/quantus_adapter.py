"""Complexity and localisation metrics of Quantus, with workarounds for its pitfalls.

For every metric called here (Quantus 0.6.0):

- Maps are made non-negative and scaled to a maximum of 1 per image, in float64. Quantus'
  normalisation divides by the maximum of the batch.
- A map without mass counts as a uniform map; Quantus divides by zero.
- A ramp is appended as the last map and its score is dropped. Quantus rejects a batch whose maps
  are all flat or all negative, so that a score would depend on the other maps.
- The arrays are copies, because two of the metrics modify their inputs.
- Metrics that draw at random, load a baseline by name or compute new maps do not use Quantus; see
  `robustness` and `randomisation`. Metrics that sort are in `value_ranks`.

Quantus is only imported here, when a metric is first computed, because the import takes seconds.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lico_bench.checks import check_choice, check_positive
from lico_bench.metrics.metric import MetricInputs, add_metric

SPARSENESS_SCALE = 1e9  # the index is scale-invariant
SIGNS = ("absolute", "positive")
Array = NDArray[np.float64]
NORMALISED = "maps are made non-negative and scaled to a maximum of 1 per image"

_add_descriptive = partial(add_metric, higher_is_better=None, category="complexity")
_add_overlap = partial(
    add_metric,
    higher_is_better=True,
    bounds=(0.0, 1.0),
    needs=("maps", "regions"),
    category="localisation",
)


@_add_descriptive(
    "sparseness",
    title="Sparseness",
    bounds=(0.0, 1.0),
    unit="Gini index",
    source="Chalasani et al., ICML 2020",
    pitfalls=f"not a quality score: a sparser map is not better; {NORMALISED}",
)
def sparseness(inputs: MetricInputs, *, sign: str = "absolute") -> Tensor:
    """Gini index of the map's absolute values, (N,) in [0, 1); 0 for a flat map.

    With the n values in ascending order: Σ_i (2 i - n - 1) a_i / (n Σ a).

    Source: Chalasani et al., ICML 2020.
    """
    # Quantus adds 1e-7 to every value, which is 0.005 of the mass of a one-pixel map at 224 px.
    return quantus_scores("Sparseness", SPARSENESS_SCALE * weights_of(inputs.maps, sign))


@_add_descriptive(
    "complexity",
    title="Complexity",
    bounds=(0.0, None),
    unit="nats",
    source="Bhatt et al., IJCAI 2020",
    pitfalls=f"not a quality score; its maximum is ln(H W); {NORMALISED}",
)
def complexity(inputs: MetricInputs, *, sign: str = "absolute") -> Tensor:
    """Entropy -Σ p ln p of the normalised absolute values p, (N,) in [0, ln(H W)] nats.

    Source: Bhatt et al., IJCAI 2020.
    """
    return quantus_scores("Complexity", weights_of(inputs.maps, sign))


@_add_descriptive(
    "effective_complexity",
    title="Effective complexity",
    bounds=(0.0, 1.0),
    unit="share of pixels",
    source="Nguyen & Martínez, 2020",
    pitfalls="not a quality score; depends on eps, here relative to each map's maximum; Quantus "
    f"counts pixels above an absolute 1e-5; {NORMALISED}",
)
def effective_complexity(
    inputs: MetricInputs, *, eps: float = 0.05, sign: str = "absolute"
) -> Tensor:
    """Share of pixels with an absolute value above `eps` times the maximum, (N,) in (0, 1].

    Source: Nguyen & Martínez, 2020 (arXiv 2007.07584).
    Differs: a share of the pixels instead of their number, and a threshold relative to the map's
    maximum; Quantus uses an absolute threshold of 1e-5.
    """
    check_positive("effective_complexity: eps", eps)
    num_pixels = quantus_scores("EffectiveComplexity", weights_of(inputs.maps, sign), eps=eps)
    return num_pixels / inputs.maps[0].numel()


@_add_overlap(
    "mass_accuracy",
    title="Mass accuracy",
    unit="share of mass",
    source="Arras et al., Information Fusion 2022",
    pitfalls="a uniform map scores the region's area share, so compare with the random map; "
    "negative values are set to 0, while Quantus keeps them and its ratio can leave [0, 1]",
)
def mass_accuracy(inputs: MetricInputs, *, sign: str = "positive") -> Tensor:
    """Share of the map's positive mass on the region, (N,) in [0, 1].

    NaN if the region is empty; a map without positive values scores the region's area share.

    Source: Arras et al., Information Fusion 2022 (CLEVR-XAI), relevance mass accuracy.
    """
    regions = inputs.known_regions.cpu()
    weights = weights_of(inputs.maps, sign)
    is_defined = regions.flatten(1).any(1)
    return _region_scores("RelevanceMassAccuracy", weights, regions, is_defined)


@_add_overlap(
    "localisation_auc",
    title="Localisation AUC",
    unit="probability",
    source="Fawcett, 2006",
    pitfalls="depends only on ranks, so that a faint halo around the object counts like a "
    "peak; undefined and skipped if the region fills the image",
)
def localisation_auc(inputs: MetricInputs) -> Tensor:
    """ROC AUC of map values as a predictor of the region, (N,) in [0, 1].

    The probability that a pixel on the region has a larger value than one outside; ties count half.
    NaN if the region is empty or fills the image; 0.5 for a flat map.

    Source: Fawcett, Pattern Recognition Letters 2006, as in Quantus.
    """
    regions = inputs.known_regions.cpu()
    values = inputs.maps.detach().cpu().double().numpy()
    is_defined = regions.flatten(1).any(1) & ~regions.flatten(1).all(1)
    return _region_scores("AUC", values, regions, is_defined)


def weights_of(maps: Tensor, sign: str) -> Array:
    """Maps as non-negative weights (N, H, W) float64 with a maximum of 1, in a new array.

    `absolute` uses absolute values, `positive` sets negative values to 0. A map of zeros becomes
    the uniform map.
    """
    check_choice("sign", sign, SIGNS)
    values = maps.detach().cpu().double()
    values = values.abs() if sign == "absolute" else values.clamp_min(0)
    largest = values.amax(dim=(1, 2), keepdim=True)
    return torch.where(largest > 0, values / largest, 1.0).numpy()


def quantus_scores(
    metric: str, maps: Array, *, regions: Tensor | None = None, **options: Any
) -> Tensor:
    """Scores of a Quantus metric for each map, (N,) float32 >= 0 on the CPU.

    Args:
        metric: name of a Quantus class that scores maps independently, without a model.
        maps: (N, H, W) float64, finite.
        regions: (N, H, W) bool, none of them empty.
        options: options of the class's constructor.
    """
    import quantus  # the import takes seconds

    height, width = maps.shape[1:]
    ramp = np.linspace(0, 1, height * width).reshape(1, height, width)
    rows = np.concatenate([maps, ramp])[:, None]
    scorer = getattr(quantus, metric)(
        abs=regions is None,  # no effect on weights; Quantus warns if it is off
        normalise=False,
        return_aggregate=False,
        disable_warnings=True,
        display_progressbar=False,
        **options,
    )
    scores = scorer(
        model=None,
        x_batch=np.zeros_like(rows),  # only its shape is used
        y_batch=np.zeros(len(rows), dtype=np.int64),
        a_batch=rows,
        s_batch=None
        if regions is None
        else np.concatenate([regions, _placeholder_region(regions)])[:, None],
        channel_first=True,
        batch_size=len(rows),
    )
    return torch.from_numpy(np.asarray(scores, dtype=np.float32)[:-1]).clamp_min(0)


def _region_scores(metric: str, maps: Array, regions: Tensor, is_defined: Tensor) -> Tensor:
    """`quantus_scores` where defined, otherwise NaN; avoids warnings for unusable regions."""
    usable = torch.where(is_defined[:, None, None], regions, _placeholder_region(regions))
    return torch.where(is_defined, quantus_scores(metric, maps, regions=usable), torch.nan)


def _placeholder_region(regions: Tensor) -> Tensor:
    """Placeholder region (1, H, W) bool with only the first pixel set."""
    corner = torch.zeros_like(regions[:1])
    corner[0, 0, 0] = True
    return corner
