# SPDX-License-Identifier: Apache-2.0
"""What turns raw data into inputs, as JSON and back: a fixed list of classes of `gatewise.data`, and nothing else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gatewise.data.saved import PACKAGE
from gatewise.options import cut
from gatewise.runtime.format import strict_json
from gatewise.runtime.format.limits import CHAIN, KEPT, LENGTH, SIZE, array, at_most, members, whole, wrong

if TYPE_CHECKING:
    from collections.abc import Mapping

_ENCODER = ("output_sequence_length", "padding", "truncating")
_COUNTS = ("word_counts", "word_docs", "index_docs", "index_word", "word_index")
# By name of a class, the members of its configuration
CONFIGS: dict[str, tuple[str, ...]] = {
    "Labels": ("names",),
    "LogMel": ("rate", "bands", "frame_length", "frame_step", "low", "high", "floor"),
    "Scaler": ("method", "shift", "scale"),
    "SeasonalScaler": ("parts", "waves", "root", "calendar", "usual", "scaler"),
    "SeriesScaler": ("method", "scalers"),
    "Subwords": ("max_tokens", *_ENCODER, "tokenizer"),
    "Tokenizer": (
        *("num_words", "filters", "lower", "split", "char_level", "oov_token", "document_count"),
        *_COUNTS,
    ),
    "Vocabulary": ("split", "max_tokens", "standardize", *_ENCODER, "vocabulary"),
}


def _class(name: str) -> Any:
    """A class by its name; imported here, since few models have raw inputs."""
    from gatewise.data import audio, labels, scaling, series, text

    home = {"Labels": labels, "LogMel": audio, "Scaler": scaling}.get(name, series if name.endswith("Scaler") else text)
    return getattr(home, name)


def preprocessing_to_json(kept: Any) -> Any:
    """Describes an object of `gatewise.data`, or a chain of them, as a file keeps it.

    Args:
        kept: one of the classes of `CONFIGS`; or a list, of which each takes what the one before it gives:
            `[log_mel, scaler]`.

    Returns:
        `{"class_name": ..., "config": ...}`, plain JSON, for `Graph.preprocessing`; of a list a list of such.

    Raises:
        TypeError: it is something else.
        FormatError: JSON cannot hold what it has learned.

    Example:
        >>> from gatewise.data.labels import Labels
        >>> preprocessing_to_json(Labels(["no", "yes"]))
        {'class_name': 'gatewise>Labels', 'config': {'names': ['no', 'yes']}}
    """
    if isinstance(kept, list | tuple):
        described = [preprocessing_to_json(one) for one in kept]
        preprocessing_from_json(described)  # what is no chain cannot be read
        return described
    name = type(kept).__name__
    if name not in CONFIGS or type(kept) is not _class(name):
        raise TypeError(
            f"preprocessing: a model's file does not keep {cut(repr(type(kept)))}. Expected one of "
            f"{', '.join(CONFIGS)}; received {cut(repr(kept))}. Keep it beside the file."
        )
    if getattr(kept, "analyzer", None) is not None:
        raise TypeError(
            "preprocessing: the Tokenizer has an analyzer, which is code. Expected one without; received "
            f"{cut(repr(kept.analyzer))}. Keep it beside the file."
        )
    config = json.loads(strict_json.text_of(f"preprocessing: {name}", kept.get_config()))
    return {"class_name": f"{PACKAGE}>{name}", "config": config}


def preprocessing_from_json(described: Any, where: str = "preprocessing") -> Any:
    """Makes the object, or the chain, that `preprocessing_to_json` described.

    Args:
        described: plain JSON: `{"class_name": ..., "config": ...}`, or a list of such.
        where: opens the messages.

    Returns:
        An equal object; of a list a list.

    Raises:
        FormatError: it describes something else, or the class refuses the configuration.
        ImportError: a Subwords, where tokenizers is not installed; it names the extra.

    Example:
        >>> kept = {"class_name": "gatewise>Labels", "config": {"names": ["no", "yes"]}}
        >>> preprocessing_from_json(kept).decode([1, 0])
        ['yes', 'no']
    """
    return _chain(where, described) if type(described) is list else _part(where, described)


def _part(where: str, described: Any) -> Any:
    """Makes one object."""
    described = members(where, described, ["class_name", "config"])
    names = {f"{PACKAGE}>{name}": name for name in CONFIGS}
    full = described["class_name"]
    if type(full) is not str or full not in names:
        raise wrong(where, "class_name is unknown", f"one of {', '.join(names)}", full)
    where, name = f"{where}: {full}", names[full]
    config = members(where, described["config"], CONFIGS[name])
    _check_sizes(where, config)
    try:
        made = _class(name).from_config(config)
    except BaseException as error:  # a fault inside tokenizers is none of Exception
        if isinstance(error, ImportError) or not (isinstance(error, Exception) or "Panic" in type(error).__name__):
            raise
        expected = f"what {name}.get_config gives"
        raise wrong(where, "the configuration does not fit", expected, f"{type(error).__name__}: {error}") from error
    if name == "Tokenizer":
        _check_tokenizer(where, made)
    elif {**made.get_config(), "tokenizer": None} != {**config, "tokenizer": None}:  # whose text tokenizers may change
        expected = f"what {name}.get_config gives"
        raise wrong(where, "the configuration does not fit", expected, "what makes another")
    return made


def _chain(where: str, described: list[Any]) -> list[Any]:
    """Makes a chain: frames of sound, and how they are scaled."""
    array(where, described, CHAIN, CHAIN)
    log_mel, scaler = (_part(f"{where}[{i}]", one) for i, one in enumerate(described))
    kinds = [type(one).__name__ for one in (log_mel, scaler)]
    if kinds != ["LogMel", "Scaler"]:
        raise wrong(where, "this is no chain", "a LogMel and then a Scaler", ", ".join(kinds))
    if scaler.shift is not None and scaler.shift.size != log_mel.bands:
        expected = f"a Scaler of bands={log_mel.bands} features"
        raise wrong(where, "the parts do not fit each other", expected, f"{scaler.shift.size}")
    return [log_mel, scaler]


def check_all(where: str, preprocessing: Mapping[str, Any]) -> None:
    """Checks everything that a file keeps, by making it.

    Raises:
        FormatError: something is wrong.
    """
    parts = sum(len(one) if type(one) is list else 1 for one in preprocessing.values())
    at_most(f"{where}: preprocessing", "parts", parts, KEPT)
    for name, described in preprocessing.items():
        try:
            preprocessing_from_json(described, f"{where}: preprocessing {cut(repr(name))}")
        except ImportError:
            continue  # the model runs without; whoever gives raw text is told what to install


def _check_sizes(where: str, config: dict[str, Any]) -> None:
    """Bounds what a class would allocate."""
    if config.get("output_sequence_length") is not None:
        whole(f"{where}: output_sequence_length", config["output_sequence_length"], 1, LENGTH)
    if "bands" in config:
        for name in ("rate", "bands", "frame_length", "frame_step"):
            whole(f"{where}: {name}", config[name], 1, LENGTH)
        whole(f"{where}: bands times frame_length", config["bands"] * config["frame_length"], 1, LENGTH)


def _check_tokenizer(where: str, made: Any) -> None:
    """Checks what the class, which takes what TensorFlow's wrote, does not."""
    kinds = {"filters": str, "lower": bool, "split": str, "char_level": bool, "document_count": int}
    optional = {"num_words": int, "oov_token": str}
    numbers = [made.num_words or 0, made.document_count]
    fits = all(type(getattr(made, name)) is kind for name, kind in kinds.items())
    fits &= all(getattr(made, name) is None or type(getattr(made, name)) is kind for name, kind in optional.items())
    for name in _COUNTS:
        counts = getattr(made, name)
        value = str if name == "index_word" else int
        fits &= type(counts) is dict and all(type(one) is value for one in counts.values())
        numbers += [one for one in counts.values() if type(one) is int] if fits else []
    if not fits or not made.split or any(type(number) is not int or not 0 <= number <= SIZE for number in numbers):
        raise wrong(where, "the configuration does not fit", "what Tokenizer.get_config gives", "other kinds")
