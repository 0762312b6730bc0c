# SPDX-License-Identifier: Apache-2.0
"""`gatewise.torch.convert` changes the class of a model's GRUs, either way, and nothing else of the model."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import pytest

from tolerance import assert_close, tolerance

torch = pytest.importorskip("torch", reason="the modules are PyTorch's: install the extra `torch`")

from torch.nn.utils import parametrizations, parametrize, prune  # noqa: E402  # after the skip

from gatewise import native  # noqa: E402
from gatewise.torch import GRU, convert, patch_torch, unpatch_torch  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH, TIMESTEPS, FEATURES, UNITS = 4, 6, 3, 5
ALLOWED = 2 * tolerance(FEATURES + UNITS, TIMESTEPS)  # both sides compute in float32
X = torch.randn((TIMESTEPS, BATCH, FEATURES), generator=torch.Generator().manual_seed(0))
CLASSES = {"gatewise": GRU, "stock": torch.nn.GRU}
BOTH_WAYS = pytest.mark.parametrize("to", CLASSES)
PLACES = pytest.mark.parametrize("inplace", [False, True], ids=["copy", "in_place"])


class Model(torch.nn.Module):
    """GRUs at several depths, one of them in two places."""

    def __init__(self, cls: Any) -> None:
        super().__init__()
        self.first = cls(FEATURES, UNITS, num_layers=2)
        self.inner = torch.nn.ModuleDict({"deep": torch.nn.Sequential(torch.nn.Identity(), cls(UNITS, UNITS))})
        self.again = self.first
        self.listed = [self.first]  # not a submodule: a plain list
        self.other = torch.nn.LSTM(UNITS, UNITS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.other(self.inner["deep"](self.listed[0](x)[0])[0])[0]


def make(cls: Any) -> Any:
    torch.manual_seed(5)
    return Model(cls)


def from_class(to: str) -> Any:
    return CLASSES["stock" if to == "gatewise" else "gatewise"]


def calls_of(function: Callable[[], Any]) -> int:
    before = native.calls().forward
    function()
    return native.calls().forward - before


@BOTH_WAYS
@PLACES
def test_every_gru_at_any_depth_changes_its_class_and_computes_the_same(to: str, inplace: bool) -> None:
    model = make(from_class(to))
    expected = model(X).detach()
    converted = convert(model, to, inplace=inplace)
    assert (converted is model) == inplace
    grus = [module for module in converted.modules() if isinstance(module, torch.nn.GRU)]
    assert [type(module) for module in grus] == [CLASSES[to]] * 2
    assert converted.again is converted.first is converted.listed[0]
    assert calls_of(lambda: converted(X)) == (4 if to == "gatewise" else 0)
    assert_close("outputs", converted(X).detach(), expected, ALLOWED)
    if not inplace:
        assert type(model.first) is from_class(to)
        assert calls_of(lambda: model(X)) == (0 if to == "gatewise" else 3)


@BOTH_WAYS
def test_a_module_alone_is_a_model(to: str) -> None:
    module = from_class(to)(FEATURES, UNITS)
    assert type(convert(module, to)) is CLASSES[to]
    assert type(module) is from_class(to)
    assert convert(module, to, inplace=True) is module
    assert type(module) is CLASSES[to]


def test_to_gatewise_is_the_default_and_a_second_call_changes_nothing() -> None:
    model = convert(make(torch.nn.GRU))
    assert type(convert(model).first) is GRU
    assert type(convert(model, inplace=True).first) is GRU


@BOTH_WAYS
def test_in_place_the_parameters_are_the_same_objects_and_the_optimizer_trains_them(to: str) -> None:
    model, expected = make(from_class(to)), make(from_class(to))
    parameters = dict(model.named_parameters())
    optimizers = [torch.optim.Adam(m.parameters(), 0.01) for m in (model, expected)]
    for i in range(3):
        if i == 1:  # Adam has moments by now
            convert(model, to, inplace=True)
            assert all(model.get_parameter(name) is value for name, value in parameters.items())
        for m, optimizer in zip((model, expected), optimizers, strict=True):
            optimizer.zero_grad()
            m(X).square().sum().backward()
            optimizer.step()
    for name, value in model.named_parameters():
        # Adam divides by the size of a gradient: a rounding there is one of the step of 0.01.
        assert_close(name, value.detach(), expected.get_parameter(name).detach(), 100 * ALLOWED)
        assert not torch.equal(value, make(from_class(to)).get_parameter(name))


@BOTH_WAYS
def test_a_copy_has_parameters_of_its_own_with_the_same_numbers(to: str) -> None:
    model = make(from_class(to))
    converted = convert(model, to)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert not {id(value) for value in model.parameters()} & {id(value) for value in converted.parameters()}
    for name, value in converted.named_parameters():
        assert torch.equal(value, before[name])
        value.data.mul_(2)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@BOTH_WAYS
@PLACES
def test_mode_dtype_hooks_frozen_weights_and_own_attributes_are_kept(to: str, inplace: bool) -> None:
    seen: list[str] = []
    model = make(from_class(to)).bfloat16()
    model.first.eval()
    model.first.weight_hh_l0.requires_grad_(False)
    model.first.note = "mine"
    model.first.register_forward_pre_hook(lambda *_: seen.append("before"))
    model.first.register_forward_hook(lambda *_: seen.append("after"))
    model.first.register_full_backward_hook(lambda *_: seen.append("back"))
    converted = convert(model, to, inplace=inplace)
    converted(X.bfloat16().requires_grad_()).sum().backward()
    assert seen == ["before", "after", "back"]
    assert (converted.training, converted.first.training, converted.first.note) == (True, False, "mine")
    assert not converted.first.weight_hh_l0.requires_grad
    assert {value.dtype for value in converted.parameters()} == {torch.bfloat16}
    assert "fallback_reason" not in vars(convert(converted, "stock").first)


@BOTH_WAYS
@PLACES
def test_weights_without_numbers_have_none_afterwards(to: str, inplace: bool) -> None:
    with torch.device("meta"):
        model = Model(from_class(to))
    assert {value.device.type for value in convert(model, to, inplace=inplace).parameters()} == {"meta"}


@BOTH_WAYS
@PLACES
def test_parametrizations_are_kept_and_can_be_removed(to: str, inplace: bool) -> None:
    model = make(from_class(to))
    parametrizations.weight_norm(model.first, "weight_hh_l0")
    expected = model(X).detach()
    converted = convert(model, to, inplace=inplace)
    first = converted.first
    assert calls_of(lambda: converted(X)) == (4 if to == "gatewise" else 0)
    assert_close("outputs", converted(X).detach(), expected, ALLOWED)
    assert isinstance(first, CLASSES[to])
    assert isinstance(first, GRU) == (to == "gatewise")
    assert parametrize.type_before_parametrizations(first) is CLASSES[to]
    with torch.no_grad():
        first.parametrizations.weight_hh_l0.original0.mul_(2)
    assert not torch.allclose(converted(X), expected)
    assert_close("a copy", convert(converted, to)(X).detach(), converted(X).detach(), 0)  # which deepcopy cannot make
    parametrize.remove_parametrizations(first, "weight_hh_l0")
    assert type(first) is CLASSES[to]
    if not inplace:
        assert_close("the model", model(X).detach(), expected, 0)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@BOTH_WAYS
@pytest.mark.parametrize("way", ["pruned", "weight_norm"])
def test_pruning_and_the_older_weight_norm_go_on(way: str, to: str) -> None:
    model = make(from_class(to))
    if way == "pruned":
        prune.random_unstructured(model.first, "weight_hh_l0", 0.5)
    else:
        torch.nn.utils.weight_norm(model.first, "weight_hh_l0")
    expected = model(X).detach()
    converted = convert(model, to)
    assert_close("outputs", converted(X).detach(), expected, ALLOWED)
    if way == "pruned":
        assert int((converted.first.weight_hh_l0 == 0).sum()) == int((model.first.weight_hh_l0 == 0).sum()) > 0
    else:
        with torch.no_grad():
            converted.first.weight_hh_l0_g.mul_(2)
        assert not torch.allclose(converted(X), expected)


def test_there_and_back_nothing_of_ours_is_left() -> None:
    model = make(torch.nn.GRU)
    back = convert(convert(model), "stock")
    assert vars(back.first).keys() == vars(model.first).keys()
    assert type(back.first) is torch.nn.GRU
    assert b"gatewise" not in pickle.dumps(back.first)


def test_a_converted_module_is_a_leaf_for_torch_fx_like_one_that_was_made_so() -> None:
    converted = convert(make(torch.nn.GRU))
    traced = torch.fx.symbolic_trace(converted)
    assert [n.target for n in traced.graph.nodes if n.op == "call_module"] == [
        "first",
        "inner.deep.0",
        "inner.deep.1",
        "other",
    ]


def test_what_was_compiled_before_follows_a_conversion_in_place() -> None:
    torch.compiler.reset()
    try:
        with torch._dynamo.config.patch(allow_rnn=True):
            model = torch.nn.Sequential(torch.nn.GRU(FEATURES, UNITS))
            compiled = torch.compile(model, backend="eager", fullgraph=True)
            expected = compiled(X)[0]
            assert calls_of(lambda: compiled(X)) == 0
            convert(model, inplace=True)
            assert calls_of(lambda: compiled(X)) == 1
            assert_close("outputs", compiled(X)[0].detach(), expected.detach(), ALLOWED)
            convert(model, "stock", inplace=True)
            assert calls_of(lambda: compiled(X)) == 0
    finally:
        torch.compiler.reset()


@BOTH_WAYS
def test_the_patch_and_a_conversion_do_not_disturb_each_other(to: str) -> None:
    model = make(from_class(to))
    patch_torch()
    try:
        converted = convert(model, to)
        assert type(converted.first) is CLASSES[to]
        assert calls_of(lambda: converted(X)) == 4
        assert converted.first.fallback_reason is None
    finally:
        unpatch_torch()
    assert calls_of(lambda: converted(X)) == (4 if to == "gatewise" else 0)


# --- What is refused ---


class Mine(torch.nn.GRU):
    """A subclass of stock's."""


