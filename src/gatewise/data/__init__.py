# SPDX-License-Identifier: Apache-2.0
"""From raw data to what a GRU reads: `gatewise.data.text`, `gatewise.data.series` and `gatewise.data.audio`.

What is learned from the data (a vocabulary, a scaling) is a small object that is saved as JSON, for a program without
Keras, or inside the `.keras` file of the model that it belongs to (`gatewise.data.preprocessing`). Nothing here needs
TensorFlow; pandas, polars, soundfile, tokenizers and Keras are imported where they are used.
"""
