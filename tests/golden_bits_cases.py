# SPDX-License-Identifier: Apache-2.0
"""The cases of `golden_bits.py`: run by it with the gatewise of one commit or another; prints hashes as JSON."""

from __future__ import annotations

import hashlib
import itertools
import json
import sys
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

import gatewise
from gatewise import _native

if TYPE_CHECKING:
    from collections.abc import Iterator

ACTIVATIONS = ("tanh", "sigmoid", "relu", "linear", "hard_sigmoid")
ISAS = [name for name in ("generic", "avx2", "avx512") if _native.set_isa(name)]
# Batch, timesteps, features, units: around panels, slabs, time blocks, teams, and weights beyond the cache.
SHAPES = [
    (1, 1, 1, 1), (3, 5, 4, 7), (4, 33, 5, 16), (5, 70, 17, 19), (9, 17, 15, 33), (33, 40, 3, 12), (2, 150, 16, 53),
    (1, 70, 8, 150), (1, 40, 5, 256), (70, 9, 6, 24), (40, 6, 20, 421), (3, 40, 300, 96),
]  # fmt: skip
SMALL = SHAPES[3]


def arrays_of(shape: tuple[int, int, int, int], reset_after: bool, mask: str, drop: tuple[int, bool]) -> dict[str, Any]:
    """The inputs of a case; masked steps of x hold NaN."""
    b, t, f, u = shape
    rng = np.random.default_rng([*shape, reset_after])

    def normal(*size: int) -> Any:
        return rng.normal(size=size).astype(np.float32)

    def factors(*size: int) -> Any:
        return ((rng.random(size) < 0.7) / 0.7).astype(np.float32)

    steps = np.arange(t)
    valid = {
        "none": None,
        "right": steps < rng.integers(1, t + 1, (b, 1)),
        "left": steps >= rng.integers(0, t, (b, 1)),
        "holes": rng.random((b, t)) < 0.6,
    }[mask]
    x = normal(b, t, f)
    weights = [normal(f, 3 * u) / np.sqrt(f), normal(u, 3 * u) / np.sqrt(u), normal(2, 3 * u)]
    return {
        "x": x if valid is None else np.where(valid[..., None], x, np.float32(np.nan)),
        "mask": valid,
        "weights": [*weights[:2], weights[2] if reset_after else weights[2][0]],
        "initial_state": normal(b, u),
        "input_dropout": factors(drop[0], b, f) if drop[0] else None,
        "recurrent_dropout": factors(3, b, u) if drop[1] else None,
        "d_outputs": normal(b, t, u),
        "d_state": normal(b, u),
    }  # fmt: skip


def cases() -> Iterator[tuple[str, dict[str, Any]]]:
    """Names of cases and their settings: every shape plain, and every option on a small shape or on several."""
    for shape, after, mask in itertools.product(SHAPES, (True, False), ("none", "holes")):
        yield f"{shape} {after=} {mask=}", {"shape": shape, "reset_after": after, "mask": mask}
    for after, mask, flags in itertools.product(
        (True, False), ("none", "right", "left", "holes"), itertools.product((False, True), repeat=3)
    ):
        backwards, last, zero = flags
        options = {"go_backwards": backwards, "return_sequences": not last, "zero_output_for_mask": zero}
        yield f"{after=} {mask=} {options}", {"shape": SMALL, "reset_after": after, "mask": mask, "options": options}
    for shape, after, masks, recurrent in itertools.product(
        (SHAPES[3], SHAPES[5], SHAPES[7], SHAPES[10]), (True, False), (0, 1, 3), (False, True)
    ):
        setting = {"shape": shape, "reset_after": after, "mask": "right", "drop": (masks, recurrent)}
        yield f"{shape} {after=} {masks=} {recurrent=}", setting
    for after, candidate, gate in itertools.product((True, False), ACTIVATIONS, ACTIVATIONS):
        options = {"activation": candidate, "recurrent_activation": gate}
        yield f"{after=} {options}", {"shape": (3, 5, 4, 19), "reset_after": after, "options": options}
    for shape, after, mask in itertools.product((SHAPES[3], SHAPES[6], SHAPES[7]), (True, False), ("none", "holes")):
        setting = {"shape": shape, "reset_after": after, "mask": mask, "recompute": True}
        yield f"{shape} {after=} {mask=} recompute", setting
    yield "no bias, no state", {"shape": SMALL, "bare": True}
    yield "no bias, no state, reset before", {"shape": SMALL, "bare": True, "reset_after": False}


