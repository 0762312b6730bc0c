# SPDX-License-Identifier: Apache-2.0
"""What means more to its owner than its numbers is refused, not dropped: masks, gradients, missing values, options."""

from __future__ import annotations

import importlib.util
import re
import sys
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import gatewise
import own_process
from gatewise import reference

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BATCH, TIMESTEPS, FEATURES, UNITS = 4, 6, 5, 3
rng = np.random.default_rng(5)
X = rng.normal(size=(BATCH, TIMESTEPS, FEATURES)).astype(np.float32)
ARRAYS = [rng.normal(size=shape).astype(np.float32) for shape in ((FEATURES, 9), (UNITS, 9), (2, 9))]
WEIGHTS = gatewise.GRUWeights(*ARRAYS)
MASK = np.array([[1, 1, 0, 1, 0, 0]] * BATCH, bool)


def specification(**arguments: Any) -> Any:
    return reference.forward(arguments.pop("x"), *ARRAYS, **arguments).outputs


def layer(**arguments: Any) -> Any:
    return gatewise.rnn(arguments.pop("x"), WEIGHTS, **arguments)[0]


def layer_to_train(**arguments: Any) -> Any:
    return gatewise.rnn_vjp(arguments.pop("x"), WEIGHTS, **arguments)[0]


FACES = {"rnn": layer, "rnn_vjp": layer_to_train, "reference": specification}
MASKABLE = {
    "x": X,
    "initial_state": np.ones((BATCH, UNITS), np.float32),
    "mask": MASK.astype(np.float32),
    "input_dropout": np.ones((1, BATCH, FEATURES)),
    "recurrent_dropout": np.ones((3, BATCH, UNITS)),
}


@pytest.mark.parametrize("name", MASKABLE)
@pytest.mark.parametrize("face", FACES)
def test_a_masked_array_is_refused_with_the_cure(face: str, name: str) -> None:
    array = MASKABLE[name]
    for masked in (np.ma.masked_array(array, array > 0), np.ma.masked_array(array), list(np.ma.masked_array(array))):
        with pytest.raises(TypeError, match=rf"^{face}: {name} is a masked array\. Expected .*\.filled\("):
            FACES[face](**{"x": X, name: masked})


def test_the_cure_for_masked_sequences_is_what_their_owner_means() -> None:
    x = np.ma.masked_array(X, np.repeat(~MASK[..., None], FEATURES, axis=2))
    with pytest.raises(TypeError, match="is a masked array") as caught:
        gatewise.rnn(x, WEIGHTS)
    given = re.search(r"x\.filled\(0\), mask=(.*)\.$", str(caught.value))
    assert given
    mask = eval(given[1], {"numpy": np, "x": x})  # noqa: S307 - what the message says to type
    np.testing.assert_array_equal(mask, MASK)
    np.testing.assert_array_equal(
        gatewise.rnn(x.filled(0), WEIGHTS, mask=mask)[0], gatewise.rnn(X, WEIGHTS, mask=MASK)[0]
    )


def test_gradients_and_weights_given_as_masked_arrays_are_refused() -> None:
    vjp = gatewise.rnn_vjp(X, WEIGHTS)[2]
    with pytest.raises(TypeError, match=r"rnn_vjp: d_outputs is a masked array"):
        vjp(np.ma.masked_array(np.ones((BATCH, TIMESTEPS, UNITS)), False))
    with pytest.raises(TypeError, match=r"rnn_vjp: d_state is a masked array"):
        vjp(None, np.ma.masked_array(np.ones((BATCH, UNITS)), np.eye(BATCH, UNITS)))
    with pytest.raises(TypeError, match=r"reference: d_state is a masked array"):
        reference.backward(reference.forward(X, *ARRAYS), d_state=np.ma.masked_array(np.ones((BATCH, UNITS))))
    for i, name in enumerate(("kernel", "recurrent_kernel", "bias")):
        with pytest.raises(TypeError, match=rf"GRUWeights: {name} is a masked array.*{name}\.filled\(0\)"):
            gatewise.GRUWeights(*(np.ma.masked_array(array) if i == j else array for j, array in enumerate(ARRAYS)))


def test_a_masked_number_within_lists_is_refused() -> None:
    rows = X.tolist()
    rows[1][2][3] = np.ma.masked
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's, that it takes it as NaN
        assert np.isnan(np.asarray(rows)).sum() == 1
    with pytest.raises(TypeError, match="rnn: x is a masked array"):
        gatewise.rnn(rows, WEIGHTS)
    np.testing.assert_array_equal(gatewise.rnn(X.tolist(), WEIGHTS)[0], gatewise.rnn(X, WEIGHTS)[0])


