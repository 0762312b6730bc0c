# SPDX-License-Identifier: Apache-2.0
"""What a wrong tensor gets: of a module PyTorch's own error, with a note that says what to do; of an operation ours."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from engine_case import Case
from gatewise import native

torch = pytest.importorskip("torch", reason="the modules are PyTorch's: install the extra `torch`")

from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence  # noqa: E402  # after the skip

from gatewise.cells import Cell  # noqa: E402
from gatewise.fallback import FallbackWarning  # noqa: E402
from gatewise.ops import torch as engine  # noqa: E402
from gatewise.torch import GRU, patch_torch, unpatch_torch  # noqa: E402
from ops_case import direction  # noqa: E402
from torch_case import layer, tensors  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH, TIMESTEPS, FEATURES, UNITS = 4, 6, 3, 5
X = torch.randn((TIMESTEPS, BATCH, FEATURES), generator=torch.Generator().manual_seed(0))
HX = torch.zeros(1, BATCH, UNITS)
PACKED = pack_padded_sequence(X, [6, 4, 4, 1])
pytestmark = [
    pytest.mark.filterwarnings("ignore::gatewise.fallback.FallbackWarning"),
    pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta:UserWarning"),
    pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning"),
    pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning"),
]


def quantized(value: Any) -> Any:
    return torch.quantize_per_tensor(value, 0.1, 0, torch.qint8)


def nested(**options: Any) -> Any:
    return torch.nested.nested_tensor([X[:3, 0], X[:2, 0]], **options)


def repacked(sizes: list[int], dtype: Any = None) -> PackedSequence:
    return PackedSequence(PACKED.data, torch.tensor(sizes, dtype=dtype or torch.int64))


def with_weight(make: Callable[[Any], Any], name: str = "weight_hh_l0") -> Callable[[Any], Any]:
    def change(module: Any) -> None:
        setattr(module, name, torch.nn.Parameter(make(getattr(module, name).detach()), requires_grad=False))

    return change


# The call, and what its note says; the values are made in the test, where torch warns of some.
NOTED: dict[str, tuple[Callable[[], tuple[Any, ...]], str]] = {
    "sparse": (
        lambda: (X.to_sparse(),),
        r"the input has the wrong layout. Expected a dense tensor; received sparse_coo",
    ),
    "csr": (
        lambda: (X[:, 0].to_sparse_csr(),),
        r"the input has the wrong layout.*received sparse_csr. Call to_dense\(\)",
    ),
    "mkldnn": (lambda: (X.to_mkldnn(),), r"the input has the wrong layout. .* received _mkldnn"),
    "nested": (
        lambda: (nested(),),
        r"the input has the wrong kind.*received a nested one. Pack it: torch.nn.utils.rnn.pa",
    ),
    "jagged": (lambda: (nested(layout=torch.jagged),), r"the input has the wrong kind"),
    "quantized": (
        lambda: (quantized(X),),
        r"the input has the wrong type. Expected float32; received qint8. Call dequ",
    ),
    "array": (
        lambda: (X.numpy(),),
        r"the input has the wrong type. Expected a torch.Tensor .*received ndarray. Call tor",
    ),
    "nothing": (lambda: (None,), r"the input has the wrong type. .* received None"),
    "state_sparse": (lambda: (X, HX.to_sparse()), r"the initial state has the wrong layout. .* received sparse_coo"),
    "state_float64": (
        lambda: (X, HX.double()),
        r"the initial state has the wrong type. Expected float32, as the input h",
    ),
    "state_whole": (lambda: (X, HX.int()), r"the initial state .* received int32. Call to\(torch.float32\) on it"),
    "state_quantized": (lambda: (X, quantized(HX)), r"the initial state has .* received qint8. Call dequantize\(\)"),
    "state_array": (
        lambda: (X, HX.numpy()),
        r"the initial state has .*Expected a torch.Tensor or None; received ndarray",
    ),
    "state_of_an_lstm": (lambda: (X, (HX, HX)), r"the initial state .* received tuple. Give the state h alone"),
    "state_elsewhere": (
        lambda: (X, HX.to("meta")),
        r"the initial state has the wrong device. Expected cpu, as the input",
    ),
    "input_elsewhere": (
        lambda: (X.to("meta"),),
        r"weight_ih_l0 has the wrong device. Expected meta.*received cpu. Move ",
    ),
    "packed_too_few": (
        lambda: (PackedSequence(PACKED.data[:-1], PACKED.batch_sizes),),
        r"wrong batch_sizes. .* the 14 r",
    ),
    "packed_rising": (
        lambda: (repacked([1, 2, 3, 3, 3, 3]),),
        r"received \[1, 2, 3, 3, 3, 3\]. Make it by torch.nn.uti",
    ),
    "packed_negative": (lambda: (repacked([4, 4, 4, 4, -1]),), r"the packed sequence has the wrong batch_sizes"),
    "packed_int32": (lambda: (repacked(PACKED.batch_sizes.tolist(), torch.int32),), r"batch_sizes"),
    "packed_long": (lambda: (repacked([1] * 30),), r"received \[1, 1, 1, .{40,50}\.\.\.\. Make"),
    "packed_state_float64": (lambda: (PACKED, HX.double()), r"the initial state has the wrong type"),
}
WRONG_WEIGHTS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "sparse": (with_weight(lambda w: w.to_sparse()), r"weight_hh_l0 has the wrong layout"),
    "float64": (
        with_weight(lambda w: w.double()),
        r"weight_hh_l0 has the wrong type. Expected float32.*received float64",
    ),
    "bfloat16": (
        with_weight(lambda w: w.bfloat16(), "bias_hh_l0"),
        r"bias_hh_l0 has the wrong type.*received bfloat16",
    ),
    "complex": (with_weight(lambda w: w.to(torch.complex64)), r"weight_hh_l0 has the wrong type.*received complex64"),
    "whole": (with_weight(lambda w: w.int()), r"weight_hh_l0 has the wrong type.*received int32"),
    "elsewhere": (with_weight(lambda w: w.to("meta")), r"weight_hh_l0 has the wrong device. .* received meta"),
}


def raised(call: Callable[[], Any]) -> Any:
    """The error of a call."""
    with pytest.raises((AttributeError, IndexError, RuntimeError, TypeError, ValueError)) as caught:
        call()
    return caught.value


def assert_noted(error: Any, expected: Any, note: str) -> None:
    """Compares an error with stock's, but for the note, which is one sentence of each kind."""
    assert (type(error), str(error)) == (type(expected), str(expected))
    assert not hasattr(expected, "__notes__")
    (found,) = error.__notes__
    assert found.startswith("gatewise.torch.GRU: ")
    assert re.search(note, found), found


