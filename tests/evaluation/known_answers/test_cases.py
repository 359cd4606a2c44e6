"""Scenes, networks and reference maps of the checks."""

from __future__ import annotations

import torch

from lico_bench.evaluation.known_answers.cases import (
    NUM_IMAGES_QUICK,
    REDUCED_OPTIONS,
    break_ties,
    colour_case,
    colour_network,
    linear_case,
    reduced_method,
    split_in_halves,
)
from lico_bench.evaluation.known_answers.finding import rank_of_region
from lico_bench.models import logits_of
from lico_bench.records import IMAGENET_MEAN
from lico_bench.registry import keyword_defaults
from lico_bench.saliency import SALIENCY

ATOL_SUM = 1e-4  # a logit is a float32 sum of 3,072 products


def test_the_network_has_learned_the_mark(scene):
    assert scene.accuracy >= 0.95
    assert len(scene) == NUM_IMAGES_QUICK
    with torch.no_grad():
        assert logits_of(scene.network(scene.images)).argmax(1).equal(scene.targets)


def test_the_oracle_has_its_region_first_and_no_equal_values(scene):
    oracle = scene.oracle
    inside = torch.where(scene.regions, oracle, torch.inf).amin((1, 2))
    outside = torch.where(scene.regions, -torch.inf, oracle).amax((1, 2))
    assert (inside > outside).all()
    assert all(len(m.unique()) == m.numel() for m in oracle)
    assert oracle.min() >= 0
    assert oracle.max() <= 1


def test_halves_share_a_region_between_them(scene):
    for region in scene.regions:
        left, right = split_in_halves(region)
        assert (left | right).equal(region)
        assert not (left & right).any()
        assert left.any()
        assert right.any()


def test_contributions_of_the_linear_network_add_up_to_its_logit():
    case = linear_case(4, is_uniform=False)
    start = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1).expand_as(case.images)
    with torch.no_grad():
        gained = (case.network(case.images) - case.network(start))[:, 1]
    summed = case.network.contributions(case.images, start).sum((1, 2))
    assert torch.allclose(gained, summed, atol=ATOL_SUM)
    assert torch.allclose(gained.mean(), torch.tensor(4.0), atol=ATOL_SUM)


def test_the_colour_network_is_silent_but_on_its_colour():
    network = colour_network()
    with torch.no_grad():
        for grey in (0.0, 0.5, 1.0):
            assert network(torch.full((1, 3, 8, 8), grey)).logits.abs().max() == 0
        mean = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1).expand(1, 3, 8, 8)
        assert network(mean).logits.abs().max() == 0
        red = torch.zeros(1, 3, 8, 8)
        red[:, 0] = 0.9
        logits = network(red).logits[0]
    assert logits.argmax() == 0
    assert logits[1:].abs().max() == 0


def test_colour_squares_do_not_touch():
    red, green = colour_case(16).squares
    assert not (red & green).any()
    assert (red.sum((1, 2)) == 64).all()
    assert (green.sum((1, 2)) == 64).all()


def test_costly_options_are_made_cheap_and_the_callers_kept():
    for text, num_masks in (("rise", REDUCED_OPTIONS["num_masks"]), ("rise(num_masks=9)", 9)):
        assert keyword_defaults(reduced_method(text).compute)["num_masks"] == num_masks
    assert reduced_method("grad_cam").compute is SALIENCY["grad_cam"].compute
    named = {option for name in SALIENCY for option in keyword_defaults(SALIENCY[name].compute)}
    assert {"num_masks", "samples", "steps"} <= named


def test_softening_keeps_the_order_for_a_region_at_the_border():
    regions = torch.zeros(1, 16, 16, dtype=torch.bool)
    regions[0, :3, :3] = True
    assert float(rank_of_region(break_ties(regions), regions)) == 1