class Own(np.ndarray[Any, Any]):
    pass


def test_classes_whose_numbers_are_all_that_they_mean_are_taken(tmp_path: Path) -> None:
    x = np.memmap(tmp_path / "x", np.float32, "w+", shape=X.shape)
    x[:] = X
    state = MASKABLE["initial_state"]
    expected = gatewise.rnn(X, WEIGHTS, state, MASK)[0]
    np.testing.assert_array_equal(gatewise.rnn(x, WEIGHTS, state.view(Own), MASK.view(Own))[0], expected)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble, ">f4"])
@pytest.mark.parametrize("face", FACES)
def test_a_mask_with_nan_is_refused(face: str, dtype: Any) -> None:
    mask = MASK.astype(dtype)
    mask[0, 0] = mask[2, 5] = np.nan
    with pytest.raises(ValueError, match=rf"^{face}: mask holds NaN\. Expected a number.*received 2 NaN of 24\."):
        FACES[face](x=X, mask=mask)


@pytest.mark.parametrize("face", FACES)
def test_a_mask_counts_every_number_but_zero(face: str) -> None:
    expected = FACES[face](x=X, mask=MASK)
    tiny = 1e-300, np.longdouble("1e-4900")  # zero in float32 and float64
    for one in (*tiny, -2, np.inf, np.uint64(2**63)):
        mask = np.where(MASK, one, -0.0 if isinstance(one, float) else 0)
        np.testing.assert_array_equal(FACES[face](x=X, mask=mask), expected)


def test_a_mask_of_another_form_is_named() -> None:
    with pytest.raises(ValueError, match=r"rnn: mask is not an array\. .*received list.*Give all rows the same length"):
        gatewise.rnn(X, WEIGHTS, mask=[[1, 1], [1]])
    with pytest.raises(ValueError, match=r"rnn: mask has the wrong rank\..*received \(4,\)\. Give one value for each"):
        gatewise.rnn(X, WEIGHTS, mask=[6, 4, 3, 1])


@pytest.mark.parametrize("option", ["go_backwards", "return_sequences", "zero_output_for_mask"])
@pytest.mark.parametrize("value", [np.array([True, False]), np.array([0]), "False", 0, 2, None, []], ids=repr)
def test_an_option_that_is_no_bool_is_refused(option: str, value: Any) -> None:
    received = re.escape(repr(value))
    with pytest.raises(TypeError, match=rf"rnn: {option} has the wrong type\. Expected True or False; .* {received}\."):
        gatewise.rnn(X, WEIGHTS, **{option: value})
    if option != "return_sequences":
        with pytest.raises(TypeError, match=f"reference: {option} has the wrong type"):
            reference.forward(X, *ARRAYS, **{option: value})


def test_numpys_bools_are_bools() -> None:
    outputs = gatewise.rnn(X, WEIGHTS, go_backwards=np.True_, return_sequences=np.False_)[0]
    np.testing.assert_array_equal(outputs, gatewise.rnn(X[:, ::-1], WEIGHTS)[0][:, -1:])


def test_an_activation_given_as_anything_but_a_name_is_refused() -> None:
    for value in (np.array(["tanh", "relu"]), ["tanh"], None, np.tanh):
        with pytest.raises(ValueError, match="rnn: activation is unknown"):
            gatewise.rnn(X, WEIGHTS, activation=value)  # type: ignore[arg-type]


def test_what_came_is_cut_where_it_is_long() -> None:
    for call in (
        lambda: gatewise.rnn(X, WEIGHTS, activation="swish" * 1000),
        lambda: gatewise.rnn(X, WEIGHTS, go_backwards="yes" * 1000),  # type: ignore[arg-type]
        lambda: gatewise.rnn(np.zeros(3, [(f"column {i}", "f4") for i in range(500)]), WEIGHTS),
        lambda: gatewise.set_num_threads("2" * 1000),  # type: ignore[arg-type]
        lambda: gatewise.set_num_threads(10**1000),
    ):
        with pytest.raises((TypeError, ValueError), match="received") as caught:
            call()
        assert len(str(caught.value)) < 250


def refused(value: Any, *parts: str) -> None:
    with pytest.raises(TypeError, match=r"^rnn: x ") as caught:
        gatewise.rnn(value, WEIGHTS)
    for part in parts:
        assert part in str(caught.value)


