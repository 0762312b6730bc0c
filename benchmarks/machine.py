# SPDX-License-Identifier: Apache-2.0
"""The machine: what it is, how fast it can multiply and add at most, and who else uses it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
import subprocess
import time
from pathlib import Path
from typing import Any

PACKAGES = ("numpy", "keras", "tensorflow-cpu", "jax", "torch", "onnxruntime", "openvino")
SOURCE = Path(__file__).with_name("peak.cpp")


def available_cpus() -> int:
    """The CPUs that this process may use."""
    return len(os.sched_getaffinity(0))


def cpu_name() -> str:
    """The CPU as the system calls it, and its kind where goals depend on that."""
    return (_cpuinfo("model name") or platform.processor()) + (" (Zen 4)" if is_zen4() else "")


def is_zen4() -> bool:
    """Whether the CPU is one of AMD's Zen 4: family 25, as Zen 3 is, but with AVX-512."""
    amd = _cpuinfo("vendor_id") == "AuthenticAMD" and _cpuinfo("cpu family") == "25"
    return amd and "avx512f" in _cpuinfo("flags").split()


def _cpuinfo(field: str) -> str:
    """What the system says of the first CPU, or nothing."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == field:
            return value.strip()
    return ""


def versions(*others: str) -> dict[str, str]:
    """The versions of what is compared, and of others, as far as it is installed."""
    installed = {d.metadata["Name"].lower(): d.version for d in importlib.metadata.distributions()}
    return {name: installed[name] for name in ("gatewise", *PACKAGES, *others) if name in installed}


class Load:
    """Watches who uses the machine from now on."""

    def __init__(self) -> None:
        self._start = self._now()

    def since(self) -> tuple[float, float, float]:
        """The seconds since then, and the shares in [0, 1] of the machine that other processes and the host took."""
        seconds, busy, steal, own = (now - then for now, then in zip(self._now(), self._start, strict=True))
        capacity = seconds * (os.cpu_count() or 1)
        return seconds, max(0.0, busy - own) / capacity, steal / capacity

    @staticmethod
    def _now() -> tuple[float, float, float, float]:
        """Seconds: on the clock; of all CPUs, busy or taken by the host; of this process and its ended children."""
        ticks = [int(field) for field in Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0].split()[1:9]]
        user, nice, system, _, _, interrupts, soft_interrupts, steal = (
            tick / os.sysconf("SC_CLK_TCK") for tick in ticks
        )
        usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        own = sum(usage.ru_utime + usage.ru_stime for usage in usages)
        return time.perf_counter(), user + nice + system + interrupts + soft_interrupts, steal, own


class Peak:
    """The machine's peak in FMAs, measured by a loop of nothing else."""

    def __init__(self, folder: Path) -> None:
        self._program = folder / "peak"
        compiler = os.environ.get("CXX", "c++")
        command = [compiler, "-std=c++17", "-O3", "-march=native", "-pthread", str(SOURCE), "-o", str(self._program)]
        subprocess.run(command, check=True)
        self.samples: list[dict[str, Any]] = []

    def sample(self) -> list[dict[str, Any]]:
        """Measures once: GFLOP/s of one thread and of all CPUs, with vectors of 8 floats and, if there are, of 16."""
        found = self._run(1, available_cpus())
        self.samples += found
        return found

    def missing(self) -> float:
        """The share of the best sample that all CPUs together do not reach now.

        A half, for example, where the host runs both CPUs of a virtual machine on one core of its own, which it does
        for seconds at a time and counts nowhere.
        """
        best = max(sample["gflops"] for sample in self.samples)
        return max(0.0, 1 - max(sample["gflops"] for sample in self._run(available_cpus())) / best)

    def _run(self, *threads: int) -> list[dict[str, Any]]:
        command = [self._program, *map(str, sorted({*threads}))]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        found = (line.split() for line in lines)
        return [{"lanes": int(lanes), "threads": int(n), "gflops": float(gflops)} for lanes, n, gflops in found]
