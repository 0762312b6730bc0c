# SPDX-License-Identifier: Apache-2.0
"""`torch.nn.GRU` with its layers on the engine."""

from __future__ import annotations

import torch

from gatewise.torch.native import Native


class GRU(Native, torch.nn.GRU):
    """Reads sequences with gated recurrent units: `torch.nn.GRU`, faster on a CPU, with the same numbers.

    Arguments, parameters, call and state dict are those of `torch.nn.GRU`; so is what it computes, with these remarks:

    - bfloat16 and float16 are computed in float32 and rounded at the end of the call; results have the input's dtype.
    - The output is contiguous, whatever `batch_first` says.
    - What is exported or traced (`torch.export`, ONNX, TorchScript) holds PyTorch's own operations.
      `torch.jit.script` puts a `torch.nn.GRU` with the same parameters in this module's place.
    - Tools that know a `torch.nn.GRU` by its very class, `torch.ao.quantization.quantize_dynamic` among them, leave
      this module as it is. A warning says so where it can be seen; the cure is `gatewise.torch.convert(model,
      to="stock")`.

    Beyond stock's it takes

    - `zoneout=0.1`: in training every unit of every layer keeps its state in a step with this probability, drawn anew
      for every row, step and unit by PyTorch's generator; else the state is zoneout * before + (1 - zoneout) * new
      (Krueger et al. 2016, arXiv 1606.01305). The draws take one byte for each number of the outputs while a step of
      training lasts.
    - `gru(x, starts=starts)`: boundaries inside sequences, see `forward`.

    PyTorch's own path has neither: where it would run instead of the engine, they raise NotImplementedError.

    Attributes:
        fallback_reason: why PyTorch's own path ran in the latest call; None if the engine ran. The reasons: a device
            other than the CPU, float64, tensors of different dtypes, sparse ones, export and tracing, transformations
            of torch.func, forward-mode derivatives, `gatewise.portable()`.

    Example:
        >>> import torch
        >>> gru = GRU(5, 4, num_layers=2, bidirectional=True, batch_first=True)
        >>> gru.load_state_dict(torch.nn.GRU(5, 4, num_layers=2, bidirectional=True).state_dict())
        <All keys matched successfully>
        >>> outputs, state = gru(torch.zeros(2, 3, 5))
        >>> tuple(outputs.shape), tuple(state.shape), gru.fallback_reason
        ((2, 3, 8), (4, 2, 4), None)
    """

    STOCK = torch.nn.GRU
    ZONEOUT = ("zoneout",)
    zoneout: float = 0.0
