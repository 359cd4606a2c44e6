from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lico_bench.data.index_files import read_pickle, safe_join
from lico_bench.errors import BrokenFileError


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_of_every_pickle_protocol_are_read(tmp_path: Path, protocol: int) -> None:
    content = {"data": np.arange(12, dtype=np.uint8).reshape(3, 4), "labels": [1, 2, 3], b"b": "x"}
    (tmp_path / "batch").write_bytes(pickle.dumps(content, protocol=protocol))
    read = read_pickle(tmp_path / "batch")
    assert np.array_equal(read["data"], content["data"])
    assert read["labels"] == [1, 2, 3]
    assert read["b"] == "x"


@pytest.mark.parametrize(
    ("module", "name"),
    [("os", "system"), ("builtins", "eval"), ("numpy", "load"), ("subprocess", "Popen"),
     ("numpy.core.multiarray", "fromfile"), ("builtins", "getattr")],
)  # fmt: skip
@pytest.mark.parametrize("protocol", [0, 4])
def test_pickle_that_names_anything_else_is_refused(
    tmp_path: Path, module: str, name: str, protocol: int
) -> None:
    by_name = (
        f"c{module}\n{name}\n(S'x'\ntR.".encode()
        if protocol == 0
        else b"\x80\x04\x8c" + bytes([len(module)]) + module.encode()
        + b"\x8c" + bytes([len(name)]) + name.encode() + b"\x93."
    )  # fmt: skip
    (tmp_path / "batch").write_bytes(by_name)
    with pytest.raises(BrokenFileError, match=rf"asks to load {module}\.{name}"):
        read_pickle(tmp_path / "batch")


@given(name=st.text(min_size=1, max_size=20))
def test_no_name_leads_out_of_its_folder(name: str) -> None:
    folder = Path("/data/images")
    try:
        path = safe_join(folder, name, "a list")
    except BrokenFileError:
        return
    assert ".." not in path.parts
    assert path.is_relative_to(folder)
    assert path != folder


@pytest.mark.parametrize("name", ["/etc/passwd", "../x.jpg", "a/../../x", "..\\x", "C:/x", "."])
def test_names_that_lead_out_are_refused(name: str) -> None:
    with pytest.raises(BrokenFileError, match="leads out"):
        safe_join(Path("/data"), name, "a list")
