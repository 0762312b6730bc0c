# SPDX-License-Identifier: Apache-2.0
"""What a comparison ran on, in words."""

from __future__ import annotations

import sys

from gatewise.engine import num_threads
from gatewise.info import cpu_model


def machine() -> str:
    """Names the CPU, the threads of the engine, and the backend of Keras with its version."""
    import keras

    backend, threads = keras.backend.backend(), num_threads()
    version = getattr(sys.modules.get(backend), "__version__", "")
    on = f"{threads} thread{'s' if threads > 1 else ''}"
    return f"{cpu_model()}, {on}; Keras {keras.__version__} on {backend} {version}".rstrip()
