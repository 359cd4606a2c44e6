from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from lico_bench.data.binary_files import read_pickle
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
