"""How a user names a model and its normalisation; each slip is one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from lico_bench.errors import InvalidInputError, LicoBenchError
from lico_bench.models.user_model import load_user_model


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("net.py", "expected package.module:name"),
        ("net.py:", "expected package.module:name"),
        ("gone.py:build", "no such file: gone.py"),
        ("no_such_package.nets:build", "no module 'no_such_package.nets'"),
        ("net.py:biuld", "did you mean 'build'"),
        ("net.py:Wide", r"needs arguments \(width\)"),
        ("net.py:number", "expected a function without arguments"),
        ("net.py:fails", r"RuntimeError: no such wheel \(net.py, line 46\)"),
        ("net.py:tells", "expected a torch.nn.Module from it, got str"),
        ("syntax.py:build", "importing .*syntax.py failed: SyntaxError"),
        ("needs.py:build", "ModuleNotFoundError: No module named 'a_missing_one'"),
        ("leaves.py:build", "SystemExit"),
    ],
)
def test_a_reference_that_leads_nowhere_is_one_sentence(net: str, reference: str, message: str):
    Path("syntax.py").write_text("def build(:\n", encoding="utf-8")
    Path("needs.py").write_text("import a_missing_one\n", encoding="utf-8")
    Path("leaves.py").write_text("raise SystemExit\n", encoding="utf-8")
    with pytest.raises(LicoBenchError, match=message) as caught:
        load_user_model(reference)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["image", "0.5/0.5", "1,2,3", "a,b,c/1,1,1", "0,0,0/1,0,1"])
def test_a_normalisation_that_is_none_is_refused(net: str, text: str):
    with pytest.raises(InvalidInputError, match="--normalise"):
        load_user_model(f"{net}:build", normalise=text)
