"""Profile `quick` on the stand-ins: both arms learn, and LICO does not collapse."""

from __future__ import annotations

from statistics import mean

import pytest
import torch

from lico_bench import Recipe, load_dataset, train
from lico_bench.data import card_names, load_card
from lico_bench.training import ARMS

# Saliency maps of an untrained network are not meaningful.
LEAST_ACCURACY = 0.8
MOST_LOST = 0.05  # by LICO, mean over the seeds
SEEDS = (0, 1, 2)
DRAWN = [name for name in card_names() if load_card(name).standin is not None]


def accuracy(name: str, arm: str, seed: int) -> float:
    card = load_card(name)
    settings = card.recipe("quick", "standin")
    recipe = Recipe(dataset=name, arm=arm, seed=seed, source="standin", **settings)
    options = ARMS[arm].card_options(card.objective("quick", "standin"))
    trained = train(recipe.with_options({"objective": options}), device="cpu")
    test = load_dataset(name, "test", source="standin")
    with torch.no_grad():
        parts = [trained.classifier(test.read(i)).logits.argmax(1)
                 for i in torch.arange(len(test)).split(64)]  # fmt: skip
    return float((torch.cat(parts) == test.labels).float().mean())


@pytest.mark.slow
@pytest.mark.parametrize("name", DRAWN)
def test_quick_learns_the_stand_in_with_every_seed_and_lico_keeps_up(name: str) -> None:
    plain = [accuracy(name, "baseline", seed) for seed in SEEDS]
    lico = [accuracy(name, "lico", seed) for seed in SEEDS]
    print(name, [f"{value:.3f}" for value in plain], [f"{value:.3f}" for value in lico])  # noqa: T201
    assert min(plain) >= LEAST_ACCURACY
    assert mean(lico) >= mean(plain) - MOST_LOST
