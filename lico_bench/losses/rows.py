"""Convert feature rows to single precision and to unit length."""

from __future__ import annotations

import math

import torch
from torch import Tensor

MIN_NORM = 1e-12  # divisor of rows with a smaller norm


def as_single_precision(values: Tensor) -> Tensor:
    """Convert to float32; float64 stays, for checks by finite differences."""
    return values if values.dtype == torch.float64 else values.float()


def unit_rows(rows: Tensor) -> Tensor:
    """Divide rows (..., D) by their Euclidean norms; a zero row stays and has zero gradient.

    Differs: `torch.nn.functional.normalize` has a gradient of 1e12 at a zero row, which a dead
    channel produces.
    """
    norms = rows.norm(dim=-1, keepdim=True)
    return rows / torch.where(norms > 0, norms.clamp_min(MIN_NORM), math.inf)
