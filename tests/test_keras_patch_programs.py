# SPDX-License-Identifier: Apache-2.0
"""Programs that work with stock Keras: patched, they give the same numbers, from the engine."""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tolerance import FLOAT32, assert_close, tolerance

keras = pytest.importorskip("keras", reason="it patches Keras: install the extra of KERAS_BACKEND")

import gatewise  # noqa: E402  # after the skip
from backends import BACKEND, arrays_of, native_calls, tensor, tensorflow_only  # noqa: E402
from gatewise import native  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH, TIMESTEPS, FEATURES, UNITS = 4, 6, 3, 5
RNG = np.random.default_rng(0)
X = RNG.normal(size=(BATCH, TIMESTEPS, FEATURES)).astype(np.float32)
Y = RNG.normal(size=(BATCH, 1)).astype(np.float32)
L = keras.layers
BFLOAT16 = 2.0**-7


def assert_equal_when_patched(
    program: Callable[[], Any], other: Callable[[], Any] | None = None, **size: float
) -> None:
    """Asserts that a program gives the same arrays when patched, natively then.

    Args:
        program: returns arrays, nested; run patched, and before that as it is.
        other: run unpatched instead of `program`.
        size: `steps`, how many times TIMESTEPS steps follow each other; `eps` of the dtype that Keras rounds to.
    """
    keras.utils.set_random_seed(1)
    with native_calls(0):
        expected = (other or program)()
    keras.utils.set_random_seed(1)
    try:
        gatewise.patch_keras()
        before = native.calls()
        found = program()
        assert native.calls() > before
    finally:
        gatewise.unpatch_keras()
    allowed = 4 * tolerance(FEATURES + UNITS, int(TIMESTEPS * size.get("steps", 1)), 1, size.get("eps", FLOAT32))
    keras.tree.assert_same_structure(expected, found)
    for want, got in zip(keras.tree.flatten(expected), keras.tree.flatten(found), strict=True):
        assert_close("a result", got, want, allowed)


def model_of(*layers: Any, timesteps: int | None = TIMESTEPS, compiled: dict[str, Any] | None = None) -> Any:
    model = keras.Sequential([keras.Input((timesteps, FEATURES)), *layers, L.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), "mse", **(compiled or {}))
    return model


def stacked(**options: Any) -> list[Any]:
    return [L.GRU(UNITS, return_sequences=True, **options), L.Bidirectional(L.GRU(UNITS, **options))]


def used(model: Any, x: Any = X, y: Any = Y) -> list[Any]:
    """Trains, evaluates and asks; returns the numbers."""
    losses = model.fit(x, y, epochs=2, batch_size=2, shuffle=False, verbose=0).history["loss"]
    return [np.array(losses), np.array(model.evaluate(x, y, verbose=0)), model.predict(x, verbose=0)]


# --- fit, evaluate, predict ---


