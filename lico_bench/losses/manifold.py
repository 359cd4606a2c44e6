"""Manifold matching: the geometry of a batch of images is drawn towards that of its prompts.

Source: Lei et al., NeurIPS 2023, eqs. 1-2, as both reproductions read them. Each option is named
with the code that computes it; revisions are in BENCHMARK.md.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lico_bench.checks import check_choice, check_not_negative, check_positive
from lico_bench.errors import InvalidInputError
from lico_bench.losses.rows import in_single, unit_rows

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
        temperature: τ, above zero when it divides; a tensor is taken as it is.
        normalise: as Bartak et al. do; Fletcher et al. do not.
        sign: -1 gives near samples more weight (the paper), +1 far ones (the released code).
        scale: "divide" as in the released code and by Fletcher et al., "exp" by Bartak et al.
        least_distance: δ, at least 0; the released code has 0.01.

    Returns:
        (B, B) float32, rows sum to 1; the diagonal, at distance δ, is part of the softmax. The
        gradient of a distance at or below δ is 0, that of equal samples too.

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
        temperature: τ of both affinities, or of the images' alone.
        normalise, scale, sign, least_distance: see `affinity`, for both sides.
        direction: "text_image" in the released code and both reproductions, "image_text" in the
            course project CoenvdE/FACT-AI.
        floor: φ, at least 0; Fletcher et al. have 1e-4.
        text_temperature: τ of the texts' affinities; None for the images', as in the released code.

    Returns:
        () float32; gradients reach both sides and the temperatures. At least 0 if φ is 0: with a
        floor it is no divergence any more and may fall below.

    Raises:
        InvalidInputError: for two batch sizes, fewer than two samples, NaN, or an option out of
            range.

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
    of_image, of_text = (
        _log_affinity(
            side, temperature=tau, normalise=normalise, sign=sign, scale=scale,
            least_distance=least_distance,
        )
        for side, tau in (
            (image, temperature),
            (text, temperature if text_temperature is None else text_temperature),
        )
    )  # fmt: skip
    if direction == "text_image":
        return _divergence(of_text, of_image, floor)
    return _divergence(of_image, of_text, floor)


def _divergence(log_target: Tensor, log_other: Tensor, floor: float) -> Tensor:
    """Mean over rows of KL(target ‖ other) of log probabilities (B, B)."""
    if floor == 0:
        return F.kl_div(log_other, log_target, reduction="batchmean", log_target=True)
    target, other = log_target.exp(), log_other.exp()
    return (target * ((target + floor).log() - (other + floor).log())).sum(1).mean()


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
        rows = in_single(features).flatten(1)
        if normalise:
            rows = unit_rows(rows)
        distances = pairwise_distances(rows)
        if least_distance > 0:
            distances = distances.clamp_min(least_distance)
        distances = sign * distances
        scaled = distances / temperature if scale == "divide" else distances * _exp(temperature)
        return scaled.log_softmax(dim=1)


def pairwise_distances(rows: Tensor) -> Tensor:
    """Euclidean distances (B, B) of rows (B, D); the gradient at distance 0 is 0.

    Raises:
        InvalidInputError: if a row or its square is not finite.
    """
    squares = (rows * rows).sum(1)
    if not squares.detach().sum().isfinite():
        raise InvalidInputError(
            "features: expected finite values with finite squares, got NaN or infinity; "
            "mend what made them, or divide them by their size"
        )
    squared = squares[:, None] + squares[None, :] - 2 * rows @ rows.T
    # The diagonal is 0 by definition; rounding would leave it near 0 with a huge slope of the root.
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
            f"{name}: expected at least 2 samples, got {len(features)}; "
            "the geometry of a batch needs a batch, raise batch_size"
        )


def _check_temperature(name: str, value: float | Tensor, scale: Scale) -> None:
    """A number is checked; to look into a tensor would be to wait for the device."""
    if isinstance(value, Tensor):
        return
    if scale == "divide":
        check_positive(name, value)
    elif not math.isfinite(value):
        raise InvalidInputError(f"{name}: expected a finite number, got {value}")


def _exp(value: float | Tensor) -> Tensor:
    return value.exp() if isinstance(value, Tensor) else torch.tensor(value).exp()
