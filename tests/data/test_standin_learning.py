from __future__ import annotations

import pytest
import torch

from lico_bench import Recipe, load_dataset, train
from lico_bench.data import card_names, load_card

# Maps of a network that has not learned its task explain nothing.
LEAST_ACCURACY = 0.8


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in card_names() if load_card(n).standin is not None])
@pytest.mark.parametrize("seed", [0, 1])
def test_quick_baseline_learns_the_stand_in(name: str, seed: int) -> None:
    recipe = Recipe(dataset=name, arm="baseline", seed=seed, source="standin",
                    **load_card(name).recipe("quick", "standin"))  # fmt: skip
    trained = train(recipe, device="cpu")
    test = load_dataset(name, "test", source="standin")
    with torch.no_grad():
        parts = [trained.classifier(test.read(i)).logits.argmax(1)
                 for i in torch.arange(len(test)).split(64)]  # fmt: skip
    accuracy = float((torch.cat(parts) == test.labels).float().mean())
    assert accuracy >= LEAST_ACCURACY
