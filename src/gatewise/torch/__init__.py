# SPDX-License-Identifier: Apache-2.0
"""PyTorch modules that run on the engine: `gatewise.torch.GRU` stands wherever `torch.nn.GRU` stood.

`patch_torch()` is the other door: after it, `torch.nn.GRU` itself runs on the engine, in libraries too. `convert` turns
the modules of one model into ours, and back.
"""

from gatewise.extras import required_by

with required_by("gatewise.torch", "torch"):
    from gatewise.torch.convert import convert
    from gatewise.torch.layer_norm import LayerNormGRU, LayerNormLSTM
    from gatewise.torch.layers import GRU, LSTM, RNN

from gatewise.torch.patch import patch_torch, unpatch_torch

__all__ = ["GRU", "LSTM", "RNN", "LayerNormGRU", "LayerNormLSTM", "convert", "patch_torch", "unpatch_torch"]
