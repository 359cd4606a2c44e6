"""From `package.module:name` or `path/to/file.py:name` to the network that the code there makes."""

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
    """A new network from the factory, class or instance that `reference` names.

    The current folder can be imported from, and so can the folder of a file. Random initial
    weights depend on nothing but the factory.

    Raises:
        InvalidInputError: if it is no such reference, its code fails, the factory needs arguments
            or makes something else.
        MissingDataError: if there is no such file or module.
        UnknownNameError: if the module has no such name.
    """
    requested = parse_reference(reference)
    with _importable(_folders(requested)):
        with seeded(0, "import of an own model"):
            found = _named(_module(requested), requested)
        if isinstance(found, nn.Module):
            return copy.deepcopy(found)
        _check_callable(found, reference, requested.name)
        with seeded(0, "own model"), _explained(f"model '{reference}': calling it failed"):
            network = found()
    if not isinstance(network, nn.Module):
        raise InvalidInputError(
            f"model '{reference}': expected a torch.nn.Module from it, got "
            f"{type(network).__name__}; return the network itself"
        )
    return network


def _folders(requested: Reference) -> list[str]:
    here = str(Path.cwd())
    return [here] if requested.file is None else [str(requested.file.resolve().parent), here]


@contextmanager
def _importable(folders: list[str]) -> Iterator[None]:
    """Folders that modules are found in first, inside the block."""
    before = list(sys.path)
    sys.path[:0] = folders
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = before


def _module(requested: Reference) -> ModuleType:
    if requested.file is not None:
        return _module_of_file(requested.file)
    place = requested.place
    try:
        found = importlib.util.find_spec(place)
    except (ModuleNotFoundError, ValueError):
        found = None
    except Exception as error:  # a parent package of the user's runs here
        raise InvalidInputError(f"importing {place} failed: {_message(error)}") from error
    if found is None:
        raise MissingDataError(
            f"no module '{place}' can be imported here; change to the folder that holds it, "
            "install it, or name the file: path/to/file.py:name"
        )
    with _explained(f"importing {found.origin or place} failed"):
        return importlib.import_module(place)


def _module_of_file(path: Path) -> ModuleType:
    path = path.resolve()
    name = f"own_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InvalidInputError(f"{path}: not a Python file that can be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickles look their module up
    with _explained(f"importing {path} failed"):
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return module


def _named(module: ModuleType, requested: Reference) -> Any:
    if not hasattr(module, requested.name):
        known = [n for n in dir(module) if callable(getattr(module, n)) and not n.startswith("_")]
        raise unknown_name(requested, known)
    return getattr(module, requested.name)


def _check_callable(found: Any, reference: str, name: str) -> None:
    if not callable(found):
        raise InvalidInputError(
            f"model '{reference}': expected a function without arguments or an nn.Module, got "
            f"{type(found).__name__}"
        )
    needed = _needed_arguments(found)
    if needed:
        raise InvalidInputError(
            f"model '{reference}': it needs arguments ({', '.join(needed)}); write a function "
            f"without any that returns {name}({', '.join(f'{n}=...' for n in needed)}), and name it"
        )


def _needed_arguments(found: Callable[..., Any]) -> list[str]:
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):
        return []
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in optional]


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Whatever the user's code raises as one sentence of ours."""
    try:
        yield
    except LicoBenchError:
        raise
    except (Exception, SystemExit) as error:
        raise InvalidInputError(f"{what}: {_message(error)}; mend it there") from error


def _message(error: BaseException) -> str:
    """Kind and first line of an error, and the line of code that raised it."""
    lines = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    if isinstance(error, SyntaxError):
        return text  # says file and line itself
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1] if frames else None
    return text if last is None else f"{text} ({Path(last.filename).name}, line {last.lineno})"
