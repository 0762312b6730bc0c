# SPDX-License-Identifier: Apache-2.0
"""gatewise: the GRU layer of Keras at the speed of the CPU.

`gatewise.gru` runs a layer on NumPy arrays; `gatewise.keras.GRU` is the drop-in for `keras.layers.GRU`. Importing this
package needs NumPy and safetensors alone; Keras and TensorFlow are imported when `gatewise.keras` is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from gatewise import native as native
from gatewise.native import gru as gru
from gatewise.native import gru_vjp as gru_vjp
from gatewise.native import isa as isa
from gatewise.native import num_threads as num_threads
from gatewise.native import set_num_threads as set_num_threads
from gatewise.weights import GRUWeights as GRUWeights

if TYPE_CHECKING:
    from types import ModuleType

    from gatewise import keras as keras

__version__ = "0.1.0"


def __getattr__(name: str) -> ModuleType:
    if name == "keras":
        return importlib.import_module("gatewise.keras")
    message = f"module 'gatewise' has no attribute {name!r}"
    raise AttributeError(message)
