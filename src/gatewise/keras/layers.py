# SPDX-License-Identifier: Apache-2.0
"""Our layers, each in the place of one of stock Keras, its attribute `STOCK`."""

from gatewise.keras.gru import GRU

LAYERS = (GRU,)
