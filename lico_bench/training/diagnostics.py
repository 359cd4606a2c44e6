"""Diagnostics of feature maps during training: how similar the channels of an image are."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

MAX_IMAGES = 32  # the mean over this many is stable enough and cheap


def channel_geometry(features: Tensor) -> dict[str, float]:
    """Return the similarity of the channel maps of an image, mean over at most 32 images.

    Transport moves all channels of an image to the few tokens of one prompt. If the channels
    collapse, the cosine and the rank both go to 1.

    Args:
        features: (B, C, D), one row per channel.

    Returns:
        `channel_cosine`: mean cosine of two different rows, in [-1, 1], without zero rows.
        `effective_rank`: exp of the entropy of the normalised singular values, in [1, min(C, D)].

    Source: Roy & Vetterli, EUSIPCO 2007 (effective rank).
    """
    with torch.no_grad(), torch.autocast(features.device.type, enabled=False):
        rows = F.normalize(features[:MAX_IMAGES].float(), dim=2)
        alive = rows.square().sum(2).round()  # 1, or 0 for a dead channel
        count = alive.sum(1)
        pairs = (count * (count - 1)).clamp_min(1)
        cosine = (rows.sum(1).square().sum(1) - count) / pairs
        short_side_first = rows if rows.shape[1] < rows.shape[2] else rows.transpose(1, 2)
        gram = short_side_first @ short_side_first.transpose(1, 2)
        values = torch.linalg.eigvalsh(gram).clamp_min(0).sqrt()  # singular values
        shares = values / values.sum(1, keepdim=True).clamp_min(torch.finfo(values.dtype).tiny)
        rank = torch.special.entr(shares).sum(1).exp()
        return {"channel_cosine": float(cosine.mean()), "effective_rank": float(rank.mean())}
