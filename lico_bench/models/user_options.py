"""Options that name user models: their arms and weights, the factory and the normalisation.

Errors in the options are found before torch is imported, which takes seconds.
"""

from __future__ import annotations

import ast
import copy
import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from lico_bench.errors import InvalidInputError, LicoBenchError, MissingDataError, UnknownNameError
from lico_bench.records import IMAGENET_MEAN
from lico_bench.runtime import seeded

if TYPE_CHECKING:
    from torch import nn

EXAMPLES = "torchvision.models:resnet18 or path/to/file.py:build"
SINGLE_ARM, PAIR_ARMS = ("model",), ("baseline", "mine")
REFERENCE_ARM = "baseline"  # reports use this arm as the reference in any position
MAX_NAMES_SHOWN = 30  # in a message
Rgb = tuple[float, float, float]
IMAGENET_STD: Rgb = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Normalisation:
    """(image - mean) / std, per channel, of images in [0, 1]."""

    name: str
    mean: Rgb = (0.0, 0.0, 0.0)
    std: Rgb = (1.0, 1.0, 1.0)


NO_NORMALISATION = Normalisation("none")
IMAGENET = Normalisation("imagenet", IMAGENET_MEAN, IMAGENET_STD)


def parse_normalisation(text: str) -> Normalisation:
    """Parse `imagenet`, `none`, or three means, a slash and three standard deviations.

    Raises:
        InvalidInputError: for anything else.
    """
    for known in (IMAGENET, NO_NORMALISATION):
        if text == known.name:
            return known
    try:
        (m1, m2, m3), (s1, s2, s3) = (map(float, part.split(",")) for part in text.split("/"))
    except ValueError as error:
        raise InvalidInputError(
            f"--normalise '{text}': expected imagenet, none, or six numbers in the range of "
            "[0, 1] images, such as 0.5,0.5,0.5/0.25,0.25,0.25"
        ) from error
    if not min(s1, s2, s3) > 0:
        raise InvalidInputError(
            f"--normalise '{text}': expected standard deviations above 0, got {min(s1, s2, s3):g}"
        )
    return Normalisation(text, (m1, m2, m3), (s1, s2, s3))


def name_models(
    reference: str,
    weights: Sequence[Path],
    *,
    arms: Sequence[str] = (),
    normalise: str | None = None,
) -> dict[str, Path | None]:
    """Return the weights file of each model by arm; None keeps the factory's weights.

    Raises:
        LicoBenchError: for an invalid reference, arm name or number of files, or a missing file.
    """
    check_reference(reference)
    if normalise is not None:
        parse_normalisation(normalise)
    if len(weights) > len(PAIR_ARMS):
        raise InvalidInputError(
            f"--weights: expected one or two files, got {len(weights)}; score other pairs in "
            "another run"
        )
    for path in weights:
        if not path.is_file():
            raise MissingDataError(f"no such weights file: {path}; correct --weights")
    files: list[Path | None] = [*weights] or [None]
    return dict(zip(name_arms(arms, len(files)), files, strict=True))


def name_arms(names: Sequence[str], num_models: int) -> tuple[str, ...]:
    """Return one arm name per model; the defaults are `model`, or `baseline` and `mine`.

    Raises:
        InvalidInputError: for a wrong number of names, a duplicate, an invalid name, or a
            `baseline` that is not first.
    """
    arms = tuple(names) or (SINGLE_ARM if num_models == 1 else PAIR_ARMS)
    if len(arms) != num_models:
        raise InvalidInputError(
            f"--arms: expected {num_models} names, one per model, got {len(arms)}; "
            "pass --weights once per model"
        )
    if len(set(arms)) < len(arms):
        raise InvalidInputError(f"--arms: expected two different names, got {', '.join(arms)}")
    if not all(arm.isidentifier() for arm in arms):
        raise InvalidInputError(
            f"--arms: expected names of letters, digits and underscores, got {', '.join(arms)}"
        )
    if REFERENCE_ARM in arms[1:]:
        raise InvalidInputError(
            f"--arms: '{REFERENCE_ARM}' is the reference of every difference; "
            "pass its name and its weights first"
        )
    return arms


class Reference(NamedTuple):
    """Source of a user model: a module name or file path, and the name of its factory."""

    source: str
    name: str

    @property
    def file(self) -> Path | None:
        """The Python file; None for a module that is imported by name."""
        return Path(self.source) if self.source.endswith(".py") else None

    def unknown_name(self, known: list[str]) -> UnknownNameError:
        """Build the error for a missing name; a long list of known names is omitted."""
        error = UnknownNameError.of(f"name in {self.source}:", self.name, known)
        is_short = len(known) < MAX_NAMES_SHOWN
        return error if is_short else UnknownNameError(str(error).partition(" known: ")[0])


