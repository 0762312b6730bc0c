# SPDX-License-Identifier: Apache-2.0
"""`gatewise.torch.GRU` means what `torch.nn.GRU` means, which in float64 says what is expected; and the engine ran."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from tolerance import assert_close, tolerance

torch = pytest.importorskip("torch", reason="the module is PyTorch's: install the extra `torch`")

from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence  # noqa: E402  # after the skip

import gatewise  # noqa: E402
from gatewise import native  # noqa: E402
from gatewise.torch import GRU  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH, TIMESTEPS, FEATURES, UNITS = 4, 6, 3, 5
LENGTHS = {"packed": [6, 4, 4, 1], "packed_unsorted": [4, 1, 6, 4], "packed_equal": [6, 6, 6, 6]}
FORMS = ("time_first", "batch_first", "single", *LENGTHS)


@pytest.fixture(autouse=True)
def _random_numbers() -> None:
    torch.manual_seed(3)


def make_pair(**options: Any) -> tuple[Any, Any]:
    """Our module in float32, and stock's with the same parameters in float64."""
    ours = GRU(FEATURES, UNITS, **options)
    stock = torch.nn.GRU(FEATURES, UNITS, **options).double()
    stock.load_state_dict(ours.state_dict())
    return ours, stock.train(ours.training)


def make_input(form: str, module: Any, *, initial_state: bool) -> dict[str, Any]:
    """The leaves that a call is made of: x, (T, F) for a single sequence, and hx unless it is unwanted."""
    shape = (TIMESTEPS, FEATURES) if form == "single" else (TIMESTEPS, BATCH, FEATURES)
    if form == "batch_first":
        shape = (BATCH, TIMESTEPS, FEATURES)
    states = module.num_layers * (2 if module.bidirectional else 1)
    leaves = {"x": torch.randn(shape)}
    if initial_state:
        leaves["hx"] = torch.randn((states, UNITS) if form == "single" else (states, BATCH, UNITS))
    return leaves


def given(form: str, x: Any) -> Any:
    """What the module is called with: x, packed for some forms."""
    return pack_padded_sequence(x, LENGTHS[form], enforce_sorted=form == "packed") if form in LENGTHS else x


def weights_like(value: Any) -> Any:
    """Numbers in [-1, 1] of many sizes, the same for every dtype."""
    return torch.cos(torch.arange(value.numel(), dtype=torch.float64)).reshape(value.shape).to(value.dtype)


def results_of(module: Any, form: str, leaves: dict[str, Any]) -> dict[str, Any]:
    """Calls the module and takes every gradient, of the input and of the parameters, of a weighted sum."""
    dtype = next(module.parameters()).dtype
    leaves = {name: leaf.detach().to(dtype).requires_grad_() for name, leaf in leaves.items()}
    outputs, state = module(given(form, leaves["x"]), leaves.get("hx"))
    named = {"outputs": outputs, "state": state}
    if isinstance(outputs, PackedSequence):
        named["outputs"] = outputs.data
        named |= {name: getattr(outputs, name) for name in PackedSequence._fields[1:]}
        named = {name: value for name, value in named.items() if value is not None}
    loss = sum((value * weights_like(value)).sum() for value in (named["outputs"], state))
    variables = leaves | dict(module.named_parameters())
    gradients = torch.autograd.grad(loss, list(variables.values()))
    return named | {f"d_{name}": gradient for name, gradient in zip(variables, gradients, strict=True)}


def allowed_for(module: Any, name: str, factor: int = 1) -> float:
    """The rounding of a chain of steps through every layer; a weight's gradient adds up the batch."""
    directions = 2 if module.bidirectional else 1
    rows = BATCH if name.startswith(("d_weight", "d_bias")) else 1
    return tolerance((directions + 1) * UNITS, factor * TIMESTEPS * module.num_layers, rows)


def assert_same(module: Any, actual: dict[str, Any], expected: dict[str, Any]) -> None:
    assert actual.keys() == expected.keys()
    for name, value in actual.items():
        assert_close(name, value.detach(), expected[name].detach(), allowed_for(module, name))


