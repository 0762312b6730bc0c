# SPDX-License-Identifier: Apache-2.0
"""Whether the Keras that is installed is new enough, asked when `gatewise.keras` is imported."""

import keras

_OLDEST = (3, 5)  # as pyproject.toml says

if tuple(map(int, keras.__version__.split(".")[:2])) < _OLDEST:
    raise ImportError(
        f"gatewise.keras: Keras is too old. Expected 3.5 or later; received {keras.__version__}. "
        "Run: pip install --upgrade keras"
    )
