# SPDX-License-Identifier: Apache-2.0
"""Our modules, each in the place of one of PyTorch's, its attribute `STOCK`."""

from gatewise.torch.gru import GRU

LAYERS = (GRU,)
