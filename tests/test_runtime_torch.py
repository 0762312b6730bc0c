# SPDX-License-Identifier: Apache-2.0
"""A module of PyTorch becomes a graph that computes what its own forward computes, or an error that says where."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the modules are PyTorch's: install the extra `torch`")

from torch import nn  # noqa: E402  # after the skip

from gatewise.reference import operations  # noqa: E402
from gatewise.runtime import Model  # noqa: E402
from gatewise.runtime.doors.from_torch import from_torch  # noqa: E402
from gatewise.runtime.graph import Graph, GraphError  # noqa: E402
from runtime_modules import CASES, FEATURES, UNITS, drawn, series  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH, LENGTHS = 3, (9, 14)


def flat(value: Any) -> list[Any]:
    """The tensors of nested arguments or results, in order."""
    if isinstance(value, torch.Tensor):
        return [value]
    return [t for part in (value.values() if isinstance(value, dict) else value) for t in flat(part)]


def relative_errors(graph: Graph, module: Any, inputs: tuple[Any, ...], case: Any = None) -> list[float]:
    """max|error| / max|reference| of each output, in order; the graph's inputs and outputs have their batch first."""
    axes, output_axes = (case.batch_axes, case.output_axes) if case else ({}, {})
    given = {
        name: np.moveaxis(t.numpy(), axes.get(name, 0), 0) for name, t in zip(graph.inputs, flat(inputs), strict=True)
    }
    for name, (shape, _) in graph.inputs.items():  # what the example does not fix is open
        assert all(size in {None, n} for size, n in zip(shape, given[name].shape, strict=True)), (name, shape)
    with torch.no_grad():
        expected = flat(module(*inputs))
    typed = {name: np.ascontiguousarray(given[name], value.dtype) for name, value in graph.inputs.items()}
    errors = []
    for found in (operations.run(graph, given), Model(graph).run(typed)):  # the formulas, the engine
        for (name, y), wanted in zip(found.items(), expected, strict=True):
            reference = np.moveaxis(wanted.numpy(), output_axes.get(name, 0), 0)
            assert y.shape == reference.shape, name
            errors.append(float(np.abs(y - reference).max() / np.abs(reference).max()))
    return errors


@pytest.mark.parametrize("name", CASES)
def test_a_graph_computes_what_the_module_computes_at_two_lengths(name: str) -> None:
    case = CASES[name]
    module = drawn(case.module(), seed=3)
    graph = from_torch(module, case.inputs(2, LENGTHS[0]), batch_axes=case.batch_axes)
    for steps in LENGTHS:
        errors = relative_errors(graph, module, case.inputs(BATCH, steps), case)
        assert max(errors) <= 1e-5, (steps, errors)


@pytest.mark.parametrize("name", ["last step", "tagger", "voice activity", "language model", "policy", "dual path"])
def test_an_example_of_one_row_is_enough(name: str) -> None:
    case = CASES[name]
    module = drawn(case.module(), seed=4)
    graph = from_torch(module, case.inputs(1, LENGTHS[0]), batch_axes=case.batch_axes)
    assert max(relative_errors(graph, module, case.inputs(BATCH, LENGTHS[1]), case)) <= 1e-5


class Idiom(nn.Module):
    """A layer without steps, and then what people do with tensors."""

    def __init__(self, then: Callable[..., Any]) -> None:
        super().__init__()
        self.fc = nn.Linear(FEATURES, FEATURES)
        self.scale = nn.Parameter(torch.ones(FEATURES, 1))
        self.token = nn.Parameter(torch.ones(1, 1, FEATURES))
        self.square = nn.Parameter(torch.ones(FEATURES, FEATURES))
        self.heads = nn.MultiheadAttention(FEATURES, 2, batch_first=True)
        self.group = nn.GroupNorm(2, FEATURES)
        self.gru = nn.GRU(FEATURES, UNITS, bidirectional=True, batch_first=True)
        self.then = then

    def forward(self, x: Any) -> Any:
        return self.then(self, self.fc(x))


def causal_mask(x: Any) -> Any:
    return nn.Transformer.generate_square_subsequent_mask(x.size(1))


