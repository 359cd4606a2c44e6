"""Blocks and scores of a report, in their order."""

from __future__ import annotations


def test_blocks_say_which_data_is_drawn(content):
    assert {block.title: block.is_standin for block in content.blocks} == {
        "CIFAR-10": False,
        "CUB-200-2011 stand-in": True,
    }
    assert content.has_standins


def test_scores_come_in_the_suites_order_the_models_own_first_controls_last(content):
    scores = [(method, spec.name) for method, spec in content.each_score(content.blocks[1])]
    assert scores == [
        ("", "accuracy"), ("", "confidence"),
        ("grad_cam", "insertion"), ("grad_cam", "deletion"), ("grad_cam", "overall"),
        ("grad_cam", "pointing_game"), ("random_map", "insertion"), ("random_map", "deletion"),
        ("random_map", "overall"), ("random_map", "pointing_game"),
    ]  # fmt: skip