@pytest.mark.parametrize("patched", [False, True], ids=["ours", "patched"])
@pytest.mark.parametrize("case", NOTED)
def test_a_wrong_tensor_gets_pytorch_s_error_and_a_note_that_says_what_to_do(case: str, patched: bool) -> None:
    make, note = NOTED[case]
    expected = raised(lambda: torch.nn.GRU(FEATURES, UNITS)(*make()))
    cls = torch.nn.GRU if patched else GRU
    try:
        if patched:
            patch_torch()
        error = raised(lambda: cls(FEATURES, UNITS)(*make()))
    finally:
        unpatch_torch()
    assert_noted(error, expected, note)


@pytest.mark.parametrize("case", WRONG_WEIGHTS)
def test_a_weight_that_is_unlike_the_others_is_seen(case: str) -> None:
    change, note = WRONG_WEIGHTS[case]
    modules = torch.nn.GRU(FEATURES, UNITS), GRU(FEATURES, UNITS)
    for module in modules:
        change(module)
    expected, error = (raised(lambda module=module: module(X)) for module in modules)
    assert_noted(error, expected, note)


def test_a_call_that_pytorch_explains_itself_or_that_is_right_gets_no_note() -> None:
    for arguments in ((X.double(),), (X.to(torch.complex64),), (X[..., :2],), (X, HX[:, :2])):
        assert not hasattr(raised(lambda given=arguments: GRU(FEATURES, UNITS)(*given)), "__notes__")
    with pytest.raises(torch.fx.proxy.TraceError) as caught:
        torch.fx.symbolic_trace(GRU(FEATURES, UNITS))  # the module itself, as stock
    assert not hasattr(caught.value, "__notes__")


