"""What a researcher asks of feature maps while they are trained: do the channels stay apart?"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LARGEST_BATCH = 32  # images looked at; the mean over them is steady enough and costs little


def channel_geometry(features: Tensor) -> dict[str, float]:
    """How alike the channel maps of an image are, mean over at most 32 images.

    Transport draws all channels of an image towards the few tokens of one prompt: if they
    collapse, the cosine goes to 1 and the rank to 1.

    Args:
        features: (B, C, D), one row per channel.

    Returns:
        `channel_cosine`: mean cosine of two different rows, in [-1, 1]; rows of zeros are left out.
        `effective_rank`: exp of the entropy of the singular values' shares, in [1, min(C, D)].

    Source: Roy & Vetterli, EUSIPCO 2007 (effective rank).
    """
    with torch.no_grad(), torch.autocast(features.device.type, enabled=False):
        rows = F.normalize(features[:LARGEST_BATCH].float(), dim=2)
        alive = rows.square().sum(2).round()  # 1, or 0 for a dead channel
        count = alive.sum(1)
        pairs = (count * (count - 1)).clamp_min(1)
        cosine = (rows.sum(1).square().sum(1) - count) / pairs
        smaller = rows if rows.shape[1] < rows.shape[2] else rows.transpose(1, 2)
        squared = torch.linalg.eigvalsh(smaller @ smaller.transpose(1, 2)).clamp_min(0)
        values = squared.sqrt()
        shares = values / values.sum(1, keepdim=True).clamp_min(torch.finfo(values.dtype).tiny)
        rank = torch.special.entr(shares).sum(1).exp()
        return {"channel_cosine": float(cosine.mean()), "effective_rank": float(rank.mean())}
