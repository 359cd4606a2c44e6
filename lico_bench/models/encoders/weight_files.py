"""Read a text encoder's weights from safetensors, with checksum and error messages."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

import safetensors
from torch import Tensor, nn

from lico_bench.errors import BrokenFileError


def checksum(path: Path) -> str:
    """Return the hex SHA-256 of a file; cached until its time stamp or size changes."""
    stat = path.stat()
    return _digest(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=16)
def _digest(path: Path, _modified_ns: int, _num_bytes: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_tensors(
    path: Path, *, prefixes: tuple[str, ...] = ("",), remedy: str
) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file whose names start with one of `prefixes`.

    Args:
        remedy: last part of an error message.

    Raises:
        BrokenFileError: if the file is not valid safetensors.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            names = [name for name in file.keys() if name.startswith(prefixes)]  # noqa: SIM118
            return {name: file.get_tensor(name) for name in names}
    except safetensors.SafetensorError as error:
        raise BrokenFileError(f"{path}: expected safetensors, got {error}; {remedy}") from error


def fill(model: nn.Module, tensors: dict[str, Tensor], path: Path, *, remedy: str) -> None:
    """Load `tensors`, read from `path`, into `model`; additional tensors are ignored.

    Raises:
        BrokenFileError: if a tensor is missing or has another shape.
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