def run(
    shape: tuple[int, int, int, int],
    reset_after: bool = True,
    mask: str = "none",
    drop: tuple[int, bool] = (0, False),
    options: dict[str, Any] | None = None,
    recompute: bool = False,
    bare: bool = False,
) -> dict[str, Any]:
    """Runs a case forward and backward on NumPy arrays; returns its arrays by name."""
    a, options = arrays_of(shape, reset_after, mask, drop), dict(options or {})
    weights = gatewise.GRUWeights(*a["weights"][: 2 if bare else 3], reset_after=reset_after)
    vjp_of = getattr(gatewise, "rnn_vjp", None) or gatewise.gru_vjp
    state = None if bare else a["initial_state"]
    given = {"mask": a["mask"], "input_dropout": a["input_dropout"], "recurrent_dropout": a["recurrent_dropout"]}

    def call() -> Any:
        return vjp_of(a["x"], weights, state, **{k: v for k, v in given.items() if v is not None}, **options)

    if recompute:
        with gatewise.recompute():
            outputs, last, vjp = call()
    else:
        outputs, last, vjp = call()
    d = vjp(a["d_outputs"] if options.get("return_sequences", True) else a["d_outputs"][:, :1], a["d_state"])
    named = {"x": d.x, "initial_state": d.initial_state, "kernel": d.kernel, "recurrent": d.recurrent_kernel}
    return {"outputs": outputs, "state": last, "bias": d.bias} | named


def steps(shape: tuple[int, int, int, int], reset_after: bool) -> dict[str, Any]:
    """One step after the other, and the first of all again for one row."""
    a = arrays_of(shape, reset_after, "none", (0, False))
    step = (getattr(gatewise, "Step", None) or gatewise.GRUStep)(
        gatewise.GRUWeights(*a["weights"], reset_after=reset_after)
    )
    state, found = a["initial_state"], {}
    for t in range(min(shape[1], 5)):
        state = step(np.ascontiguousarray(a["x"][:, t]), state)
        found[f"step {t}"] = np.array(state)
    found["one row"] = step(np.ascontiguousarray(a["x"][:1, 0]), a["initial_state"][:1])
    return found


def on_torch(shape: tuple[int, int, int, int], batch_first: bool, lengths: bool) -> dict[str, Any]:
    """Two layers of both directions in PyTorch's layout of weights, packed or not."""
    import torch

    b, t, f, u = shape
    torch.manual_seed(u)
    layer = gatewise.torch.GRU(f, u, num_layers=2, bidirectional=True, batch_first=batch_first)
    x = torch.randn((b, t, f) if batch_first else (t, b, f), requires_grad=True)
    given = x
    if lengths:
        sizes = torch.arange(b) % t + 1
        given = torch.nn.utils.rnn.pack_padded_sequence(x, sizes, batch_first, enforce_sorted=False)
    outputs, state = layer(given)
    outputs = outputs.data if lengths else outputs
    ((outputs**2).sum() + state.sum()).backward()
    named = {"outputs": outputs, "state": state, "x": x.grad} | {n: p.grad for n, p in layer.named_parameters()}
    return {name: value.detach().numpy() for name, value in named.items()}


def on_keras(shape: tuple[int, int, int, int], mask: str, reset_after: bool, **options: Any) -> dict[str, Any]:
    """Both directions in Keras's layout of weights, on PyTorch."""
    import keras
    import torch

    import gatewise.keras

    a = arrays_of(shape, reset_after, mask, (0, False))
    layer = keras.layers.Bidirectional(
        gatewise.keras.GRU(shape[3], return_sequences=True, reset_after=reset_after, **options)
    )
    layer.build(a["x"].shape)
    layer.set_weights(a["weights"] * 2)
    x = torch.tensor(np.nan_to_num(a["x"]), requires_grad=True)
    outputs = layer(x, mask=None if a["mask"] is None else torch.tensor(a["mask"]), training=True)
    (outputs**2).sum().backward()
    named = {"outputs": outputs, "x": x.grad} | {w.path: w.value.grad for w in layer.trainable_weights}
    return {name: value.detach().numpy() for name, value in named.items()}


def hashes(arrays: dict[str, Any]) -> dict[str, str]:
    """A hash of each array that is there."""
    return {
        name: hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()[:16]
        for name, value in arrays.items()
        if value is not None
    }


def main() -> None:
    """Runs all cases on every instruction set, and some on several numbers of threads."""
    import gatewise.torch

    warnings.simplefilter("ignore")
    found = {}
    for isa in ISAS:
        _native.set_isa(isa)
        for i, (name, setting) in enumerate(cases()):
            gatewise.set_num_threads((2, 1, 3)[i % 3])
            found[f"{isa} {name}"] = hashes(run(**setting))
        gatewise.set_num_threads(None)
        for shape, after in itertools.product(SHAPES, (True, False)):
            found[f"{isa} {shape} {after=} step"] = hashes(steps(shape, after))
        for shape, first, lengths in itertools.product((SHAPES[3], SHAPES[5], SHAPES[7]), (True, False), (True, False)):
            found[f"{isa} {shape} {first=} {lengths=} torch"] = hashes(on_torch(shape, first, lengths))
        for shape, mask, after in itertools.product((SHAPES[3], SHAPES[7]), ("none", "holes"), (True, False)):
            found[f"{isa} {shape} {mask=} {after=} keras"] = hashes(on_keras(shape, mask, after))
        setting = {"dropout": 0.3, "recurrent_dropout": 0.3, "seed": 7}
        found[f"{isa} dropout keras"] = hashes(on_keras(SMALL, "right", True, **setting))
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