ACTIVATIONS = (
    *(nn.Threshold(0.1, -2.0), nn.Softplus(2.0), nn.ELU(0.7), nn.GELU("tanh"), nn.Hardtanh(-0.3, 0.4), nn.Softsign()),
    *(nn.RReLU().eval(), nn.LogSigmoid(), nn.CELU(0.5), nn.SELU(), nn.Mish(), nn.Softshrink(0.2), nn.Hardshrink(0.2)),
)

IDIOMS: dict[str, Callable[..., Any]] = {
    "split and merged features": lambda _, x: x.reshape(*x.shape[:2], 2, 3).transpose(2, 3).reshape(x.shape),
    "last steps, flat": lambda _, x: x[:, -4:].flatten(1),
    "differences": lambda _, x: x[:, 1:] - x[:, :-1],
    "part by size": lambda _, x: x[:, x.size(1) - 3 :] * x[:, : x.size(1) - 2][:, :3],
    "reversed": lambda _, x: torch.flip(x, [1])[:, ::2],
    "scale of channels": lambda m, x: (x.transpose(1, 2) * m.scale + m.scale).transpose(1, 2),
    "weight on the left": lambda m, x: m.square @ x.transpose(1, 2),
    "weight by einsum": lambda m, x: torch.einsum("of,btf->bto", m.square, x),
    "weight used in two ways": lambda m, x: x @ m.square + nn.functional.linear(x, m.square),
    "scores": lambda _, x: torch.bmm(x, x.transpose(1, 2)).softmax(1) @ x,
    "normalised by hand": lambda _, x: (x - x.mean(1, keepdim=True)) / (x.var(1, False, keepdim=True) + 0.1).sqrt(),
    "unit length": lambda _, x: nn.functional.normalize(x, dim=-1),
    "groups": lambda m, x: m.group(x.transpose(1, 2)),
    "pool over all steps": lambda _, x: nn.functional.max_pool1d(x.transpose(1, 2), x.size(1)).squeeze(2),
    "pool of the same length": lambda _, x: nn.functional.max_pool1d(x.transpose(1, 2), 3, 1, 1),
    "repeated steps": lambda _, x: nn.functional.interpolate(x.transpose(1, 2), scale_factor=2),
    "token in front": lambda m, x: torch.cat((m.token.expand(x.size(0), -1, -1), x), 1),
    "zeros in front": lambda _, x: torch.cat((torch.zeros(x.size(0), 2, FEATURES), x), 1),
    "mean beside each step": lambda _, x: torch.cat((x, x.mean(1, keepdim=True).expand(-1, x.size(1), -1)), -1),
    "causal heads": lambda m, x: m.heads(x, x, x, attn_mask=causal_mask(x), need_weights=False)[0],
    "halves of directions": lambda m, x: torch.cat((m.gru(x)[0][:, -1, :UNITS], m.gru(x)[0][:, 0, UNITS:]), 1),
    "in place": lambda _, x: nn.functional.relu(x, inplace=True).mul_(2).add_(1),
    "bounds": lambda _, x: 1 / (1 + x.clamp(-0.5, 0.7) ** 2) + torch.maximum(x, -x).clamp(min=0.1) - (2 - x),
    "activations": lambda _, x: sum(f(x) for f in ACTIVATIONS),
}  # fmt: skip


@pytest.mark.parametrize("name", IDIOMS)
def test_idioms_compute_what_pytorch_computes(name: str) -> None:
    module = drawn(Idiom(IDIOMS[name]), seed=6)
    graph = from_torch(module, series(2, 7))
    assert max(relative_errors(graph, module, (series(3, 10),))) <= 1e-5


def test_every_weight_of_every_module_counts() -> None:
    # a tensor that nobody reads would pass for right: drawn anew, each must change an output
    case = CASES["residual stack"]
    module = drawn(case.module(), seed=3)
    graph = from_torch(module, case.inputs(2, 7))
    x = {"x": case.inputs(BATCH, 7)[0].numpy()}
    before = operations.run(graph, x)["output"]
    random = np.random.default_rng(0)
    for name, tensor in graph.tensors.items():
        other = tensor + random.normal(0, 0.1, tensor.shape).astype(np.float32)
        changed = Graph(graph.inputs, graph.nodes, graph.outputs, {**graph.tensors, name: other})
        assert np.abs(operations.run(changed, x)["output"] - before).max() > 1e-4, name