def test_what_is_no_array_of_numbers_is_named_by_what_it_is() -> None:
    refused(None, "received NoneType. Give it as an array of float32.")
    refused((step for step in X), "received generator.")
    refused(np.array([[["a", 1.0]]], object), "received dtype object, which holds 'a'. Convert it to float32 first.")
    refused(X.astype(object), "received dtype object. Convert it to float32 first.")
    refused(np.zeros((2, 3), [("a", "f4"), ("b", "f4")]), "received dtype [('a', '<f4'), ('b', '<f4')].")


def test_tensors_that_are_no_arrays_yet_are_named_with_their_frameworks_cure() -> None:
    torch = pytest.importorskip("torch")
    refused(torch.tensor(X, requires_grad=True), "x is not an array.", "received Tensor", "tensor.detach().numpy()")
    refused([torch.tensor(X[0], requires_grad=True)], "received list", "tensor.detach().numpy()")
    refused(torch.empty(X.shape, device="meta"), "can't convert meta device type tensor to numpy")
    refused(torch.tensor(X).to_sparse(), "Tensor.to_dense()")
    refused(torch.tensor(X).bfloat16(), "BFloat16", "Convert it to a numpy array first.")
    np.testing.assert_array_equal(gatewise.rnn(torch.tensor(X), WEIGHTS)[0], gatewise.rnn(X, WEIGHTS)[0])


def test_traced_arrays_are_refused_in_one_line() -> None:
    jax = pytest.importorskip("jax")
    with pytest.raises(TypeError, match=r"^rnn: x is not an array\..*traced array[^\n]*Convert it to a numpy array"):
        jax.jit(lambda x: gatewise.rnn(x, WEIGHTS)[0])(X)


def test_tables_with_missing_values_and_sparse_matrices_are_named() -> None:
    pandas, scipy_sparse = pytest.importorskip("pandas"), pytest.importorskip("scipy.sparse")
    missing = pandas.DataFrame({name: pandas.array([1.5, 2, None, 3], dtype="Float64") for name in "abc"})
    unsure = pandas.DataFrame({str(i): pandas.array([True, None, False, True], dtype="boolean") for i in range(6)})
    for arguments, name, received in (
        ({"initial_state": missing}, "initial_state", "dtype object, which holds <NA>"),
        ({"mask": unsure}, "mask", "dtype object, which holds <NA>"),
        ({"initial_state": scipy_sparse.csr_matrix(np.ones((BATCH, UNITS)))}, "initial_state", "csr_matrix"),
    ):
        with pytest.raises(TypeError, match=rf"rnn: {name} has the wrong type\. Expected real .* received {received}"):
            gatewise.rnn(X, WEIGHTS, **arguments)
    whole = pandas.DataFrame(np.ones((BATCH, UNITS)))
    assert gatewise.rnn(X, WEIGHTS, whole)[0].shape == (BATCH, TIMESTEPS, UNITS)


def test_integers_are_rounded_to_the_nearest_float32() -> None:
    given, nearest = [2**24 - 1, 2**24 + 1, 2**24 + 3, -(2**53) - 1], [16777215.0, 16777216.0, 16777220.0, -(2.0**53)]
    kernel = np.zeros((4, 3), np.int64)
    kernel[:, 2] = given
    assert gatewise.GRUWeights(kernel, np.zeros((1, 3))).kernel[:, 2].tolist() == nearest
    # A unit that takes its input: the candidate is linear, and the update gate a half.
    weights = gatewise.GRUWeights([[0.0, 0.0, 2.0]], [[0.0] * 3])
    outputs, _ = gatewise.rnn(np.array(given).reshape(4, 1, 1), weights, activation="linear")
    assert outputs.ravel().tolist() == nearest


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0, 0), (0, 2**31 - 1)])
def test_no_rows_and_no_steps_are_no_error(shape: tuple[int, int]) -> None:
    state = np.ones((shape[0], UNITS), np.float32)
    outputs, last, vjp = gatewise.rnn_vjp(np.zeros((*shape, FEATURES), np.float32), WEIGHTS, state)
    assert outputs.shape == (*shape, UNITS)
    np.testing.assert_array_equal(last, state)
    d = vjp(d_state=state)
    np.testing.assert_array_equal(d.initial_state, state)
    assert d.x.shape == (*shape, FEATURES)
    assert not d.kernel.any()
    assert not d.recurrent_kernel.any()


