"""Rows computed again equal the stored ones."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file

from lico_bench.bench.recompute import CLASSIFIED, recompute_sample
from lico_bench.errors import InvalidInputError, MissingDataError
from tests.manifests import change_manifest


@pytest.mark.slow
def test_rows_are_the_same_bits_with_as_many_threads_and_near_with_more(run):
    before = torch.get_num_threads()
    try:
        again = recompute_sample(run, 40)
        torch.set_num_threads(before + 1)
        others = recompute_sample(run, 40)
    finally:
        torch.set_num_threads(before)
    assert max(deviation.largest for deviation in again.deviations) == 0
    assert others.is_within


def test_rows_computed_again_are_the_stored_ones_bit_for_bit(whole):
    sampled = recompute_sample(whole, 60)
    assert sum(one.num_rows for one in sampled.deviations) == 60
    assert {one.metric for one in sampled.deviations} >= {"insertion", "flat_map", *CLASSIFIED}
    assert {one.largest for one in sampled.deviations} == {0.0}
    assert sampled.is_within


@pytest.mark.slow
def test_rows_of_other_weights_are_beyond_the_tolerance(run):
    cell = run.cell(run.finished()[0])
    weights = load_file(cell.model)
    name = next(n for n in weights if n.startswith("head") and weights[n].ndim == 2)
    weights[name] = -3 * weights[name] - 1
    save_file(weights, cell.model)
    sampled = recompute_sample(run, 60)
    assert not sampled.is_within
    assert max(one.largest for one in sampled.deviations) > 0.001


def test_sample_of_a_run_whose_data_are_elsewhere_says_so(run):
    change_manifest(run, lambda manifest: manifest["suite"].update(data="real"))
    with pytest.raises(MissingDataError, match=r"no row can be computed again here: cifar10: "):
        recompute_sample(run, 4)


def test_sample_of_own_models_says_where_they_are(run):
    change_manifest(run, lambda manifest: manifest["suite"].update(kind="own_models"))
    with pytest.raises(InvalidInputError, match="not the models; score them again"):
        recompute_sample(run, 4)
