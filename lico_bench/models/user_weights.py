"""Read a user's weights: safetensors, or a state dict loaded without executing its code."""

from __future__ import annotations

import hashlib
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from lico_bench.errors import BrokenFileError, InvalidInputError, MissingDataError

NESTED = ("state_dict", "model_state_dict", "model")  # keys of state dicts in checkpoints
PREFIXES = ("module.", "_orig_mod.")  # of DataParallel and of torch.compile
MAX_NAMES_SHOWN = 3  # in a message
SAVE_PLAIN = "save torch.save(model.state_dict(), PATH), or safetensors"


@dataclass(frozen=True)
class State:
    """The tensors of a weights file by name, and messages on how it was read."""

    tensors: dict[str, Tensor]
    notes: tuple[str, ...]


def read_state(path: Path) -> State:
    """Read the state dict in `path` to the CPU.

    Raises:
        MissingDataError: if there is no such file.
        BrokenFileError: if it is neither safetensors nor a plain state dict. A pickle with other
            objects is rejected before any of its code is executed.
    """
    if not path.is_file():
        raise MissingDataError(f"no such weights file: {path}; correct --weights")
    is_safetensors = path.suffix == ".safetensors"
    content: Any = _read_safetensors(path) if is_safetensors else _read_pickle(path)
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


def fill_network(network: nn.Module, path: Path) -> tuple[str, ...]:
    """Load the weights of `path` into `network` and return messages on how they were read.

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
    _check_mismatch(path, "wrong shape", shapes)
    result = network.load_state_dict(state.tensors, strict=False)
    _check_mismatch(
        path, "missing", result.missing_keys, also=("unexpected", result.unexpected_keys)
    )
    _check_mismatch(path, "unexpected", result.unexpected_keys)
    return state.notes


def weights_digest(network: nn.Module) -> str:
    """Return the hex SHA-256 of all parameters and buffers with their names."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        if isinstance(value, Tensor):
            array = value.detach().cpu().contiguous()
            digest.update(f"{name} {array.dtype} {tuple(array.shape)}\n".encode())
            digest.update(array.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = safetensors.torch.load_file(path)
    except (SafetensorError, OSError) as error:
        raise BrokenFileError(
            f"{path}: not a complete safetensors file ({error}); save or copy it again"
        ) from error
    return tensors


def _read_pickle(path: Path) -> Any:
    _check_archive(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the errors below replace torch's warnings
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise any exception
        rejected = _rejected_object(str(error))
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


def _rejected_object(message: str) -> str:
    """Return the object that torch.load rejected, from its message; empty for a damaged file."""
    if "TorchScript" in message:
        return "a TorchScript program"
    match = re.search(r"GLOBAL ([\w.]+)", message)
    return match[1] if match else ""


def _check_state(path: Path, content: Any) -> dict[str, Tensor]:
    is_state = isinstance(content, Mapping) and content
    if not is_state or not all(isinstance(name, str) for name in content):
        raise BrokenFileError(
            f"{path}: expected a state dict, got {_type_name(content)}; {SAVE_PLAIN}"
        )
    others = [name for name, value in content.items() if not isinstance(value, Tensor)]
    if others:
        raise BrokenFileError(
            f"{path}: expected a tensor for each name, got {_type_name(content[others[0]])} under "
            f"'{others[0]}'; {SAVE_PLAIN}"
        )
    for name, value in content.items():
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


def _type_name(value: Any) -> str:
    return "an empty one" if isinstance(value, Mapping) and not value else type(value).__name__


def _check_mismatch(
    path: Path, problem: str, names: list[str], also: tuple[str, list[str]] | None = None
) -> None:
    """Raise if `names` is not empty."""
    if not names:
        return
    message = f"{problem}: {_join_first(names)}"
    if also is not None and also[1]:
        message += f"; {also[0]}: {_join_first(also[1])}"
    raise BrokenFileError(
        f"{path}: not the weights of this model, {message}; pass the model they were trained with"
    )


def _join_first(names: list[str]) -> str:
    rest = len(names) - MAX_NAMES_SHOWN
    return ", ".join(names[:MAX_NAMES_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