class MineOfYours(GRU):
    """A subclass of ours."""


@PLACES
@pytest.mark.parametrize(
    ("left", "to", "message"),
    [
        (
            Mine,
            "gatewise",
            r"1 module cannot be converted to 'gatewise'.*received Mine '1.0'. Call gatewise.patch_torch",
        ),
        (
            MineOfYours,
            "stock",
            r"1 module cannot .* 'stock'.*received MineOfYours '1.0'. Write that class with the modules",
        ),
    ],
)
def test_a_subclass_is_refused_and_nothing_changed(left: Any, to: str, message: str, inplace: bool) -> None:
    source = from_class(to)
    model = torch.nn.Sequential(source(3, 4), torch.nn.Sequential(left(4, 5)))
    with pytest.raises(ValueError, match=message):
        convert(model, to, inplace=inplace)
    assert type(model[0]) is source
    other = "stock" if to == "gatewise" else "gatewise"
    assert type(convert(model, other)[1][0]) is left  # there it stands in nobody's way


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_what_torchscript_compiled_is_refused_but_where_it_is_stock_as_asked() -> None:
    scripted = torch.jit.script(torch.nn.Sequential(torch.nn.GRU(3, 4)))
    with pytest.raises(ValueError, match="1 module cannot be converted to 'gatewise'"):
        convert(scripted)
    assert convert(scripted, "stock", inplace=True) is scripted


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match=r"model has the wrong type. Expected a torch.nn.Module; received OrderedDict"):
        convert(torch.nn.GRU(3, 4).state_dict())
    with pytest.raises(ValueError, match=r"to is unknown. Expected 'gatewise' or 'stock'; received 'torch'"):
        convert(torch.nn.GRU(3, 4), "torch")  # type: ignore[arg-type]