# On TensorFlow Keras says that it leaves XLA off; torch.compile warns of what it meets in Keras's code.
@pytest.mark.filterwarnings("ignore:Model doesn't support `jit_compile=True`", "ignore::UserWarning:torch")
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning", "ignore:`torch.jit.script:DeprecationWarning")
def test_jit_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    if BACKEND != "torch":
        assert_equal_when_patched(lambda: used(model_of(*stacked(), compiled={"jit_compile": True})), steps=6)
        return
    import torch

    # What torch traces is not made into C++ here, which takes long; and it needs minutes to trace a loop of Keras: the
    # program without it says what to expect.
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    assert_equal_when_patched(lambda: trained_once(jit_compile=True), lambda: trained_once(jit_compile=False))


def trained_once(*, jit_compile: bool) -> list[Any]:
    model = model_of(L.GRU(UNITS), compiled={"jit_compile": jit_compile})
    return [np.array(model.train_on_batch(X, Y)), *model.get_weights()]


@pytest.mark.parametrize(
    "compiled", [{"run_eagerly": True}, {"steps_per_execution": 2}], ids=["run_eagerly", "steps_per_execution"]
)
def test_options_of_compile(compiled: dict[str, Any]) -> None:
    if BACKEND == "torch" and "steps_per_execution" in compiled:
        pytest.skip("Keras does one step at a time on torch")
    assert_equal_when_patched(lambda: used(model_of(L.GRU(UNITS), compiled=compiled)), steps=4)


def test_regularizers_constraints_and_dropout() -> None:
    options = {
        "kernel_regularizer": "l2",
        "recurrent_constraint": "unit_norm",
        "dropout": 0.3,
        "recurrent_dropout": 0.3,
    }
    assert_equal_when_patched(lambda: used(model_of(L.GRU(UNITS, seed=3, **options))), steps=4)


def test_mixed_precision() -> None:
    program = lambda: model_of(L.GRU(UNITS, dtype="mixed_bfloat16")).predict(X, verbose=0)  # noqa: E731
    assert_equal_when_patched(program, eps=BFLOAT16)


def test_padded_tokens() -> None:
    tokens = np.array([[1, 2, 3, 4, 5, 6], [4, 3, 0, 0, 0, 0], [5, 0, 0, 0, 0, 0], [1, 2, 3, 0, 0, 0]])

    def program() -> Any:
        layers = [L.Embedding(7, FEATURES, mask_zero=True), *stacked(), L.Dense(1)]
        model = keras.Sequential([keras.Input((TIMESTEPS,)), *layers])
        model.compile("sgd", "mse")
        return used(model, tokens)

    assert_equal_when_patched(program, steps=6)


def test_a_state_handed_from_encoder_to_decoder() -> None:
    def program() -> Any:
        source, target = keras.Input((TIMESTEPS, FEATURES)), keras.Input((TIMESTEPS, FEATURES))
        _, state = L.GRU(UNITS, return_state=True)(source)
        outputs = L.GRU(UNITS, return_sequences=True)(target, initial_state=state)
        model = keras.Model([source, target], L.Dense(1)(outputs)[:, -1])
        model.compile("sgd", "mse")
        return used(model, [X, X[::-1].copy()])

    assert_equal_when_patched(program, steps=6)


def test_a_stateful_layer_reads_batch_after_batch() -> None:
    def program() -> Any:
        model = keras.Sequential([keras.Input(batch_shape=(BATCH, TIMESTEPS, FEATURES)), L.GRU(UNITS, stateful=True)])
        return [model.predict(X, batch_size=BATCH, verbose=0) for _ in range(3)]

    assert_equal_when_patched(program, steps=3)


def test_lengths_that_change_from_call_to_call() -> None:
    def program() -> Any:
        model = model_of(*stacked(), timesteps=None)
        return [model.predict(X[:, :length], verbose=0) for length in (3, 6, 2, 6)]

    assert_equal_when_patched(program, steps=3)


def test_a_cloned_model() -> None:
    def program() -> Any:
        model = model_of(*stacked())
        clone = keras.models.clone_model(model)
        clone.set_weights(model.get_weights())
        clone.compile("sgd", "mse")
        return used(clone)

    assert_equal_when_patched(program, steps=6)


class OwnStep(keras.Model):
    """A model with a training step of its own, as the guides of Keras write it for each backend."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.dense = L.GRU(UNITS), L.Dense(1)

    def call(self, x: Any, training: bool = False) -> Any:
        return self.dense(self.gru(x, training=training))

    def train_step(self, *args: Any) -> Any:
        return {"tensorflow": self._tensorflow, "jax": self._jax, "torch": self._torch}[BACKEND](*args)

    def _tensorflow(self, data: Any) -> dict[str, Any]:
        import tensorflow as tf

        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(y=y, y_pred=self(x, training=True))
        self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        return {"loss": loss}

    def _torch(self, data: Any) -> dict[str, Any]:
        import torch

        x, y = data
        self.zero_grad()
        loss = self.compute_loss(y=y, y_pred=self(x, training=True))
        loss.backward()
        with torch.no_grad():
            self.optimizer.apply([v.value.grad for v in self.trainable_weights], list(self.trainable_weights))
        return {"loss": loss.detach()}

    def _jax(self, state: Any, data: Any) -> Any:
        import jax

        trainable, others, optimizer_state, metrics = state
        x, y = data

        def loss_of(trainable: Any) -> Any:
            y_pred, updated = self.stateless_call(trainable, others, x, training=True)
            return self.compute_loss(y=y, y_pred=y_pred), updated

        (loss, updated), gradients = jax.value_and_grad(loss_of, has_aux=True)(trainable)
        trainable, optimizer_state = self.optimizer.stateless_apply(optimizer_state, gradients, trainable)
        return {"loss": loss}, (trainable, updated, optimizer_state, metrics)


def test_a_train_step_of_one_s_own() -> None:
    def program() -> Any:
        model = OwnStep()
        model(X)
        model.compile(keras.optimizers.SGD(0.1), "mse")
        losses = model.fit(X, Y, epochs=3, verbose=0).history["loss"]
        return [np.array(losses), model.predict(X, verbose=0)]

    assert_equal_when_patched(program, steps=4)


# --- The frameworks' own functions ---


def second_gradient(layer: Any, x: Any) -> Any:
    """The gradient, by x, of the sum of the squares of a first gradient."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        x = tf.convert_to_tensor(x)
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                loss = tf.reduce_sum(layer(x) ** 3)
            penalty = tf.reduce_sum(inner.gradient(loss, x) ** 2)
        return outer.gradient(penalty, x)
    if BACKEND == "jax":
        import jax

        first = jax.grad(lambda x: (layer(x) ** 3).sum())
        return jax.grad(lambda x: (first(x) ** 2).sum())(x)
    import torch

    x = torch.tensor(x, requires_grad=True)
    (first,) = torch.autograd.grad((layer(x) ** 3).sum(), x, create_graph=True)
    return torch.autograd.grad((first**2).sum(), x)[0]


@pytest.mark.parametrize("traced", [False, True], ids=["eagerly", "traced"])
def test_a_gradient_of_a_gradient(traced: bool) -> None:
    layer = L.GRU(UNITS)
    layer.build(X.shape)

    def program() -> Any:
        run = lambda x: second_gradient(layer, x)  # noqa: E731
        if traced and BACKEND == "tensorflow":
            import tensorflow as tf

            run = tf.function(run)
        if traced and BACKEND == "jax":
            import jax

            run = jax.jit(run)
        return arrays_of(run(X))

    assert_equal_when_patched(program, steps=4)


def test_a_layer_mapped_over_another_axis() -> None:
    layer = L.GRU(UNITS)
    layer.build(X.shape)

    def program() -> Any:
        return arrays_of(keras.ops.vectorized_map(layer, tensor(np.stack([X, 2 * X]))))

    assert_equal_when_patched(program, steps=2)


@tensorflow_only
@pytest.mark.filterwarnings("ignore:.*traced for XLA.*:gatewise.FallbackWarning")
def test_a_function_compiled_by_xla_beside_one_that_is_not() -> None:
    import tensorflow as tf

    layer = L.GRU(UNITS)
    layer.build(X.shape)
    assert_equal_when_patched(
        lambda: arrays_of([tf.function(layer, jit_compile=xla)(tf.constant(X)) for xla in (True, False)])
    )


@tensorflow_only
def test_jacobians_and_forward_mode() -> None:
    import tensorflow as tf

    layer, x = L.GRU(UNITS), tf.constant(X)
    layer.build(X.shape)

    def program() -> Any:
        with tf.GradientTape(persistent=True) as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                loss = tf.reduce_sum(layer(x) ** 2)
            gradient = inner.gradient(loss, x)
            outputs = layer(x)
        with tf.autodiff.ForwardAccumulator(x, tf.ones_like(x)) as accumulator:
            forward = layer(x)
        return arrays_of([outer.jacobian(outputs, x), outer.jacobian(gradient, x), accumulator.jvp(forward)])

    assert_equal_when_patched(program, steps=4)


@pytest.mark.skipif(BACKEND != "torch", reason="a claim about torch.func: KERAS_BACKEND=torch")
@pytest.mark.filterwarnings("ignore:.*torch.func.*:gatewise.FallbackWarning")
@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")  # torch's forward mode imports it
@pytest.mark.parametrize("name", ["grad", "jacrev", "jacfwd", "hessian"])
def test_transformations_of_torch_func(name: str) -> None:
    import torch

    layer, x = L.GRU(UNITS), torch.from_numpy(X)
    layer.build(X.shape)
    transformed = getattr(torch.func, name)(lambda x: (layer(x) ** 2).sum())
    # Such a function has no rule for the engine's operations, and what follows it runs on them.
    assert_equal_when_patched(lambda: arrays_of([transformed(x), layer(x)]), steps=4)


@pytest.mark.skipif(BACKEND != "torch", reason="a claim about torch's forward mode: KERAS_BACKEND=torch")
@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")  # torch's forward mode imports it
@pytest.mark.filterwarnings("ignore:.*forward-mode.*:gatewise.FallbackWarning")
def test_forward_mode_of_torch() -> None:
    import torch

    x = torch.from_numpy(X)
    layers = [L.GRU(UNITS, reset_after=False), L.Bidirectional(L.GRU(UNITS, return_sequences=True))]

    def program() -> Any:
        found = []
        for layer in layers:
            layer(x)
            with torch.autograd.forward_ad.dual_level():
                outputs = layer(torch.autograd.forward_ad.make_dual(x, torch.ones_like(x)))
                found.append(torch.autograd.forward_ad.unpack_dual(outputs).tangent)
        return arrays_of(found)

    assert_equal_when_patched(program, steps=4)


@pytest.mark.skipif(BACKEND != "jax", reason="a claim about JAX: KERAS_BACKEND=jax")
@pytest.mark.parametrize("name", ["grad", "jacrev", "jacfwd", "hessian", "jvp", "linearize"])
def test_transformations_of_jax(name: str) -> None:
    import jax

    layer = L.Bidirectional(L.GRU(UNITS))
    layer.build(X.shape)
    x = jax.numpy.asarray(X)

    def loss(x: Any) -> Any:
        return (layer(x, mask=np.arange(TIMESTEPS) < np.array([[6], [2], [0], [4]])) ** 2).sum()

    def program() -> Any:
        if name == "jvp":
            return arrays_of(jax.jvp(loss, (x,), (x,)))
        return arrays_of([jax.linearize(loss, x)[1](x) if name == "linearize" else getattr(jax, name)(loss)(x)])

    assert_equal_when_patched(program, steps=4)


@pytest.mark.skipif(BACKEND != "jax", reason="a claim about JAX: KERAS_BACKEND=jax")
def test_the_hessian_of_a_small_model_is_that_of_float64() -> None:
    import jax

    x, y = X[:2, :4], Y[:2]

    def hessian(dtype: str) -> list[list[Any]]:
        options = {"dtype": dtype, "recurrent_initializer": "glorot_uniform"}  # the stock one takes seconds to compile
        layers = [L.GRU(3, return_sequences=True, **options), L.GRU(2, **options), L.Dense(1, dtype=dtype)]
        model = keras.Sequential([keras.Input(x.shape[1:], dtype=dtype), *layers])
        others = [variable.value for variable in model.non_trainable_variables]

        def loss(weights: list[Any]) -> Any:
            found = model.stateless_call(weights, others, x.astype(dtype))[0]
            return ((found - y.astype(dtype)) ** 2).mean()

        rng = np.random.default_rng(1)
        weights = [jax.numpy.asarray(rng.normal(size=value.shape), dtype) for value in model.trainable_variables]
        return arrays_of(jax.jit(jax.hessian(loss))(weights))

    with jax.enable_x64(True):
        expected = hessian("float64")
    gatewise.patch_keras()
    try:
        before = native.calls()
        found = hessian("float32")
        assert native.calls() > before
    finally:
        gatewise.unpatch_keras()
    of_layers = range(6)  # the two layers' three weights each; then come those of Dense
    for i, j in itertools.product(of_layers, of_layers):
        got, want = found[i][j], expected[i][j]
        assert want.dtype == np.float64
        last_of_first = expected[i][i].ndim // 2 - 1  # gates lie along the last axis of either weight
        for rows in zip(*(np.split(of, 3, axis=last_of_first) for of in (got, want)), strict=True):
            for block, exact in zip(*(np.split(of, 3, axis=-1) for of in rows), strict=True):
                assert np.linalg.norm(exact) > 0
                assert np.linalg.norm(block - exact) < 2e-5 * np.linalg.norm(exact)
