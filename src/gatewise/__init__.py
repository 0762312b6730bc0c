# SPDX-License-Identifier: Apache-2.0
"""gatewise: recurrent layers at the speed of the CPU.

`gatewise.rnn` runs a layer on NumPy arrays, `gatewise.Step` one step of it; `gatewise.keras.GRU` is the drop-in for
`keras.layers.GRU` and `gatewise.torch.GRU` that for `torch.nn.GRU`; `gatewise.patch_keras()` and
`gatewise.patch_torch()` put the engine under those two themselves. Importing this package needs NumPy and safetensors
alone; a framework is imported when one of its names is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gatewise import native as native
from gatewise.compare import compare as compare
from gatewise.engine import isa as isa
from gatewise.engine import num_threads as num_threads
from gatewise.engine import set_num_threads as set_num_threads
from gatewise.explain import explain as explain
from gatewise.extras import KERAS, required_by
from gatewise.fallback import FallbackWarning as FallbackWarning
from gatewise.fallback import portable as portable
from gatewise.info import info as info
from gatewise.inspect import inspect as inspect
from gatewise.layer_norm_weights import LayerNormGRUWeights as LayerNormGRUWeights
from gatewise.layer_norm_weights import LayerNormLSTMWeights as LayerNormLSTMWeights
from gatewise.native import rnn as rnn
from gatewise.native import rnn_vjp as rnn_vjp
from gatewise.recompute import recompute as recompute
from gatewise.step import Step as Step
from gatewise.weights import GRUWeights as GRUWeights
from gatewise.weights import LSTMWeights as LSTMWeights
from gatewise.weights import SimpleRNNWeights as SimpleRNNWeights

if TYPE_CHECKING:
    from gatewise import keras as keras
    from gatewise import runtime as runtime
    from gatewise import torch as torch
    from gatewise.keras import patch_keras as patch_keras
    from gatewise.keras import unpatch_keras as unpatch_keras
    from gatewise.runtime import load as load
    from gatewise.runtime import save as save
    from gatewise.torch import patch_torch as patch_torch
    from gatewise.torch import unpatch_torch as unpatch_torch

__version__ = "0.1.0"

# What needs a framework, or is not needed by most programs, and the module that holds each; a module holds itself.
_LAZY = {
    "runtime": "gatewise.runtime",
    "load": "gatewise.runtime",
    "save": "gatewise.runtime",
    "keras": "gatewise.keras",
    "torch": "gatewise.torch",
    "patch_keras": "gatewise.keras",
    "unpatch_keras": "gatewise.keras",
    "patch_torch": "gatewise.torch",
    "unpatch_torch": "gatewise.torch",
}
_EXTRAS = {"gatewise.keras": KERAS, "gatewise.torch": ("torch",)}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        with required_by(f"gatewise.{name}", *_EXTRAS.get(_LAZY[name], ())):
            module = importlib.import_module(_LAZY[name])
        return module if module.__name__ == f"gatewise.{name}" else getattr(module, name)
    message = f"module 'gatewise' has no attribute {name!r}"
    raise AttributeError(message)
