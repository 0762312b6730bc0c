# SPDX-License-Identifier: Apache-2.0
"""How much memory this process takes. It imports next to nothing, so that asking takes none."""

from __future__ import annotations


def resident(field: str) -> int:
    """Bytes of resident memory: "VmRSS", now, or "VmHWM", the peak."""
    with open("/proc/self/status", encoding="utf-8") as lines:  # noqa: PTH123  # pathlib is what a peer may import
        return int(next(line for line in lines if line.startswith(f"{field}:")).split()[1]) * 1024
