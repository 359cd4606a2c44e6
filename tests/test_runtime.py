"""Seeds, devices and what a processor can compute."""

from __future__ import annotations

import torch

from lico_bench.runtime import native_precision


def test_auto_is_float32_on_a_processor_that_is_told_to_use_avx2(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    found = native_precision(torch.device("cpu"))
    assert found.name == "float32"
    assert "AVX2" in found.reason


def test_auto_is_float32_where_avx512_has_no_bfloat16_instructions(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert native_precision(torch.device("cpu")).name == "float32"
