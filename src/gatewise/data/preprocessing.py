# SPDX-License-Identifier: Apache-2.0
"""The layer that carries what was learned from the data inside the `.keras` file of the model.

Importing this, or `gatewise.keras`, registers `Vocabulary`, `Subwords`, `Tokenizer`, `Labels`, `Scaler`,
`SeasonalScaler`, `SeriesScaler` and `LogMel` with Keras, so that a model that holds them loads.
"""

from __future__ import annotations

from typing import Any, Self

from gatewise.extras import KERAS, required_by

with required_by("gatewise.data.preprocessing", *KERAS):
    import keras

from gatewise.data.audio.log_mel import LogMel
from gatewise.data.labels import Labels
from gatewise.data.saved import PACKAGE
from gatewise.data.scaling import Scaler
from gatewise.data.series.seasonal_scaler import SeasonalScaler
from gatewise.data.series.series_scaler import SeriesScaler
from gatewise.data.text.subwords import Subwords
from gatewise.data.text.tokenizer import Tokenizer
from gatewise.data.text.vocabulary import Vocabulary

for _kind in (Labels, LogMel, Scaler, SeasonalScaler, SeriesScaler, Subwords, Tokenizer, Vocabulary):
    keras.saving.register_keras_serializable(package=PACKAGE)(_kind)


# Where gatewise is not imported, Keras's error ends in the configuration of the layer, and that ends in this.
_TO_LOAD = (
    "import gatewise.keras first, or load without gatewise by custom_objects={'gatewise>Preprocessing': Kept}, where "
    "Kept is a subclass of keras.layers.Identity that takes the argument kept"
)


@keras.saving.register_keras_serializable(package=PACKAGE)
class Preprocessing(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Passes its input on unchanged, and keeps with the model what the input was made with.

    Put it anywhere into a model; `find_preprocessing` gets back from the loaded model what it keeps. Where gatewise is
    not, the file loads with a stand-in, `custom_objects={"gatewise>Preprocessing": Kept}`, whose `kept` is then what
    `get_config` of each thing gave:

        class Kept(keras.layers.Identity):
            def __init__(self, kept, **kwargs):
                super().__init__(**kwargs)
                self.kept = kept

    Args:
        name: the layer's name.
        kept: what is kept, each by the name that the program gives it: a `Vocabulary`, `Scaler`, `Labels`, `LogMel`,
            or anything else that Keras can serialise.

    Raises:
        ValueError: it keeps nothing.

    Example:
        >>> import tempfile
        >>> from gatewise.data.text import Vocabulary
        >>> vocabulary = Vocabulary().adapt(["a warm film", "a cold film"])
        >>> model = keras.Sequential(
        ...     [
        ...         keras.Input((None,), dtype="int32"),
        ...         Preprocessing(text=vocabulary),
        ...         keras.layers.Embedding(vocabulary.vocabulary_size(), 4, mask_zero=True),
        ...     ]
        ... )
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(f"{folder}/model.keras")
        ...     loaded = keras.saving.load_model(f"{folder}/model.keras")
        >>> find_preprocessing(loaded)["text"](["a cold book"])
        array([[3, 5, 1]], dtype=int32)
    """

    def __init__(self, name: str | None = None, dtype: Any = None, trainable: bool = True, **kept: Any) -> None:
        super().__init__(name=name, dtype=dtype, trainable=trainable, autocast=False)
        if not kept:
            raise ValueError(
                "Preprocessing: it keeps nothing. Expected what the input was made with; received no argument. "
                "Write for instance Preprocessing(text=vocabulary)."
            )
        self.kept = kept
        self.supports_masking = True

    def call(self, inputs: Any) -> Any:
        """Gives the input back.

        Args:
            inputs: any tensor.

        Returns:
            The same tensor.
        """
        return inputs

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Gives the shape of the input.

        Args:
            input_shape: any shape.

        Returns:
            The same.
        """
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Describes the layer completely.

        Returns:
            Keras's configuration, and what is kept, serialised.
        """
        kept = {name: keras.saving.serialize_keras_object(one) for name, one in self.kept.items()}
        return {**super().get_config(), "kept": kept}

    def get_build_config(self) -> dict[str, Any] | None:
        """Says what to do where the layer cannot be loaded.

        Returns:
            Keras's configuration, and that.
        """
        config = super().get_build_config()
        return {**config, "to_load": _TO_LOAD} if config else config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Makes the layer that a configuration describes.

        Args:
            config: what `get_config` gave.

        Returns:
            An equal layer.
        """
        kept = {name: keras.saving.deserialize_keras_object(one) for name, one in config["kept"].items()}
        return cls(**{name: value for name, value in config.items() if name != "kept"}, **kept)


def find_preprocessing(model: Any) -> dict[str, Any]:
    """Gets what the `Preprocessing` layers of a model keep.

    Args:
        model: a Keras model.

    Returns:
        All that is kept, by name.

    Raises:
        ValueError: the model has no such layer.
    """
    kept: dict[str, Any] = {}
    for layer in model._flatten_layers():  # noqa: SLF001
        if isinstance(layer, Preprocessing):
            kept |= layer.kept
    if not kept:
        raise ValueError(
            f"find_preprocessing: model {model.name!r} keeps nothing. Expected a Preprocessing layer; received "
            f"{len(model.layers)} other layers. Put Preprocessing(text=vocabulary) into it before it is saved."
        )
    return kept