def test_inputs_and_outputs_have_the_names_that_forward_gives_them() -> None:
    named = from_torch(CASES["distribution"].module(), CASES["distribution"].inputs(2, 5))
    assert list(named.inputs) == ["target", "covariates", "item"]
    assert list(named.outputs) == ["mu", "sigma"]
    policy = CASES["policy"]
    assert list(from_torch(policy.module(), policy.inputs(2, 5), batch_axes=policy.batch_axes).outputs) == [
        *("logits", "value", "state_0", "state_1"),
    ]


def test_nodes_and_tensors_have_the_modules_names() -> None:
    graph = from_torch(CASES["residual stack"].module(), series(2, 5))
    names = [node.name for node in graph.nodes]
    assert {"inp", "blocks/0/gru", "blocks/2/ff/3", "norm", "out"} <= {*names}
    assert "blocks/1/gru/recurrent_kernel" in graph.tensors


def test_a_dict_by_parameter_is_an_example_too() -> None:
    case = CASES["conditioned"]
    module = drawn(case.module(), seed=1)
    x, speaker = case.inputs(2, 7)
    graph = from_torch(module, {"speaker": speaker.numpy(), "x": x.numpy()})
    assert {*graph.inputs} == {"x", "speaker"}
    given = dict(zip(("x", "speaker"), case.inputs(3, 9), strict=True))
    found = operations.run(graph, {name: t.numpy() for name, t in given.items()})["output"]
    with torch.no_grad():
        expected = module(**given).numpy()
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_what_returns_its_last_step_alone_can_stream() -> None:
    graph = from_torch(CASES["last step"].module(), series(2, 5))
    assert [node.operation for node in graph.nodes] == ["gru", "dense"]
    assert not graph.nodes[0].all_options["return_sequences"]


def test_convolutions_that_are_padded_in_front_are_causal() -> None:
    graph = from_torch(CASES["temporal convolutions"].module(), series(2, 7))
    paddings = [node.all_options["padding"] for node in graph.nodes if node.operation == "conv1d"]
    assert paddings == ["causal", "causal"]
    assert not [node for node in graph.nodes if node.operation in {"pad", "slice"}]


def test_a_shared_module_is_two_nodes_that_name_the_same_tensors() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(FEATURES, FEATURES, batch_first=True)

        def forward(self, x: Any) -> Any:
            return self.gru(self.gru(x)[0])[0]

    graph = from_torch(Twice(), series(2, 5))
    first, second = graph.nodes
    assert first.weights == second.weights
    assert first.name != second.name


def test_time_first_inputs_are_said_to_be_batch_first_in_the_graph() -> None:
    case = CASES["packed states"]
    with pytest.warns(UserWarning, match=r"'x' is \(any, batch, 6\) in the module, and batch first"):
        graph = from_torch(case.module(), case.inputs(2, 5))
    assert graph.inputs["x"].shape == (None, None, FEATURES)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_weights_of_other_types_are_converted_and_said(dtype: Any) -> None:
    module = drawn(CASES["last step"].module(), seed=2)
    other = drawn(CASES["last step"].module(), seed=2).to(dtype)
    with pytest.warns(UserWarning, match=f"{dtype} are converted"):
        graph = from_torch(other, series(2, 5).to(dtype))
    assert {tensor.dtype.name for tensor in graph.tensors.values()} == {"float32"}
    allowed = 1e-5 if dtype == torch.float64 else 0.02
    assert max(relative_errors(graph, module, (series(3, 8),))) <= allowed


def test_the_module_is_left_as_it_was() -> None:
    module = CASES["states of both directions"].module().train()
    forward = type(module.lstm).forward
    from_torch(module, series(2, 5))
    assert module.training
    assert module.lstm.training
    assert "forward" not in vars(module.lstm)
    assert type(module.lstm).forward is forward


# --- Errors ---


class Reading(nn.Module):
    """A layer, and then what a test does with its outputs."""

    def __init__(self, then: Callable[..., Any], **options: Any) -> None:
        super().__init__()
        self.gru = nn.GRU(FEATURES, UNITS, batch_first=True, **options)
        self.then = then
        self.state: Any = None

    def forward(self, x: Any) -> Any:
        out, h = self.gru(x)
        return self.then(out, h)


