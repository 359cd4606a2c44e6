"""A verdict on a claim with its evidence."""

from __future__ import annotations

from lico_bench.claims import Claim, ClaimVerdict, Evidence


def verdict(title="Maps: insertion", outcome="improvement", evidence=()):
    claim = Claim(
        "maps", title, "Maps are better.", "Lei et al., 2023", "lico", "baseline", "insertion",
        "better", 0.01,
    )  # fmt: skip
    return ClaimVerdict(claim, outcome, "supported on the only comparison", tuple(evidence))


def piece(dataset="cifar10", source="real", method="grad_cam"):
    sentence = "gain over baseline +0.0123 [+0.0050, +0.0196] probability, p < 0.001"
    return Evidence(
        dataset, source, "wrn_10_2", "full", method, "improvement", sentence, num_images=2000,
        num_seeds=5,
    )  # fmt: skip
