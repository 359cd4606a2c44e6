"""Seeds, devices and what a processor can compute."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lico_bench.errors import MissingDataError
from lico_bench.runtime import data_root, make_generator, native_precision, seeded


def test_auto_is_float32_on_a_processor_that_is_told_to_use_avx2(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    found = native_precision(torch.device("cpu"))
    assert found.name == "float32"
    assert "AVX2" in found.reason


def test_auto_is_float32_where_avx512_has_no_bfloat16_instructions(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert native_precision(torch.device("cpu")).name == "float32"


def test_draws_for_one_purpose_leave_those_for_another_alone():
    weights, order = (make_generator(3, purpose) for purpose in ("weights", "order"))
    torch.rand(5, generator=weights)
    expected = torch.rand(4, generator=make_generator(3, "order"))
    assert torch.equal(torch.rand(4, generator=order), expected)
    assert not torch.equal(torch.rand(4, generator=make_generator(3, "weights")), expected)
    assert not torch.equal(torch.rand(4, generator=make_generator(4, "order")), expected)


def test_the_global_generator_is_seeded_inside_the_block_alone():
    before = torch.random.get_rng_state()
    draws = []
    for _ in range(2):
        with seeded(0, "weights"):
            draws.append(torch.rand(3))
    assert torch.equal(*draws)
    with pytest.raises(KeyError), seeded(0, "weights"):
        raise KeyError
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_data_root_is_the_argument_then_the_variable_then_the_working_folder(monkeypatch):
    for name in ("argument", "variable", "datasets"):
        Path(name).mkdir()
    assert data_root() == Path("datasets")
    monkeypatch.setenv("LICO_BENCH_DATA", "variable")
    assert data_root() == Path("variable")
    assert data_root("argument") == Path("argument")
    with pytest.raises(MissingDataError, match="--data-root: no such folder: nowhere"):
        data_root("nowhere")
