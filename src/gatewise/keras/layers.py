# SPDX-License-Identifier: Apache-2.0
"""Our layers, each in the place of one of stock Keras, its attribute `STOCK`."""

from gatewise.keras.gru import GRU
from gatewise.keras.layer_norm import LayerNormGRU, LayerNormLSTM
from gatewise.keras.lstm import LSTM
from gatewise.keras.simple_rnn import SimpleRNN

__all__ = ["GRU", "LAYERS", "LSTM", "NORMALISED", "LayerNormGRU", "LayerNormLSTM", "SimpleRNN"]

LAYERS = (GRU, LSTM, SimpleRNN)
NORMALISED = (LayerNormGRU, LayerNormLSTM)  # which stock Keras has not
