"""Import `package.module:name` or `path/to/file.py:name` and build the user's network."""

from __future__ import annotations

import copy
import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from lico_bench.errors import InvalidInputError, LicoBenchError, MissingDataError
from lico_bench.models.user_reference import Reference, parse_reference, unknown_name
from lico_bench.runtime import seeded


def build_network(reference: str) -> nn.Module:
    """Return a new network from the factory, class or instance named by `reference`.

    The code can import from the current folder and from the folder of its file. Random initial
    weights depend only on the factory.

    Raises:
        InvalidInputError: for an invalid reference, an error in the code, a factory that needs
            arguments, or a result that is not a network.
        MissingDataError: if there is no such file or module.
        UnknownNameError: if the module has no such name.
    """
    requested = parse_reference(reference)
    with _import_paths(_import_folders(requested)):
        with seeded(0, "import of an own model"):
            found = _get_name(_import_module(requested), requested)
        if isinstance(found, nn.Module):
            return copy.deepcopy(found)
        _check_callable(found, reference, requested.name)
        with seeded(0, "own model"), _convert_errors(f"model '{reference}': calling it failed"):
            network = found()
    if not isinstance(network, nn.Module):
        raise InvalidInputError(
            f"model '{reference}': expected a torch.nn.Module from it, got "
            f"{type(network).__name__}; return the network itself"
        )
    return network


def _import_folders(requested: Reference) -> list[str]:
    here = str(Path.cwd())
    return [here] if requested.file is None else [str(requested.file.resolve().parent), here]


@contextmanager
def _import_paths(folders: list[str]) -> Iterator[None]:
    """Put `folders` at the start of `sys.path` inside the block."""
    before = list(sys.path)
    sys.path[:0] = folders
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = before


def _import_module(requested: Reference) -> ModuleType:
    if requested.file is not None:
        return _import_file(requested.file)
    module = requested.source
    try:
        spec = importlib.util.find_spec(module)
    except (ModuleNotFoundError, ValueError):
        spec = None
    except Exception as error:  # code of a parent package runs here
        raise InvalidInputError(
            f"importing {module} failed: {_describe(error)}; correct the code"
        ) from error
    if spec is None:
        raise MissingDataError(
            f"no module '{module}' can be imported here; change to the folder that contains it, "
            "install it, or name the file: path/to/file.py:name"
        )
    with _convert_errors(f"importing {spec.origin or module} failed"):
        return importlib.import_module(module)


def _import_file(path: Path) -> ModuleType:
    path = path.resolve()
    name = f"own_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InvalidInputError(f"{path}: not a Python file that can be imported; correct --model")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look up their module here
    with _convert_errors(f"importing {path} failed"):
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return module


def _get_name(module: ModuleType, requested: Reference) -> Any:
    if not hasattr(module, requested.name):
        known = [n for n in dir(module) if callable(getattr(module, n)) and not n.startswith("_")]
        raise unknown_name(requested, known)
    return getattr(module, requested.name)


def _check_callable(found: Any, reference: str, name: str) -> None:
    if not callable(found):
        raise InvalidInputError(
            f"model '{reference}': expected a function without arguments or an nn.Module, got "
            f"{type(found).__name__}; name a factory"
        )
    required = _required_arguments(found)
    if required:
        raise InvalidInputError(
            f"model '{reference}': it needs arguments ({', '.join(required)}); write and name a "
            "function without arguments that returns "
            f"{name}({', '.join(f'{n}=...' for n in required)})"
        )


def _required_arguments(found: Callable[..., Any]) -> list[str]:
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):
        return []
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in optional]


@contextmanager
def _convert_errors(step: str) -> Iterator[None]:
    """Convert any error of the user's code to InvalidInputError with a one-line message."""
    try:
        yield
    except LicoBenchError:
        raise
    except (Exception, SystemExit) as error:
        raise InvalidInputError(f"{step}: {_describe(error)}; correct the code") from error


def _describe(error: BaseException) -> str:
    """Return type and first line of an error, and the code line that raised it."""
    lines = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    if isinstance(error, SyntaxError):
        return text  # includes file and line
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1] if frames else None
    return text if last is None else f"{text} ({Path(last.filename).name}, line {last.lineno})"