def calls_in(function: Callable[[], Any]) -> tuple[int, int]:
    before = native.calls()
    function()
    after = native.calls()
    return after.forward - before.forward, after.backward - before.backward


@pytest.mark.parametrize("initial_state", [False, True], ids=["zeros", "h0"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no_bias"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one_way", "both_ways"])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("form", FORMS)
def test_values_and_gradients_are_those_of_pytorch(
    form: str, layers: int, bidirectional: bool, bias: bool, initial_state: bool
) -> None:
    batch_first = form == "batch_first"
    ours, stock = make_pair(num_layers=layers, bidirectional=bidirectional, bias=bias, batch_first=batch_first)
    leaves = make_input(form, ours, initial_state=initial_state)
    before = native.calls()
    actual = results_of(ours, form, leaves)
    ran = native.calls()
    expected_calls = layers * (2 if bidirectional else 1)
    assert (ran.forward - before.forward, ran.backward - before.backward) == (expected_calls, expected_calls)
    assert ours.fallback_reason is None
    assert_same(ours, actual, results_of(stock, form, leaves))


class Operations(torch.utils._python_dispatch.TorchDispatchMode):
    """Records the engine's operations."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "gatewise":
            self.seen.append(func.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("form", FORMS)
def test_both_directions_of_a_layer_are_one_operation(form: str) -> None:
    ours = GRU(FEATURES, UNITS, num_layers=2, bidirectional=True, batch_first=form == "batch_first")
    leaves = make_input(form, ours, initial_state=True)
    with Operations() as operations:
        outputs, state = ours(given(form, leaves["x"]), leaves["hx"])
        data = outputs.data if isinstance(outputs, PackedSequence) else outputs
        (data.sum() + state.sum()).backward()
    assert operations.seen == ["rnn_both_train.default"] * 2 + ["rnn_both_grad.default"] * 2
    with torch.no_grad(), Operations() as operations:
        ours(given(form, leaves["x"]), leaves["hx"])
    assert operations.seen == ["rnn_both.default"] * 2


def test_gates_found_again_give_the_same_bits() -> None:
    ours, _ = make_pair(num_layers=2, bidirectional=True)
    leaves = make_input("time_first", ours, initial_state=True)
    expected = results_of(ours, "time_first", leaves)
    with gatewise.recompute():
        found = results_of(ours, "time_first", leaves)
    for name, value in found.items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize("bidirectional", [False, True], ids=["one_way", "both_ways"])
@pytest.mark.parametrize("form", FORMS)
def test_dropout_draws_the_random_numbers_of_pytorch(form: str, bidirectional: bool) -> None:
    options = {"batch_first": form == "batch_first", "bidirectional": bidirectional, "dropout": 0.4}
    ours, stock = make_pair(num_layers=3, **options)
    leaves = make_input(form, ours, initial_state=True)
    torch.manual_seed(11)
    actual = results_of(ours, form, leaves)
    after = torch.get_rng_state()
    torch.manual_seed(11)
    expected = results_of(stock.float(), form, leaves)  # in float64, other random numbers might be drawn
    assert torch.equal(after, torch.get_rng_state())
    for name, value in actual.items():  # both compute in float32
        assert_close(name, value.detach(), expected[name].detach(), 2 * allowed_for(ours, name))
    assert not torch.equal(actual["state"], results_of(ours, form, leaves)["state"])
    ours.eval()
    assert_same(ours, results_of(ours, form, leaves), results_of(stock.double().eval(), form, leaves))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_computed_in_float32_and_rounded(dtype: str) -> None:
    half = getattr(torch, dtype)
    ours, stock = make_pair(num_layers=2)
    ours.to(half)
    stock.load_state_dict(ours.state_dict())
    leaves = {name: leaf.to(half) for name, leaf in make_input("time_first", ours, initial_state=True).items()}
    assert calls_in(lambda: ours(leaves["x"], leaves["hx"])) == (2, 0)
    actual, expected = (results_of(module, "time_first", leaves) for module in (ours, stock))
    for name, value in actual.items():
        assert value.dtype == half
        allowed = allowed_for(ours, name) + torch.finfo(half).eps
        assert_close(name, value.detach().double(), expected[name].detach(), allowed)


@pytest.mark.parametrize("state_dtype", ["float32", "bfloat16", None])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_under_autocast_results_have_the_dtypes_of_pytorch(dtype: str, state_dtype: str | None) -> None:
    ours = GRU(FEATURES, UNITS)
    stock = torch.nn.GRU(FEATURES, UNITS)
    x = torch.randn(TIMESTEPS, BATCH, FEATURES, dtype=getattr(torch, dtype))
    hx = state_dtype and torch.randn(1, BATCH, UNITS, dtype=getattr(torch, state_dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert calls_in(lambda: ours(x, hx)) == (1, 0)
        for own, expected in zip(ours(x, hx), stock(x, hx), strict=True):
            assert own.dtype == expected.dtype


def test_second_derivatives_are_those_of_pytorch() -> None:
    ours, stock = make_pair()
    x = torch.randn(TIMESTEPS, BATCH, FEATURES)

    def gradient_of_gradient(module: Any) -> list[Any]:
        variables = [x.to(next(module.parameters()).dtype).requires_grad_(), *module.parameters()]
        first = torch.autograd.grad(module(variables[0])[0].square().sum(), variables, create_graph=True)
        return list(torch.autograd.grad(sum(gradient.square().sum() for gradient in first), variables))

    before = native.calls()
    actual = gradient_of_gradient(ours)
    assert native.calls().backward > before.backward
    names = ["d_x", *(f"d_{name}" for name, _ in ours.named_parameters())]
    for name, value, expected in zip(names, actual, gradient_of_gradient(stock), strict=True):
        # Forward, backward, and the way back through both; the second sum runs over the batch as well.
        assert_close(name, value, expected, allowed_for(ours, name, factor=4) * BATCH)


def test_a_time_first_output_can_be_viewed_as_that_of_pytorch() -> None:
    for bidirectional in (False, True):
        outputs, state = GRU(FEATURES, UNITS, bidirectional=bidirectional)(torch.randn(TIMESTEPS, BATCH, FEATURES))
        assert outputs.view(TIMESTEPS * BATCH, -1).shape == (TIMESTEPS * BATCH, outputs.shape[2])
        assert state.view(-1).shape == (state.numel(),)


def test_a_batch_of_none_is_served() -> None:
    outputs, state = GRU(FEATURES, UNITS, batch_first=True)(torch.randn(0, TIMESTEPS, FEATURES))
    assert outputs.shape == (0, TIMESTEPS, UNITS)
    assert state.shape == (1, 0, UNITS)


def test_frozen_weights_and_input_get_no_gradient() -> None:
    ours, stock = make_pair(num_layers=2)
    x = torch.randn(TIMESTEPS, BATCH, FEATURES)
    for module, dtype in ((ours, torch.float32), (stock, torch.float64)):
        module.weight_hh_l0.requires_grad_(False)
        module(x.to(dtype))[0].sum().backward()
    assert ours.weight_hh_l0.grad is None
    for name, parameter in ours.named_parameters():
        if name != "weight_hh_l0":
            assert_close(name, parameter.grad, stock.get_parameter(name).grad, allowed_for(ours, f"d_{name}"))


# --- It is a torch.nn.GRU ---


def test_it_is_a_torch_gru_with_its_signature_and_its_text() -> None:
    ours, stock = (cls(FEATURES, UNITS, 2, dropout=0.5, bidirectional=True) for cls in (GRU, torch.nn.GRU))
    assert isinstance(ours, torch.nn.GRU)
    assert repr(ours) == repr(stock)
    of_stock = list(inspect.signature(stock.forward).parameters)
    assert list(inspect.signature(ours.forward).parameters) == [*of_stock, "starts"]


def test_the_state_dict_interchanges_both_ways() -> None:
    options: dict[str, Any] = {"num_layers": 2, "bidirectional": True}
    ours, stock = GRU(FEATURES, UNITS, **options), torch.nn.GRU(FEATURES, UNITS, **options)
    assert list(ours.state_dict()) == list(stock.state_dict())
    x = torch.randn(TIMESTEPS, BATCH, FEATURES)
    for source, target in ((stock, ours), (ours, stock)):
        torch.nn.init.normal_(source.weight_hh_l1)
        target.load_state_dict(source.state_dict())
        assert_close("outputs", ours(x)[0].detach(), stock(x)[0].detach(), 2 * allowed_for(ours, "outputs"))


def through_pickle(module: Any) -> Any:
    return pickle.loads(pickle.dumps(module))  # noqa: S301  # what this process wrote


@pytest.mark.parametrize("make", [copy.deepcopy, through_pickle])
def test_a_copy_has_its_own_weights_and_the_same_numbers(make: Callable[[Any], Any]) -> None:
    ours = GRU(FEATURES, UNITS, 2)
    x = torch.randn(TIMESTEPS, BATCH, FEATURES)
    expected = ours(x)[0]
    other = make(ours)
    with torch.no_grad():
        ours.weight_ih_l0.zero_()
    assert calls_in(lambda: other(x)) == (2, 0)
    assert torch.equal(other(x)[0], expected)


def test_moved_and_replaced_weights_are_the_ones_that_run() -> None:
    ours, stock = make_pair()
    x = torch.randn(TIMESTEPS, BATCH, FEATURES)
    ours.double().float().flatten_parameters()
    assert_close("moved", ours(x)[0].detach(), stock(x.double())[0].detach(), allowed_for(ours, "outputs"))
    others = {name: torch.randn_like(value) for name, value in ours.named_parameters()}
    assert calls_in(lambda: torch.func.functional_call(ours, others, (x,))) == (1, 0)
    actual = torch.func.functional_call(ours, others, (x,))[0]
    stock.load_state_dict(others)
    assert_close("functional_call", actual.detach(), stock(x.double())[0].detach(), allowed_for(ours, "outputs"))
    ours.weight_ih_l0 = torch.nn.Parameter(others["weight_ih_l0"])
    stock.load_state_dict(ours.state_dict())
    assert_close("replaced", ours(x)[0].detach(), stock(x.double())[0].detach(), allowed_for(ours, "outputs"))


def test_device_and_dtype_are_taken_as_by_pytorch() -> None:
    made = GRU(FEATURES, UNITS, device="meta", dtype=torch.bfloat16)
    assert {(value.device.type, value.dtype) for value in made.parameters()} == {("meta", torch.bfloat16)}
    assert GRU(FEATURES, UNITS, device="meta")(torch.empty(2, 3, FEATURES, device="meta"))[0].shape == (2, 3, UNITS)


X = torch.zeros(TIMESTEPS, BATCH, FEATURES)
PACKED = pack_padded_sequence(X, LENGTHS["packed"])
WRONG: dict[str, tuple[Any, ...]] = {
    "rank_1": (X[0, 0],),
    "rank_4": (X[None],),
    "features": (X[..., :2],),
    "dtype": (X.double(),),
    "whole_numbers": (X.long(),),
    "no_steps": (X[:0],),
    "a_list": ([[1.0]],),
    "state_layers": (X, torch.zeros(2, BATCH, UNITS)),
    "state_units": (X, torch.zeros(1, BATCH, UNITS + 1)),
    "state_batch": (X, torch.zeros(1, BATCH + 1, UNITS)),
    "state_rank": (X, torch.zeros(BATCH, UNITS)),
    "state_rank_single": (X[:, 0], torch.zeros(1, 1, UNITS)),
    "state_dtype": (X, torch.zeros(1, BATCH, UNITS).double()),
    "state_of_an_lstm": (X, (torch.zeros(1, BATCH, UNITS), torch.zeros(1, BATCH, UNITS))),
    "packed_features": (pack_padded_sequence(X[..., :2], LENGTHS["packed"]),),
    "packed_state": (PACKED, torch.zeros(1, BATCH + 1, UNITS)),
}


@pytest.mark.filterwarnings("ignore::gatewise.fallback.FallbackWarning")
@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_argument_gets_the_error_of_pytorch(case: str) -> None:
    arguments = WRONG[case]
    raised = []
    for cls in (torch.nn.GRU, GRU):
        with pytest.raises((RuntimeError, ValueError, AttributeError)) as caught:
            cls(FEATURES, UNITS)(*arguments)
        raised.append((caught.type, str(caught.value)))
    assert raised[0] == raised[1]
