# SPDX-License-Identifier: Apache-2.0
"""Text as numbers: characters, bytes, words or subwords, padded and masked, without TensorFlow.

`Vocabulary` and `Subwords` are what new programs use; `Tokenizer` is that of the tutorials, which Keras 3 dropped, with
the same indices. `pad_sequences` is Keras's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewise.data.text.encoder import TextEncoder as TextEncoder
from gatewise.data.text.padding import pad as pad
from gatewise.data.text.reading import read_folders as read_folders
from gatewise.data.text.reading import read_lines as read_lines
from gatewise.data.text.reading import read_text as read_text
from gatewise.data.text.subwords import Subwords as Subwords
from gatewise.data.text.tokenizer import Tokenizer as Tokenizer
from gatewise.data.text.tokenizer import text_to_word_sequence as text_to_word_sequence
from gatewise.data.text.tokenizer import tokenizer_from_json as tokenizer_from_json
from gatewise.data.text.vocabulary import Vocabulary as Vocabulary
from gatewise.extras import KERAS, required_by

if TYPE_CHECKING:
    from keras.utils import pad_sequences as pad_sequences


def __getattr__(name: str) -> Any:
    if name == "pad_sequences":  # Keras is imported when it is asked for
        with required_by("gatewise.data.text.pad_sequences", *KERAS):
            from keras.utils import pad_sequences

        return pad_sequences
    message = f"module 'gatewise.data.text' has no attribute {name!r}"
    raise AttributeError(message)