def parse_reference(reference: str) -> Reference:
    """Parse `package.module:name` or `path/to/file.py:name`.

    Raises:
        InvalidInputError: for an invalid reference.
        MissingDataError: if its file does not exist.
    """
    source, _, name = reference.rpartition(":")
    if not (source and name.isidentifier()):
        raise InvalidInputError(
            f"model '{reference}': expected package.module:name or path/to/file.py:name, "
            f"such as {EXAMPLES}"
        )
    parsed = Reference(source, name)
    if parsed.file is not None and not parsed.file.is_file():
        raise MissingDataError(f"no such file: {parsed.file}; correct --model")
    return parsed


def check_reference(reference: str) -> None:
    """Check that the source of the file binds the name, without running it.

    Raises:
        InvalidInputError: as `parse_reference`.
        MissingDataError: as `parse_reference`.
        UnknownNameError: for a name that the source never binds.
    """
    parsed = parse_reference(reference)
    if parsed.file is None:
        return
    try:
        tree = ast.parse(parsed.file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return  # the import reports the error with more detail
    bound = _names_bound(tree)
    if bound is not None and parsed.name not in bound:
        defined = [n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
        raise parsed.unknown_name([name for name in defined if not name.startswith("_")])


def _names_bound(tree: ast.Module) -> set[str] | None:
    """Return the names that a module may define; None if the source does not determine them."""
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case (
                ast.Name(id="globals" | "setattr" | "exec" | "vars" | "locals")
                | ast.FunctionDef(name="__getattr__")
                | ast.AsyncFunctionDef(name="__getattr__")
                | ast.ClassDef(name="__getattr__")
                | ast.alias(name="*")
            ):
                return None
            case (
                ast.FunctionDef(name=name)
                | ast.AsyncFunctionDef(name=name)
                | ast.ClassDef(name=name)
                | ast.Name(id=name, ctx=ast.Store())
            ):
                found.add(name)
            case ast.alias(name=name, asname=alias):
                found.add(alias or name.partition(".")[0])
    return found


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
    from torch import nn

    requested = parse_reference(reference)
    with _import_paths(requested.file):
        with seeded(0, "import of an own model"):
            module = _import_module(requested)
        if not hasattr(module, requested.name):
            names = [n for n in dir(module) if callable(getattr(module, n)) and n[0] != "_"]
            raise requested.unknown_name(names)
        found = getattr(module, requested.name)
        if isinstance(found, nn.Module):
            return copy.deepcopy(found)
        _check_factory(found, reference, requested.name)
        with seeded(0, "own model"), _convert_errors(f"model '{reference}': calling it failed"):
            network = found()
    if not isinstance(network, nn.Module):
        raise InvalidInputError(
            f"model '{reference}': expected a torch.nn.Module from it, got "
            f"{type(network).__name__}; return the network itself"
        )
    return network


@contextmanager
def _import_paths(file: Path | None) -> Iterator[None]:
    """Put the folder of `file` and the current folder at the start of `sys.path`."""
    before = list(sys.path)
    folders = [Path.cwd()] if file is None else [file.resolve().parent, Path.cwd()]
    sys.path[:0] = map(str, folders)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = before


def _import_module(requested: Reference) -> ModuleType:
    if requested.file is not None:
        return _import_file(requested.file.resolve())
    name = requested.source
    try:
        spec = importlib.util.find_spec(name)
    except (ModuleNotFoundError, ValueError):
        spec = None
    except Exception as error:  # code of a parent package runs here
        raise InvalidInputError(
            f"importing {name} failed: {_describe(error)}; correct the code"
        ) from error
    if spec is None:
        raise MissingDataError(
            f"no module '{name}' can be imported here; change to the folder that contains it, "
            "install it, or name the file: path/to/file.py:name"
        )
    with _convert_errors(f"importing {spec.origin or name} failed"):
        return importlib.import_module(name)


def _import_file(path: Path) -> ModuleType:
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


def _check_factory(found: Any, reference: str, name: str) -> None:
    if not callable(found):
        raise InvalidInputError(
            f"model '{reference}': expected a function without arguments or an nn.Module, got "
            f"{type(found).__name__}; name a factory"
        )
    try:
        parameters = [*inspect.signature(found).parameters.values()]
    except (TypeError, ValueError):
        return  # a function without a Python signature
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    required = [p.name for p in parameters if p.default is p.empty and p.kind not in optional]
    if required:
        raise InvalidInputError(
            f"model '{reference}': it needs arguments ({', '.join(required)}); write and name a "
            "function without arguments that returns "
            f"{name}({', '.join(f'{n}=...' for n in required)})"
        )


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
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, SyntaxError) or not frames:  # a SyntaxError includes file and line
        return text
    return f"{text} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"
