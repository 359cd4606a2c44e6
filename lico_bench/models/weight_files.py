"""Files of weights, safetensors and state dicts saved by torch; none of their code is executed."""

from __future__ import annotations

import hashlib
import re
import warnings
import zipfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from lico_bench.errors import BrokenFileError, InvalidInputError, MissingDataError

NESTED = ("state_dict", "model_state_dict", "model")  # keys of state dicts in checkpoints
PREFIXES = ("module.", "_orig_mod.")  # of DataParallel and of torch.compile
MAX_NAMES_SHOWN = 3  # in a message
SAVE_PLAIN = "save torch.save(model.state_dict(), PATH), or safetensors"


def dump_weights(network: nn.Module) -> bytes:
    """Serialise parameters and buffers as safetensors."""
    state = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
    content: bytes = safetensors.torch.save(state)
    return content


def load_weights(network: nn.Module, path: Path) -> None:
    """Load the parameters of a safetensors file of a run into `network`.

    Raises:
        BrokenFileError: if the file is damaged or belongs to another model.
    """
    remedy = "delete the file to train again"
    tensors = read_tensors(path, remedy=remedy)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        first = str(error).splitlines()[0]
        raise BrokenFileError(
            f"{path}: not the weights of this model ({first}); {remedy}"
        ) from error


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
    except (safetensors.SafetensorError, OSError) as error:
        raise BrokenFileError(f"{path}: expected safetensors, got {error}; {remedy}") from error


def checksum(path: Path) -> str:
    """Return the hex SHA-256 of a file; cached until its time stamp or size changes."""
    stat = path.stat()
    return _digest(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=16)
def _digest(path: Path, _modified_ns: int, _num_bytes: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_digest(network: nn.Module) -> str:
    """Return the hex SHA-256 of all parameters and buffers with their names."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        if isinstance(value, Tensor):
            array = value.detach().cpu().contiguous()
            digest.update(f"{name} {array.dtype} {tuple(array.shape)}\n".encode())
            digest.update(array.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


class State(NamedTuple):
    """The tensors of a weights file by name, and messages on how it was read."""

    tensors: dict[str, Tensor]
    notes: tuple[str, ...]


def fill_network(network: nn.Module, path: Path) -> tuple[str, ...]:
    """Load a user's weights into `network` and return messages on how they were read.

    Raises:
        BrokenFileError: as `read_state`, and for the weights of another model; the message lists
            the first names that are missing, unexpected or of another shape.
    """
    state = read_state(path)
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    shapes = [
        f"{name} is {tuple(value.shape)} instead of {expected[name]}"
        for name, value in state.tensors.items()
        if name in expected and tuple(value.shape) != expected[name]
    ]
    problems = {"wrong shape": shapes}
    if not shapes:
        result = network.load_state_dict(state.tensors, strict=False)
        problems = {"missing": result.missing_keys, "unexpected": result.unexpected_keys}
    listed = "; ".join(f"{kind}: {_join_first(names)}" for kind, names in problems.items() if names)
    if listed:
        raise BrokenFileError(
            f"{path}: not the weights of this model, {listed}; pass the model they were trained "
            "with"
        )
    return state.notes


def read_state(path: Path) -> State:
    """Read the state dict of a user's file, safetensors or saved by torch, to the CPU.

    Raises:
        MissingDataError: if there is no such file.
        BrokenFileError: if it is neither safetensors nor a plain state dict. A pickle with other
            objects is rejected before any of its code is executed.
    """
    if not path.is_file():
        raise MissingDataError(f"no such weights file: {path}; correct --weights")
    if path.suffix == ".safetensors":
        content: Any = read_tensors(path, remedy="save or copy it again")
    else:
        content = _read_pickle(path)
    notes: list[str] = []
    for name in NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
            notes.append(f"{path.name}: the weights under key '{name}' are used")
            break
    tensors = _check_state(path, content)
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
            notes.append(f"{path.name}: the prefix '{prefix}' of every name was removed")
    return State(tensors, tuple(notes))


def _read_pickle(path: Path) -> Any:
    _check_archive(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the errors below replace torch's warnings
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise any exception
        match = re.search(r"GLOBAL ([\w.]+)", str(error))
        rejected = match[1] if match else ""
        if "TorchScript" in str(error):
            rejected = "a TorchScript program"
        if rejected:
            raise BrokenFileError(
                f"{path}: expected only tensors, got a pickle that builds {rejected}; its code "
                f"was not executed; {SAVE_PLAIN}"
            ) from error
        raise BrokenFileError(
            f"{path}: neither safetensors nor a state dict that torch.load reads; {SAVE_PLAIN}"
        ) from error


def _check_archive(path: Path) -> None:
    """Raise for a compressed archive, which torch never writes and which could expand in memory."""
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            is_packed = any(m.compress_type != zipfile.ZIP_STORED for m in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return  # torch.load reports the error
    if is_packed:
        raise BrokenFileError(
            f"{path}: expected a file written by torch.save, got a compressed archive; {SAVE_PLAIN}"
        )


def _check_state(path: Path, content: Any) -> dict[str, Tensor]:
    is_mapping = isinstance(content, Mapping)
    if not is_mapping or not content or not all(isinstance(name, str) for name in content):
        kind = "an empty one" if is_mapping and not content else type(content).__name__
        raise BrokenFileError(f"{path}: expected a state dict, got {kind}; {SAVE_PLAIN}")
    for name, value in content.items():
        if not isinstance(value, Tensor):
            raise BrokenFileError(
                f"{path}: expected a tensor for each name, got {type(value).__name__} under "
                f"'{name}'; {SAVE_PLAIN}"
            )
        if not _is_dense(value):
            raise BrokenFileError(
                f"{path}: expected a dense tensor that stores all its elements under '{name}', got "
                f"another kind ({value.layout}, {tuple(value.shape)}); {SAVE_PLAIN}"
            )
        if value.is_floating_point() and not value.isfinite().all():
            raise InvalidInputError(
                f"{path}: '{name}' holds NaN or infinity; use the weights of a finite training"
            )
    return dict(content)


def _is_dense(value: Tensor) -> bool:
    """Whether a tensor is strided, not quantised, and stores each of its elements."""
    if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
        return False
    return bool(value.untyped_storage().nbytes() >= value.numel() * value.element_size())


def _join_first(names: list[str]) -> str:
    rest = len(names) - MAX_NAMES_SHOWN
    return ", ".join(names[:MAX_NAMES_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
