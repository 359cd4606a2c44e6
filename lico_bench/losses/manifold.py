"""LICO's manifold matching loss: match the pairwise distances of images to those of their prompts.

For a batch of B images with features F and prompt features G:

    A_ij = softmax_j(-‖f_i - f_j‖ / τ)     `affinity`, of F and of G
    L_MM = mean_i KL(A^G_i ‖ A^F_i)        `manifold_matching`

Source: Lei et al., NeurIPS 2023, eqs. 1-2, as in both reproductions. Each option names the
published code that computes it; docs/reference/arms.md lists the revisions.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lico_bench.checks import check_choice, check_not_negative, check_positive
from lico_bench.errors import InvalidInputError
from lico_bench.losses.transport import as_single_precision, unit_rows

Scale = Literal["divide", "exp"]
Direction = Literal["text_image", "image_text"]


def affinity(
    features: Tensor,
    *,
    temperature: float | Tensor,
    normalise: bool = True,
    sign: int = -1,
    scale: Scale = "divide",
    least_distance: float = 0.0,
) -> Tensor:
    """Row-wise softmax of the distances within a batch, A_ij = softmax_j(sign · d_ij / τ).

    d_ij = max(‖f_i - f_j‖, δ), with f_i the i-th sample flattened and, if `normalise`, divided by
    its Euclidean norm. `scale` "exp" gives A_ij = softmax_j(sign · d_ij · exp(τ)).

    Args:
        features: (B, ...) at least two samples.
        temperature: τ, above 0 if `scale` is "divide"; the value of a tensor is not checked.
        normalise: True in Bartak et al., False in Fletcher et al.
        sign: -1 weights near samples more (the paper), +1 far samples (the released code).
        scale: "divide" in the released code and in Fletcher et al., "exp" in Bartak et al.
        least_distance: δ, at least 0; 0.01 in the released code.

    Returns:
        (B, B) float32, rows sum to 1. The softmax includes the diagonal, at distance δ. A distance
        at or below δ has zero gradient, as has the distance of two equal samples.

    Raises:
        InvalidInputError: for fewer than two samples, NaN, or an option out of range.

    Source: Lei et al., NeurIPS 2023, eq. 1.
    """
    return _log_affinity(
        features, temperature=temperature, normalise=normalise, sign=sign, scale=scale,
        least_distance=least_distance,
    ).exp()  # fmt: skip


def manifold_matching(
    image: Tensor,
    text: Tensor,
    *,
    temperature: float | Tensor,
    normalise: bool = True,
    scale: Scale = "divide",
    sign: int = -1,
    direction: Direction = "text_image",
    floor: float = 0.0,
    least_distance: float = 0.0,
    text_temperature: float | Tensor | None = None,
) -> Tensor:
    """Divergence of the image affinities from the text affinities, mean_i KL(A^G_i ‖ A^F_i).

    A^F and A^G are `affinity` of images and texts,
    KL(P ‖ Q) = Σ_j P_j (log(P_j + φ) - log(Q_j + φ)). `direction` "image_text" gives
    mean_i KL(A^F_i ‖ A^G_i).

    Args:
        image: (B, ...) image features F; each sample is flattened.
        text: (B, ...) text features G of the same samples.
        temperature: τ of the image affinities.
        normalise, scale, sign, least_distance: see `affinity`, for both sides.
        direction: "text_image" in the released code and in both reproductions, "image_text" in the
            course project CoenvdE/FACT-AI.
        floor: φ, at least 0; 1e-4 in Fletcher et al.
        text_temperature: τ of the text affinities; None for that of the images, as in the released
            code.

    Returns:
        () float32; gradients reach both sides and the temperatures. At least 0 if φ is 0; with a
        floor it is not a divergence and can be negative.

    Raises:
        InvalidInputError: for different or too small batches, NaN, or an option out of range.

    Source: Lei et al., NeurIPS 2023, eq. 2, text as the target.
    """
    check_choice("direction", direction, ("text_image", "image_text"))
    check_not_negative("floor", floor)
    if text_temperature is not None:
        _check_temperature("text_temperature", text_temperature, scale)
    _check_samples("image", image)
    _check_samples("text", text)
    if len(image) != len(text):
        raise InvalidInputError(
            f"manifold_matching: expected as many texts as images, got {len(text)} and "
            f"{len(image)}; give each image its own text, text[labels]"
        )
    log_affinity = partial(
        _log_affinity, normalise=normalise, sign=sign, scale=scale, least_distance=least_distance
    )
    log_image = log_affinity(image, temperature=temperature)
    log_text = log_affinity(
        text, temperature=temperature if text_temperature is None else text_temperature
    )
    if direction == "text_image":
        return _divergence(log_text, log_image, floor)
    return _divergence(log_image, log_text, floor)


def _divergence(log_p: Tensor, log_q: Tensor, floor: float) -> Tensor:
    """Mean over rows of KL(P ‖ Q) from log probabilities (B, B)."""
    if floor == 0:
        return F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)
    p, q = log_p.exp(), log_q.exp()
    return (p * ((p + floor).log() - (q + floor).log())).sum(1).mean()


def _log_affinity(
    features: Tensor,
    *,
    temperature: float | Tensor,
    normalise: bool,
    sign: int,
    scale: Scale,
    least_distance: float,
) -> Tensor:
    check_choice("scale", scale, ("divide", "exp"))
    if sign not in (-1, 1):
        raise InvalidInputError(f"sign: expected -1 or 1, got {sign}")
    check_not_negative("least_distance", least_distance)
    _check_temperature("temperature", temperature, scale)
    _check_samples("features", features)
    with torch.autocast(features.device.type, enabled=False):
        rows = as_single_precision(features).flatten(1)
        if normalise:
            rows = unit_rows(rows)
        distances = pairwise_distances(rows)
        if least_distance > 0:
            distances = distances.clamp_min(least_distance)
        distances = sign * distances
        if scale == "divide":
            return (distances / temperature).log_softmax(dim=1)
        return (distances * torch.as_tensor(temperature).exp()).log_softmax(dim=1)


def pairwise_distances(rows: Tensor) -> Tensor:
    """Euclidean distances (B, B) of rows (B, D); the gradient at distance 0 is 0.

    Raises:
        InvalidInputError: if a row or its square is not finite.
    """
    squares = (rows * rows).sum(1)
    if not squares.detach().sum().isfinite():
        raise InvalidInputError(
            "features: expected finite values with finite squares, got NaN or infinity; "
            "check the model, or normalise the rows"
        )
    squared = squares[:, None] + squares[None, :] - 2 * rows @ rows.T
    # Rounding would leave the diagonal near 0, where the square root has a huge gradient.
    is_apart = squared > torch.finfo(rows.dtype).eps * (squares[:, None] + squares[None, :])
    is_apart &= ~torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    return torch.where(is_apart, squared, 1).sqrt() * is_apart


def _check_samples(name: str, features: Tensor) -> None:
    if features.ndim < 2 or features.numel() == 0:
        raise InvalidInputError(
            f"{name}: expected (B, ...) with at least one value per sample, "
            f"got {tuple(features.shape)}; give each sample a row of features"
        )
    if len(features) < 2:
        raise InvalidInputError(
            f"{name}: expected at least 2 samples, got {len(features)}; raise batch_size"
        )


def _check_temperature(name: str, value: float | Tensor, scale: Scale) -> None:
    """Check a number; reading a tensor would synchronise with the device."""
    if isinstance(value, Tensor):
        return
    if scale == "divide":
        check_positive(name, value)
    elif not math.isfinite(value):
        raise InvalidInputError(f"{name}: expected a finite number, got {value}")
