"""What a run ran on: the part of a result that tells two machines apart."""

import importlib.metadata
import os
import platform
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import psutil

import paperround

# What can change a measurement; versions of packages that are not installed are left out.
_VERSIONS = (
    *("torch", "transformers", "accelerate", "safetensors", "tokenizers", "gguf"),
    *("numpy", "scipy", "scikit-learn", "onnxruntime", "datasketch"),
)


def describe_environment(threads: int, slug: str = "") -> dict[str, Any]:
    """Processor, cores, memory in GB, system, versions and commit. Names no host, user or path.

    `slug` is the paper that is measured: where another package brings it, that one's version too.
    """
    described = {
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "threads": threads,
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "paperround": paperround.__version__,
        "commit": _commit(),
        "versions": {name: version for name in _VERSIONS if (version := _version(name))},
    }
    if accelerators := _accelerators():
        described["accelerators"] = accelerators
    if package := _package(slug):
        described["room"] = package
    return described


def _package(slug: str) -> str | None:
    """Name and version of the package that brings a paper, where it is another than this one."""
    for point in importlib.metadata.entry_points(group="paperround.papers", name=slug):
        if point.dist is not None and point.dist.name != "paperround":
            return f"{point.dist.name} {point.dist.version}"
    return None


@cache
def _accelerators() -> str:
    """The names of the NVIDIA GPUs here, as their own tool gives them; empty without any."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ""
    command = [tool, "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return ", ".join(line.strip() for line in done.stdout.splitlines() if line.strip())


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


@cache
def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@cache
def _commit() -> str | None:
    """The commit of a source checkout, `+changes` where it was not clean; None when installed."""
    root = Path(paperround.__file__).parents[2]
    if not (root / ".git").exists():
        return None
    try:
        head = _git(root, "rev-parse", "--short=12", "HEAD")
        return head + ("+changes" if _git(root, "status", "--porcelain", "--", "src") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()