HERE = re.escape(str(Path(__file__)))


@pytest.mark.parametrize(
    ("then", "message"),
    [
        (lambda out, _: out.cumsum(1), "cumsum cannot be read, at .*'return self.then.*not known. Compute it before"),
        (lambda out, _: torch.fft.rfft(out, dim=1), "fft_rfft cannot be read"),
        (lambda out, _: out[0], "select .*takes one row of the batch"),
        (lambda out, _: out.mean(), "mean .*over the batch"),
        (lambda out, _: out.mean(0), "mean .*over the batch.*check the axis"),
        (lambda out, _: F_dropout(out), "dropout is active"),
        (lambda out, _: out + torch.randn_like(out), "draws random numbers"),
        (lambda out, _: out.argmax(-1), "argmax .*Return the scores"),
        (lambda out, _: out[:, :, ::2].sort(-1)[0], "sort .*sorts numbers"),
        (lambda out, _: out.half(), "computes in torch.float16"),
        (lambda out, _: torch.cat((out, out), 0), "joins along the batch"),
        (lambda _, h: h.view(-1), "output 'output' .*joins other axes with the batch|splits the batch|along the batch"),
        (lambda out, _: out * out.size(1), "mul .*uses the size of an input as numbers"),
    ],
)
def test_what_the_graph_cannot_hold_is_named_with_its_line(then: Any, message: str) -> None:
    with pytest.raises(GraphError, match=message) as caught:
        from_torch(Reading(then), series(2, 5))
    if "output '" not in str(caught.value):
        assert re.search(rf"{HERE}:\d+, 'return self.then\(out, h\)'", str(caught.value))


def F_dropout(x: Any) -> Any:  # noqa: N802  # torch.nn.functional's, whose default is to be active
    return torch.nn.functional.dropout(x, 0.5)


def test_a_path_that_depends_on_the_numbers_is_named_with_its_line() -> None:
    def then(out: Any, _h: Any) -> Any:
        return out if out.sum() > 0 else -out

    with pytest.raises(GraphError, match=rf"cannot be read at {HERE}:\d+, 'return out if out.sum"):
        from_torch(Reading(then), series(2, 5))


