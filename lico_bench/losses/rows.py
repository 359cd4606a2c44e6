"""Rows as the losses take them: in single precision, of length 1."""

from __future__ import annotations

import math

import torch
from torch import Tensor

SHORTEST = 1e-12  # what a shorter row is divided by


def in_single(values: Tensor) -> Tensor:
    """Half precision as float32; float64 stays, for checks by finite differences."""
    return values if values.dtype == torch.float64 else values.float()


def unit_rows(rows: Tensor) -> Tensor:
    """Rows (..., D) divided by their Euclidean norms; a row of zeros stays, its gradient is 0.

    Differs: `torch.nn.functional.normalize` has a slope of 1e12 at a row of zeros, which is what a
    dead channel is.
    """
    norms = rows.norm(dim=-1, keepdim=True)
    return rows / torch.where(norms > 0, norms.clamp_min(SHORTEST), math.inf)
