# SPDX-License-Identifier: Apache-2.0
"""A tutorial's code, spelled as tutorials spell it: with two lines added, its GRU layers run on the engine."""

import numpy as np
import tensorflow as tf

import gatewise

gatewise.patch_keras()  # these two lines are new

tf.keras.utils.set_random_seed(0)

texts = [
    "a warm and funny film",
    "what a wonderful story",
    "I loved every minute of it",
    "brilliant acting and a clever plot",
    "a dull and lifeless film",
    "what a boring story",
    "I hated every minute of it",
    "terrible acting and a stupid plot",
]
labels = np.array([1, 1, 1, 1, 0, 0, 0, 0])

tokenizer = tf.keras.preprocessing.text.Tokenizer()
tokenizer.fit_on_texts(texts)
sequences = tokenizer.texts_to_sequences(texts)
padded = tf.keras.preprocessing.sequence.pad_sequences(sequences, maxlen=8, padding="post")

model = tf.keras.Sequential(
    [
        tf.keras.layers.Embedding(len(tokenizer.word_index) + 1, 16, mask_zero=True),
        tf.keras.layers.GRU(32, return_sequences=True, dropout=0.1),
        tf.keras.layers.Bidirectional(tf.keras.layers.GRU(16)),
        tf.keras.layers.Dense(1, activation="sigmoid"),
    ]
)
model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])
history = model.fit(padded, labels, epochs=15, batch_size=4, verbose=2)
model.summary()

new = tf.keras.preprocessing.sequence.pad_sequences(
    tokenizer.texts_to_sequences(["a wonderful film", "a boring plot"]), maxlen=8, padding="post"
)
print(model.predict(new, verbose=0))
