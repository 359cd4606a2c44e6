"""Manifold matching: the geometry of a batch of images is drawn towards that of its prompts.

Source: Lei et al., NeurIPS 2023, eqs. 1-2, as both reproductions read them.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lico_bench.checks import check_choice
from lico_bench.errors import InvalidInputError

Scale = Literal["divide", "exp"]


def affinity(
    features: Tensor,
    *,
    temperature: float | Tensor,
    normalise: bool = True,
    sign: int = -1,
    scale: Scale = "divide",
) -> Tensor:
    """Row-wise softmax of the distances within a batch, A_ij = softmax_j(sign * d_ij / τ).

    d_ij = ‖f_i - f_j‖, with f_i the i-th sample flattened and, if `normalise`, divided by its
    Euclidean norm. `scale` "exp" multiplies by exp(τ) in place of dividing by τ.

    Args:
        features: (B, ...) at least two samples.
        temperature: τ, above zero when it divides.
        sign: -1 gives near samples more weight (the paper), +1 far ones (the released code).

    Returns:
        (B, B) float32, rows sum to 1; the diagonal, at distance 0, is part of the softmax.

    Raises:
        InvalidInputError: for fewer than two samples or an unknown option.

    Source: Lei et al., NeurIPS 2023, eq. 1.
    """
    return _log_affinity(
        features, temperature=temperature, normalise=normalise, sign=sign, scale=scale
    ).exp()


def manifold_matching(
    image: Tensor,
    text: Tensor,
    *,
    temperature: float | Tensor,
    normalise: bool = True,
    scale: Scale = "divide",
) -> Tensor:
    """Divergence of the image affinities from the text affinities, mean_i KL(A^G_i ‖ A^F_i).

    Args:
        image: (B, ...) image features F; each sample is flattened.
        text: (B, ...) text features G of the same samples.
        temperature: τ of both affinities.

    Returns:
        () float32, at least 0; gradients reach both sides and the temperature.

    Raises:
        InvalidInputError: for two batch sizes, or fewer than two samples.

    Source: Lei et al., NeurIPS 2023, eq. 2, text as the target.
    """
    if len(image) != len(text):
        raise InvalidInputError(
            f"manifold_matching: expected as many texts as images, got {len(text)} and {len(image)}"
        )
    of_image, of_text = (
        _log_affinity(side, temperature=temperature, normalise=normalise, sign=-1, scale=scale)
        for side in (image, text)
    )
    return F.kl_div(of_image, of_text, reduction="batchmean", log_target=True)


def _log_affinity(
    features: Tensor, *, temperature: float | Tensor, normalise: bool, sign: int, scale: Scale
) -> Tensor:
    check_choice("scale", scale, ("divide", "exp"))
    if sign not in (-1, 1):
        raise InvalidInputError(f"sign: expected -1 or 1, got {sign}")
    if len(features) < 2:
        raise InvalidInputError(
            f"affinity: expected at least 2 samples, got {len(features)}; "
            "the geometry of a batch needs a batch, raise batch_size"
        )
    with torch.autocast(features.device.type, enabled=False):
        rows = _in_single(features).flatten(1)
        if normalise:
            rows = F.normalize(rows, dim=1)
        distances = sign * pairwise_distances(rows)
        scaled = distances / temperature if scale == "divide" else distances * _exp(temperature)
        return scaled.log_softmax(dim=1)


def pairwise_distances(rows: Tensor) -> Tensor:
    """Euclidean distances (B, B) of rows (B, D); the gradient at distance 0 is 0."""
    squares = (rows * rows).sum(1)
    squared = squares[:, None] + squares[None, :] - 2 * rows @ rows.T
    # The diagonal is 0 by definition; rounding would leave it near 0 with a huge slope of the root.
    is_apart = squared > torch.finfo(rows.dtype).eps * (squares[:, None] + squares[None, :])
    is_apart &= ~torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    return torch.where(is_apart, squared, 1).sqrt() * is_apart


def _exp(value: float | Tensor) -> Tensor:
    return value.exp() if isinstance(value, Tensor) else torch.tensor(value).exp()


def _in_single(values: Tensor) -> Tensor:
    """Half precision as float32; float64 stays, for checks by finite differences."""
    return values if values.dtype == torch.float64 else values.float()