def test_projections_are_refused_by_name() -> None:
    class Projected(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(FEATURES, UNITS, proj_size=3, batch_first=True)

        def forward(self, x: Any) -> Any:
            return self.lstm(x)[0]

    with pytest.raises(GraphError, match="proj_size is not 0"):
        from_torch(Projected(), series(2, 5))


def test_a_layer_along_the_batch_is_an_error() -> None:
    class Mistaken(nn.Module):  # batch_first is left out, and the input is not time first
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(FEATURES, UNITS)
            self.fc = nn.Linear(UNITS, 2)

        def forward(self, x: Any) -> Any:
            return self.fc(self.gru(x)[0][:, -1])

    with pytest.raises(GraphError, match=r"takes one row of the batch"):
        from_torch(Mistaken(), series(4, 5))
    with pytest.raises(GraphError, match=r"recurrent in 'gru' \(GRU\).*runs along the batch"):
        from_torch(Mistaken(), series(4, 5), batch_axes={"x": 0})


def test_a_batch_that_is_written_into_forward_is_an_error() -> None:
    def then(out: Any, _h: Any) -> Any:
        return out.reshape(2, -1, UNITS)

    with pytest.raises(GraphError, match=r"'x' has no batch.*\(2, any, 6\)"):
        from_torch(Reading(then), series(2, 5))


def test_a_packed_example_and_lengths_that_are_fixed_are_errors() -> None:
    packed = torch.nn.utils.rnn.pack_padded_sequence(series(3, 5), torch.tensor([5, 4, 2]), batch_first=True)
    with pytest.raises(GraphError, match="an example input is a packed sequence"):
        from_torch(Reading(lambda out, _: out), (packed,))

    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(FEATURES, UNITS, batch_first=True)

        def forward(self, x: Any) -> Any:
            return self.gru(torch.nn.utils.rnn.pack_padded_sequence(x, [5, 4, 2], batch_first=True))[1]

    with pytest.raises(GraphError, match="lengths are numbers that are fixed"):
        from_torch(Fixed(), series(3, 5))


def test_states_kept_in_the_module_are_an_error() -> None:
    class Keeping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(FEATURES, UNITS, batch_first=True)
            self.register_buffer("h", torch.zeros(1, 2, UNITS))

        def forward(self, x: Any) -> Any:
            out, h = self.gru(x, self.h)
            self.h.copy_(h)
            return out

    with pytest.raises(GraphError):
        from_torch(Keeping(), series(2, 5))


OVER_STEPS = ("mean", "last", "max")


@pytest.mark.parametrize(
    "then", [lambda y: y.mean(1), lambda y: y[:, -1], lambda y: torch.relu(y).max(1)[0]], ids=OVER_STEPS
)
def test_what_computes_over_unpacked_padding_is_said(then: Any) -> None:
    class Packing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(FEATURES, UNITS, batch_first=True)

        def forward(self, x: Any, lengths: Any) -> Any:
            packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            return then(nn.utils.rnn.pad_packed_sequence(self.gru(packed)[0], batch_first=True)[0])

    with pytest.warns(UserWarning, match="computes over all steps of what was packed"):
        from_torch(Packing(), (series(2, 5), torch.tensor([3, 5])))


def test_a_tensor_that_stays_in_an_attribute_is_said() -> None:
    class Keeping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(FEATURES, UNITS, batch_first=True)
            self.state: Any = None

        def forward(self, x: Any) -> Any:
            out, self.state = self.gru(x, self.state)
            return out

    with pytest.warns(UserWarning, match=r"keeps a tensor in self.state, which the graph does not"):
        from_torch(Keeping(), series(2, 5))


@pytest.mark.parametrize(("shape", "axis"), [((1, 5, FEATURES), 0), ((5, 1, FEATURES), 1), ((4, 5, FEATURES), 0)])
@pytest.mark.filterwarnings("ignore:from_torch. the input 'x' is .any, batch, 6.:UserWarning")
def test_a_batch_of_one_is_found_where_the_layer_has_it(shape: tuple[int, ...], axis: int) -> None:
    class Either(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(FEATURES, UNITS, batch_first=axis == 0)

        def forward(self, x: Any) -> Any:
            return self.gru(x)[0]

    module = drawn(Either(), seed=1)
    graph = from_torch(module, torch.zeros(shape))
    x = series(3, 7)
    with torch.no_grad():
        expected = module(x.movedim(0, axis)).movedim(axis, 0).numpy()
    assert np.abs(operations.run(graph, {"x": x.numpy()})["output"] - expected).max() <= 1e-5


def test_wrong_arguments_are_errors() -> None:
    with pytest.raises(TypeError, match=r"Expected a torch.nn.Module; received function"):
        from_torch(drawn, series(2, 5))
    with pytest.raises(GraphError, match=r"batch_axes names y"):
        from_torch(Reading(lambda out, _: out), series(2, 5), batch_axes={"y": 0})
    with pytest.raises(GraphError, match=r"batch_axes.'x'. is out of range"):
        from_torch(Reading(lambda out, _: out), series(2, 5), batch_axes={"x": 3})
    with pytest.raises(GraphError, match="cannot be read at"):
        from_torch(Reading(lambda out, _: out), series(2, 5, FEATURES + 1))


def test_padding_may_hold_nan() -> None:
    case = CASES["tagger"]
    module = drawn(case.module(), seed=3)
    graph = from_torch(module, case.inputs(2, 7))
    ids, lengths = case.inputs(BATCH, 9)
    given = {"sentence": ids.numpy(), "lengths": lengths.numpy()}
    with_zeros = operations.run(graph, given)["output"]
    noisy = np.where(np.arange(9) < lengths.numpy()[:, None], ids.numpy(), 16)
    assert np.array_equal(operations.run(graph, given | {"sentence": noisy})["output"], with_zeros)


def test_reading_needs_no_gradients_and_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    from_torch(CASES["last step"].module(), series(2, 5))
    assert capsys.readouterr() == ("", "")
    assert "torch" in sys.modules
