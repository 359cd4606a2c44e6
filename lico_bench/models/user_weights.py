"""A user's weights: safetensors, or a plain state dict read without executing anything in it."""

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

NESTED = ("state_dict", "model_state_dict", "model")  # where training scripts put it
PREFIXES = ("module.", "_orig_mod.")  # of DataParallel and of torch.compile
NAMED_KEYS = 3  # of a mismatch, in its message
SAVE_PLAIN = "save torch.save(model.state_dict(), PATH), or safetensors"


@dataclass(frozen=True)
class State:
    """The tensors of a weights file by name, and sentences on what was done to read it."""

    tensors: dict[str, Tensor]
    notes: tuple[str, ...]


def read_state(path: Path) -> State:
    """The state dict in `path`, on the CPU.

    Raises:
        MissingDataError: if there is no such file.
        BrokenFileError: if it is neither safetensors nor a plain state dict. A pickle that holds
            more than tensors and plain values is refused before anything of it is executed.
    """
    if not path.is_file():
        raise MissingDataError(f"no such weights file: {path}; correct --weights")
    content: Any = _read_safetensors(path) if _is_safetensors(path) else _read_pickle(path)
    notes: list[str] = []
    for name in NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
            notes.append(f"{path.name}: the weights under '{name}' are used")
            break
    tensors = _checked(path, content)
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
            notes.append(f"{path.name}: the prefix '{prefix}' of every name was dropped")
    return State(tensors, tuple(notes))


def fill_network(network: nn.Module, path: Path) -> tuple[str, ...]:
    """Put the weights of `path` into `network`; sentences on what was done to read them.

    Raises:
        BrokenFileError: for what `read_state` refuses, and for the weights of another model; the
            first names that are missing, unexpected or of another shape are told.
    """
    state = read_state(path)
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    shapes = [
        f"{name} is {tuple(value.shape)} in place of {expected[name]}"
        for name, value in state.tensors.items()
        if name in expected and tuple(value.shape) != expected[name]
    ]
    _refuse(path, "of another shape", shapes)
    found = network.load_state_dict(state.tensors, strict=False)
    _refuse(path, "missing", found.missing_keys, also=("unexpected", found.unexpected_keys))
    _refuse(path, "unexpected", found.unexpected_keys)
    return state.notes


def weights_digest(network: nn.Module) -> str:
    """Hex SHA-256 of every parameter and buffer with its name: the identity of a model."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        if isinstance(value, Tensor):
            plain = value.detach().cpu().contiguous()
            digest.update(f"{name} {plain.dtype} {tuple(plain.shape)}\n".encode())
            digest.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _is_safetensors(path: Path) -> bool:
    return path.suffix == ".safetensors"


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = safetensors.torch.load_file(path)
    except (SafetensorError, OSError) as error:
        raise BrokenFileError(
            f"{path}: not a whole safetensors file ({error}); save or copy it again"
        ) from error
    return tensors


def _read_pickle(path: Path) -> Any:
    _check_archive(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch thinks of a foreign pickle is said below
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle raises nearly anything
        foreign = _foreign_object(str(error))
        if foreign:
            raise BrokenFileError(
                f"{path}: expected tensors alone, got a pickle that builds {foreign}; nothing "
                f"of it was executed; {SAVE_PLAIN}"
            ) from error
        raise BrokenFileError(
            f"{path}: neither safetensors nor a state dict that torch.load reads; {SAVE_PLAIN}"
        ) from error


def _check_archive(path: Path) -> None:
    """Raise if the archive that torch writes was packed by somebody else, so that it could grow."""
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            is_packed = any(m.compress_type != zipfile.ZIP_STORED for m in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return  # told by who reads it
    if is_packed:
        raise BrokenFileError(
            f"{path}: expected a file as torch.save writes it, got a compressed archive; "
            f"{SAVE_PLAIN}"
        )


def _foreign_object(message: str) -> str:
    """What torch's safe reader refused to build, in its own words; empty for a torn file."""
    if "TorchScript" in message:
        return "a TorchScript program"
    named = re.search(r"GLOBAL ([\w.]+)", message)
    return named[1] if named else ""


def _checked(path: Path, content: Any) -> dict[str, Tensor]:
    is_state = isinstance(content, Mapping) and content
    if not is_state or not all(isinstance(name, str) for name in content):
        raise BrokenFileError(
            f"{path}: expected a state dict, got {_message(content)}; {SAVE_PLAIN}"
        )
    foreign = [name for name, value in content.items() if not isinstance(value, Tensor)]
    if foreign:
        raise BrokenFileError(
            f"{path}: expected a tensor for each name, got {_message(content[foreign[0]])} under "
            f"'{foreign[0]}'; {SAVE_PLAIN}"
        )
    for name, value in content.items():
        if not _holds_its_numbers(value):
            raise BrokenFileError(
                f"{path}: expected a tensor with all its own numbers, got another kind under "
                f"'{name}' ({value.layout}, {tuple(value.shape)}); {SAVE_PLAIN}"
            )
        if value.is_floating_point() and not value.isfinite().all():
            raise InvalidInputError(
                f"{path}: '{name}' holds NaN or infinity; take weights of a training that went well"
            )
    return dict(content)


def _holds_its_numbers(value: Tensor) -> bool:
    """Whether a tensor is dense and not one number that claims to be many."""
    if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
        return False
    return bool(value.untyped_storage().nbytes() >= value.numel() * value.element_size())


def _message(value: Any) -> str:
    return "an empty one" if isinstance(value, Mapping) and not value else type(value).__name__


def _refuse(
    path: Path, what: str, names: list[str], also: tuple[str, list[str]] | None = None
) -> None:
    if not names:
        return
    message = f"{what}: {_first(names)}"
    if also is not None and also[1]:
        message += f"; {also[0]}: {_first(also[1])}"
    raise BrokenFileError(
        f"{path}: not the weights of this model, {message}; pass the model they were trained with"
    )


def _first(names: list[str]) -> str:
    rest = len(names) - NAMED_KEYS
    return ", ".join(names[:NAMED_KEYS]) + (f" and {rest} more" if rest > 0 else "")
