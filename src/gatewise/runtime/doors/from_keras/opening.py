# SPDX-License-Identifier: Apache-2.0
"""Reading a `.keras` file: gatewise's classes are known to it, and nothing is registered."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatewise.runtime.doors.from_keras.errors import KerasModelError

if TYPE_CHECKING:
    import os


def open_model(keras: Any, path: str | os.PathLike[str]) -> Any:
    """Loads a model with stock's layers in the place of gatewise's: they have the same weights.

    Args:
        keras: the package.
        path: the file.

    Returns:
        The model.

    Raises:
        FileNotFoundError: there is no such file.
        KerasModelError: it is no `.keras` file.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"from_keras: there is no file {path}. Give a model, or the path that model.save made.")
    if path.suffix != ".keras" or not path.is_file():
        raise KerasModelError(
            f"from_keras: {path.name} is no .keras file. Expected a file that model.save('model.keras') made; received "
            f"{'a folder' if path.is_dir() else f'the suffix {path.suffix!r}'}. Load the model yourself, and give it."
        )

    class Preprocessing(keras.layers.Identity):  # type: ignore[misc]  # Keras has no types
        """Stands for gatewise's, whose module would register its classes."""

        def __init__(self, kept: Any, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.kept = kept

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "kept": self.kept}

    Preprocessing.__module__ = __name__
    ours = {f"gatewise>{name}": getattr(keras.layers, name) for name in ("GRU", "LSTM", "SimpleRNN")}
    stand_ins = {**ours, "gatewise>Preprocessing": Preprocessing}
    return keras.saving.load_model(path, custom_objects=stand_ins, compile=False)
