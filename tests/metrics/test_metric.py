"""Results shared by metrics, values with their curves, and entries from a dropped module."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch

import lico_bench.metrics
import lico_bench.saliency
import lico_bench.training.arms
from lico_bench.errors import InvalidInputError
from lico_bench.metrics import METRICS, PROTOCOLS, MetricInputs, add_metric, resolve_metric
from lico_bench.saliency import SALIENCY
from lico_bench.training import ARMS

NUM_IMAGES, SIDE = 2, 8


@pytest.fixture
def counted() -> tuple[MetricInputs, list[int]]:
    """Inputs of a bright-pixel model, and the batch size of each of its calls."""
    calls: list[int] = []

    def model(images: torch.Tensor) -> torch.Tensor:
        calls.append(len(images))
        bright = images.flatten(1).mean(1)
        return torch.stack([bright, 1 - bright], 1)

    rng = torch.Generator().manual_seed(0)
    inputs = MetricInputs(
        model=model,
        images=torch.rand(NUM_IMAGES, 3, SIDE, SIDE, generator=rng),
        targets=torch.tensor([0, 1]),
        maps=torch.rand(NUM_IMAGES, SIDE, SIDE, generator=rng),
        regions=None,
        protocol=PROTOCOLS["lico_bench_1"],
    )
    return inputs, calls


def test_metrics_of_one_curve_run_the_model_once(counted):
    inputs, calls = counted
    METRICS["insertion"].apply(inputs)
    num_calls = len(calls)
    assert num_calls > 0
    for name in ("deletion", "overall", "insertion_at_10", "deletion_normalised"):
        METRICS[name].apply(inputs)
    assert len(calls) == num_calls


def test_a_copy_with_other_maps_shares_no_results(counted):
    inputs, calls = counted
    before = METRICS["insertion"].apply(inputs).values
    num_calls = len(calls)
    after = METRICS["insertion"].apply(replace(inputs, maps=1 - inputs.maps)).values
    assert len(calls) == 2 * num_calls
    assert not torch.equal(before, after)


def test_the_result_holds_the_values_and_their_curves(counted):
    inputs, _ = counted
    result = resolve_metric("deletion_gap").apply(inputs)
    assert result.values.shape == (NUM_IMAGES,)
    names = [curve.name for curve in result.curves]
    assert names == ["insertion", "deletion", "insertion_lerf", "deletion_lerf"]
    for curve in result.curves:
        assert curve.values.shape == (NUM_IMAGES, len(curve.fractions))
    assert resolve_metric("flat_map").apply(inputs).curves == ()


@pytest.mark.parametrize(
    ("package", "registry", "source"),
    [
        (
            lico_bench.metrics,
            METRICS,
            "from lico_bench.metrics import add_metric\n"
            "@add_metric('dropped', title='', higher_is_better=None, bounds=(0, 1), unit='', "
            "source='')\n"
            "def dropped(inputs):\n    return inputs.maps.amax((1, 2))\n",
        ),
        (
            lico_bench.saliency,
            SALIENCY,
            "from lico_bench.saliency import add_method\n"
            "@add_method('dropped', title='', source='')\n"
            "def dropped(model, images, targets):\n    return images.mean(1)\n",
        ),
        (
            lico_bench.training.arms,
            ARMS,
            "from lico_bench.training import ARMS, Arm, Objective\n"
            "ARMS.add('dropped', Arm('', '', '', build=lambda _inputs, _options: Objective()))\n",
        ),
    ],
    ids=["metric", "method", "arm"],
)
def test_a_module_dropped_into_the_package_is_found(
    package, registry, source: str, tmp_path, monkeypatch
):
    known = set(registry)
    (tmp_path / "dropped_entry.py").write_text(source)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    monkeypatch.setattr(registry, "_is_filled", False)
    try:
        assert set(registry) == known | {"dropped"}
    finally:
        sys.modules.pop(f"{package.__name__}.dropped_entry", None)


@pytest.mark.parametrize(
    ("fact", "message"),
    [
        ({"category": "nonsense"}, "category of wrong: expected one of model, perturbation"),
        ({"needs": ("region",)}, "needs of wrong: expected one of maps, curves, regions"),
        ({"cost": "much"}, "cost of wrong: expected one of map, forwards, explains"),
    ],
)
def test_a_fact_that_no_check_knows_is_refused_with_the_known_ones(fact, message):
    facts = {"title": "W", "higher_is_better": None, "bounds": (0, 1), "unit": "", "source": "x"}
    with pytest.raises(InvalidInputError, match=message):
        add_metric("wrong", **facts, **fact)(lambda inputs: inputs.maps.sum((1, 2)))
    assert "wrong" not in METRICS.names()