def test_results_that_fit_nowhere_are_a_memory_error_with_words() -> None:
    wide = gatewise.GRUWeights(np.zeros((1, 3000), np.float32), np.zeros((1000, 3000), np.float32))
    nothing = np.zeros((2**40, 0, 1), np.float32)  # no steps, so that the sequences take no memory
    with pytest.raises(
        MemoryError, match=r"rnn: there is no memory for the state\. Expected 4096000\.0 GiB, .*received"
    ):
        gatewise.rnn(nothing, wide)
    with pytest.raises(MemoryError, match=r"rnn_vjp: there is no memory for the outputs\. .* Give fewer sequences"):
        gatewise.rnn_vjp(np.zeros((2**60, 0, 1), np.float32), wide)  # more bytes than an address can count
    with pytest.raises(MemoryError, match=r"rnn: x has to be copied, and there is no memory.* \(1048576, 1048576, 1\)"):
        gatewise.rnn(np.broadcast_to(np.float32(0), (2**20, 2**20, 1)), wide)


def test_more_steps_than_the_engine_counts_are_refused() -> None:
    message = (
        r"gatewise: a size is out of range\. .* 2147483647 sequences .*; received 0 and 2147483648\. Give them in parts"
    )
    for face in (gatewise.rnn, gatewise.rnn_vjp):
        with pytest.raises(ValueError, match=message):
            face(np.zeros((0, 2**31, FEATURES), np.float32), WEIGHTS)


# Lets the process have so many MB more than it has.
LIMIT = """
import resource, numpy as np, gatewise
from pathlib import Path
gatewise.set_num_threads(1)
def limit(megabytes):
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
def refusal(call, *arguments):
    try:
        call(*arguments)
    except MemoryError as error:
        return str(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the size of a process is read from /proc")
def test_memory_that_runs_out_on_the_way_is_an_error_and_no_crash(tmp_path: Path) -> None:
    program = f"""{LIMIT}
import json
narrow = gatewise.GRUWeights(np.zeros((1, 12)), np.zeros((4, 12)))
wide = gatewise.GRUWeights(np.zeros((1, 9000), np.float32), np.zeros((3000, 9000), np.float32))
gatewise.rnn(np.zeros((1, 1, 1)), narrow)  # which starts what a process has once
step, short = gatewise.Step(narrow), np.zeros((2**14, 100, 1), np.float32)
x, state = np.zeros((2**22, 1), np.float32), np.zeros((2**22, 4), np.float32)
one = np.zeros((1, 1, 1))
limit(50)  # of 64 for the states, 100 and more for the way back, 100 for weights as the engine reads them
calls = (step, x, state), (gatewise.rnn_vjp, short, narrow), (gatewise.rnn, one, wide), (gatewise.Step, wide)
print(json.dumps([refusal(*call) for call in calls]))
"""
    of_step, of_vjp, of_engine, of_packing = own_process.run(program, tmp_path)
    assert "Unable to allocate 64.0 MiB" in of_step
    assert re.match(r"rnn_vjp: there is no memory for what the backward pass needs\. Expected 0\.\d GiB", of_vjp)
    assert of_vjp.endswith("Give fewer sequences at once, or call it inside gatewise.recompute().")
    for message in (of_engine, of_packing):
        assert message.startswith("gatewise: there is no memory for what the engine computes in. Give fewer sequences")


def another_import(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The weights' module once more, under another name."""
    spec = importlib.util.spec_from_file_location("vendored_weights", str(sys.modules["gatewise.weights"].__file__))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "vendored_weights", module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("where", "call"),
    [
        ("rnn", lambda weights: gatewise.rnn(X, weights)),
        ("rnn_vjp", lambda weights: gatewise.rnn_vjp(X, weights)),
        ("Step", gatewise.Step),
    ],
)
def test_weights_of_another_copy_of_the_package_are_named_with_both_places(
    where: str, call: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = another_import(monkeypatch).GRUWeights(*ARRAYS)
    with pytest.raises(TypeError) as caught:
        call(weights)
    message = str(caught.value)
    assert message.startswith(f"{where}: weights belong to another copy of gatewise. Expected gatewise.weights.GRUWeig")
    assert re.search(r"received vendored_weights\.GRUWeights of another import, from /.*weights\.py\. Import", message)


def test_weights_made_before_a_reload_are_named(tmp_path: Path) -> None:
    program = """
import importlib, json, numpy as np, gatewise
weights = gatewise.GRUWeights(np.zeros((5, 12)), np.zeros((4, 12)))
importlib.reload(gatewise.weights)
try:
    gatewise.rnn(np.zeros((1, 2, 5)), weights)
except TypeError as error:
    print(json.dumps(str(error)))
"""
    assert "another copy of gatewise" in own_process.run(program, tmp_path)
