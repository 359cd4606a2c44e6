"""Reading a text encoder's weights: checksum, safetensors, and what is wrong with a file."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

import safetensors
from torch import Tensor, nn

from lico_bench.errors import BrokenFileError


def checksum(path: Path) -> str:
    """SHA-256 of a file; computed once per process for a file that does not change."""
    stat = path.stat()
    return _digest(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=16)
def _digest(path: Path, _modified_ns: int, _num_bytes: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_tensors(
    path: Path, *, prefixes: tuple[str, ...] = ("",), remedy: str
) -> dict[str, Tensor]:
    """The tensors of a safetensors file whose names start with one of `prefixes`.

    Raises:
        BrokenFileError: if the file is not readable as safetensors; it names `remedy`.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            names = [name for name in file.keys() if name.startswith(prefixes)]  # noqa: SIM118
            return {name: file.get_tensor(name) for name in names}
    except safetensors.SafetensorError as error:
        raise BrokenFileError(f"{path}: expected safetensors, got {error}; {remedy}") from error


def fill(model: nn.Module, tensors: dict[str, Tensor], path: Path, *, remedy: str) -> None:
    """Put the tensors of `path` into `model`; tensors that it has no place for are left.

    Raises:
        BrokenFileError: if one is missing or has another shape; it names `remedy`.
    """
    for name, expected in model.state_dict().items():
        if name not in tensors:
            raise BrokenFileError(f"{path}: expected a tensor {name}, got none; {remedy}")
        if tensors[name].shape != expected.shape:
            raise BrokenFileError(
                f"{path}: {name}: expected {tuple(expected.shape)}, "
                f"got {tuple(tensors[name].shape)}; {remedy}"
            )
    model.load_state_dict(tensors, strict=False)