# What PyTorch's own path takes is its own matter, visibly.
TAKEN: dict[str, tuple[Callable[[], Any], Callable[[Any], Any], str]] = {
    "csr_weight": (lambda: X, with_weight(lambda w: w.to_sparse_csr()), "weight_hh_l0 has the layout sparse_csr"),
    "packed_sparse": (
        lambda: PackedSequence(PACKED.data.to_sparse(), PACKED.batch_sizes), lambda _: None, "the input has the layout",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TAKEN)
def test_sparse_tensors_that_pytorch_takes_are_taken_by_its_own_path(case: str) -> None:
    make, change, reason = TAKEN[case]
    modules = []
    for cls in (torch.nn.GRU, GRU):
        torch.manual_seed(5)
        modules.append(cls(FEATURES, UNITS))
        change(modules[-1])
    stock, ours = modules
    before = native.calls()
    found, expected = (module(make())[1] for module in (ours, stock))
    assert native.calls() == before
    assert torch.equal(found, expected)
    assert reason in str(ours.fallback_reason)


def test_a_packed_sequence_of_nothing_is_served_as_by_pytorch() -> None:
    nothing = PackedSequence(PACKED.data[:0], torch.tensor([0]))
    outputs, state = GRU(FEATURES, UNITS)(nothing)
    assert (outputs.data.shape, state.shape) == ((0, UNITS), (1, 0, UNITS))


# --- Operations ---

CASE = Case(5, 6, 3, 7, mask="holes")
VALUES = {name: None if value is None else value.detach() for name, value in tensors(CASE).items()}
REFUSED: dict[str, tuple[str, Callable[[Any], Any], str]] = {
    "sparse": (
        "x",
        lambda v: v.to_sparse(),
        r"x has the wrong layout. Expected a dense tensor; received sparse_coo. Ca",
    ),
    "mkldnn": ("x", lambda v: v.to_mkldnn(), r"x has the wrong layout. .* received _mkldnn"),
    "nested": ("x", lambda _: nested(), r"x has the wrong layout. .* received a nested one. Pad it, and give a mask"),
    "jagged": ("x", lambda _: nested(layout=torch.jagged), r"x has the wrong layout. .* received a nested one"),
    "csr": ("kernel", lambda v: v.to_sparse_csr(), r"kernel has the wrong layout. .* received sparse_csr"),
    "sparse_mask": ("mask", lambda v: v.to_sparse(), r"mask has the wrong layout. Expected a dense tensor"),
    "quantized": ("x", quantized, r"x has the wrong type. Expected float32; received qint8. Call dequantize\(\)"),
    "array": ("x", lambda v: v.numpy(), r"x has the wrong type. Expected a torch.Tensor; received ndarray"),
    "list": (
        "initial_state",
        lambda v: v.tolist(),
        r"initial_h has the wrong type.*received list. Make it one first",
    ),
    "nothing": ("kernel", lambda _: None, r"kernel has the wrong type. Expected a torch.Tensor; received NoneType"),
    "complex": ("x", lambda v: v.to(torch.complex64), r"x has the wrong type. Expected float32; received complex64"),
    "float8": ("x", lambda v: v.to(torch.float8_e4m3fn), r"x has the wrong type. .* received float8_e4m3fn"),
    "uint16": ("x", lambda v: v.abs().to(torch.uint16), r"x has the wrong type. .* received uint16"),
    "whole_mask": ("mask", lambda v: v.long(), r"mask has the wrong type. Expected bool; received int64"),
    "float_mask": ("mask", lambda v: v / 0.0, r"mask has the wrong type. Expected bool; received float32"),
    "state_elsewhere": (
        "initial_state",
        lambda v: v.to("meta"),
        r"initial_h has the wrong device. Expected cpu; re",
    ),
    "kernel_elsewhere": ("kernel", lambda v: v.to("meta"), r"kernel has the wrong device. Expected cpu; received meta"),
    "input_elsewhere": (
        "x",
        lambda v: v.to("meta"),
        r"tensors are on different devices. Expected one; received cpu, m",
    ),
}


@pytest.mark.parametrize("gradients", [False, True], ids=["no_grad", "grad"])
@pytest.mark.parametrize("case", REFUSED)
def test_an_operation_refuses_it_and_says_where(case: str, gradients: bool) -> None:
    argument, change, message = REFUSED[case]
    values = VALUES | {argument: change(VALUES[argument])}
    values["recurrent_kernel"] = values["recurrent_kernel"].clone().requires_grad_(gradients)
    with pytest.raises((RuntimeError, TypeError, ValueError), match=f"^gatewise: {message}"):
        layer(CASE, values)
    own = [direction(v) for v in (VALUES, values)]
    whose = "" if argument in {"x", "mask"} or "different" in message else r"second\."
    with pytest.raises((RuntimeError, TypeError, ValueError), match=f"^gatewise: {whose}{message}"):
        engine.rnn(values["x"], own, values["mask"], cell=Cell.GRU)


def test_a_fallback_of_the_module_for_its_tensors_warns_with_their_name() -> None:
    module = GRU(FEATURES, UNITS)
    with_weight(lambda w: w.to_sparse_csr(), "weight_ih_l0")(module)
    reason = "the module's weight_ih_l0 has the layout sparse_csr and the engine reads dense tensors"
    with pytest.warns(FallbackWarning, match=reason):
        module(X)
    assert module.fallback_reason == reason
