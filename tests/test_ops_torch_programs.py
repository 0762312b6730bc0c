# SPDX-License-Identifier: Apache-2.0
"""The engine inside the programs that torch makes of code: compiled, exported, mapped, and trained in two processes."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from engine_case import Case
from gatewise import native
from gatewise.cells import Cell

if TYPE_CHECKING:
    from pathlib import Path

torch = pytest.importorskip("torch", reason="the operations are torch's: install the extra `torch`")

from gatewise.ops import torch as engine  # noqa: E402  # after the skip
from ops_case import direction, gru  # noqa: E402
from torch_case import INPUTS, in_torch_layout, layer, run, tensors  # noqa: E402

FULL = Case(3, 2, 2, 5, mask="holes", input_dropout_masks=1, recurrent_dropout=True)
BARE = Case(3, 2, 2, 5, cell=Cell.GRU_RESET_BEFORE, use_bias=False, initial_state=False, return_sequences=False)
CASES = pytest.mark.parametrize("case", [FULL, BARE], ids=["full", "bare"])
LAYOUTS = pytest.mark.parametrize("torch_layout", [False, True], ids=["keras", "torch"])


def arguments(case: Case, *, torch_layout: bool = False) -> tuple[list[Any], dict[str, Any]]:
    """The inputs and options of the operations for a case."""
    values = in_torch_layout(case, tensors(case)) if torch_layout else tensors(case)
    options = {
        "cell": case.cell,
        "activation": 0,
        "recurrent_activation": 1,
        "go_backwards": case.go_backwards,
        "return_sequences": case.return_sequences,
        "zero_output_for_mask": case.zero_output_for_mask,
        "recompute": False,
        "torch_layout": torch_layout,
        "zoneout_h": 0,
        "zoneout_c": 0,
    }
    inputs = [values["x"], values["mask"], values["starts"], *direction(values)]
    return inputs, {name: int(value) for name, value in options.items()}


# --- torch's own check of operations ---


@LAYOUTS
@CASES
def test_the_layer_passes_opcheck(case: Case, torch_layout: bool) -> None:
    inputs, options = arguments(case, torch_layout=torch_layout)
    torch.library.opcheck(torch.ops.gatewise.rnn.default, inputs, options)


@LAYOUTS
@CASES
def test_the_saving_layer_passes_opcheck(case: Case, torch_layout: bool) -> None:
    # Not `test_aot_dispatch_dynamic`: it compares what is saved, of which the engine does not fill every element.
    inputs, options = arguments(case, torch_layout=torch_layout)
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(torch.ops.gatewise.rnn_train.default, inputs, options, test_utils=checks)


@LAYOUTS
@CASES
def test_the_way_back_passes_opcheck(case: Case, torch_layout: bool) -> None:
    inputs, options = arguments(case, torch_layout=torch_layout)
    with torch.no_grad():
        *_, workspace = torch.ops.gatewise.rnn_train.default(*inputs, **options)
    values = tensors(case)
    d_outputs = values["d_outputs"].requires_grad_() if case is FULL else None
    given = (workspace, d_outputs, values["d_state"].requires_grad_(), None)
    torch.library.opcheck(
        torch.ops.gatewise.rnn_grad.default, (*inputs, *given), options | {"x_gradient": case is FULL}
    )


# --- torch.compile ---


def loss(x: Any, initial_state: Any, kernel: Any, recurrent_kernel: Any, bias: Any, mask: Any) -> Any:
    outputs, state = gru(engine, x, initial_state, kernel, recurrent_kernel, bias, mask)
    return outputs.square().sum() + state.sum()


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method:DeprecationWarning")  # torch's own, in inductor
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiled_code_is_one_graph_and_gives_the_same_bits_at_every_length(backend: str) -> None:
    torch.compiler.reset()
    compiled = torch.compile(loss, fullgraph=True, dynamic=True, backend=backend)
    for batch, timesteps in ((3, 4), (5, 9), (2, 6)):
        values = tensors(Case(batch, timesteps, 2, 5, mask="holes"))
        inputs = [values[name] for name in INPUTS]
        before = native.calls()
        found = torch.autograd.grad(compiled(*inputs, values["mask"]), inputs)
        assert native.calls() == (before.forward + 1, before.backward + 1)
        for gradient, expected in zip(found, torch.autograd.grad(loss(*inputs, values["mask"]), inputs), strict=True):
            assert torch.equal(gradient, expected)
        with torch.no_grad():
            assert torch.allclose(compiled(*inputs, values["mask"]), loss(*inputs, values["mask"]))


# --- Tensors without numbers, and exported programs ---


def test_meta_tensors_have_shapes_and_run_nothing() -> None:
    before = native.calls()
    for case in (FULL, BARE):
        values = {name: None if v is None else v.to("meta") for name, v in tensors(case).items()}
        for name in INPUTS:
            if values[name] is not None:
                values[name] = values[name].detach().requires_grad_()
        found = run(case, values)
        expected = case.specified()
        assert {name: tuple(v.shape) for name, v in found.items()} == {name: expected[name].shape for name in found}
        assert all(value.is_meta for value in found.values())
        assert engine.obstacle(values["x"]) is None
    assert native.calls() == before


class Layer(torch.nn.Module):
    """A layer with parameters."""

    def __init__(self, features: int, units: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.kernel = torch.nn.Parameter(torch.randn(features, 3 * units, generator=generator))
        self.recurrent_kernel = torch.nn.Parameter(torch.randn(units, 3 * units, generator=generator) / units)

    def forward(self, x: Any) -> Any:
        return gru(engine, x, None, self.kernel, self.recurrent_kernel)[0]


class AskingLayer(Layer):
    """A layer that runs something else where there is an obstacle."""

    def forward(self, x: Any) -> Any:
        return super().forward(x) if engine.obstacle(x) is None else x + 1


def test_an_exported_program_holds_the_layer_that_does_not_save() -> None:
    module, x = Layer(2, 5), torch.randn(3, 4, 2)
    exported = torch.export.export(module, (x,), dynamic_shapes={"x": {1: torch.export.Dim("timesteps", min=2)}})
    targets = {node.target for node in exported.graph.nodes}
    assert torch.ops.gatewise.rnn.default in targets
    assert torch.ops.gatewise.rnn_train.default not in targets
    longer = torch.randn(3, 7, 2)
    assert torch.equal(exported.module()(longer), module(longer))


@pytest.mark.parametrize("strict", [False, True])
def test_export_is_an_obstacle(strict: bool) -> None:
    module, x = AskingLayer(2, 5), torch.randn(3, 4, 2)
    assert module(x).shape == (3, 4, 5)
    exported = torch.export.export(module, (x,), strict=strict)
    assert not any("gatewise" in str(node.target) for node in exported.graph.nodes)


def test_transforms_that_the_operations_cannot_follow_are_obstacles() -> None:
    seen: list[str | None] = []

    def ask(value: Any) -> Any:
        seen.append(engine.obstacle(value))
        return value.sum()

    x = torch.randn(3, 4, 2)
    torch.func.grad(ask)(x)
    torch.func.grad(lambda value: torch.func.vmap(ask)(value).sum())(x)
    torch.func.vmap(ask)(x)
    of_grad, of_both, of_vmap = seen
    assert of_vmap is None
    assert (
        of_grad
        == of_both
        == "the code runs inside torch.func.grad or the like, which the engine's operations " + ("have no rule for")
    )
    assert engine.obstacle(x) is None


@pytest.mark.filterwarnings("ignore:`torch.jit.trace:DeprecationWarning")
def test_torchscript_tracing_is_an_obstacle() -> None:
    seen = []

    def ask(x: Any) -> Any:
        seen.append((engine.tracing(), engine.obstacle(x)))
        return x + 1

    torch.jit.trace(ask, (torch.zeros(1, 2, 3),), check_trace=False)
    assert seen == [(True, "the code is traced for export, and what is exported shall run without gatewise")]


def test_vmap_runs_the_engine_on_each_element_with_gradients() -> None:
    module, xs = Layer(2, 5), torch.randn(6, 3, 4, 2)
    before = native.calls()
    mapped = torch.func.vmap(lambda x: gru(engine, x, None, module.kernel, module.recurrent_kernel)[0])(xs)
    assert native.calls().forward == before.forward + 6
    assert torch.equal(mapped, torch.stack([module(x) for x in xs]))
    (found,) = torch.autograd.grad(mapped.square().sum(), module.kernel)
    (expected,) = torch.autograd.grad(module(xs.flatten(0, 1)).square().sum(), module.kernel)
    torch.testing.assert_close(found, expected)


def test_checkpointed_layers_run_again_and_give_the_same_bits() -> None:
    case = FULL
    expected = run(case)
    values = tensors(case)
    outputs, state = torch.utils.checkpoint.checkpoint(lambda: layer(case, values), use_reentrant=False)
    (d_kernel,) = torch.autograd.grad([outputs, state], values["kernel"], [values["d_outputs"], values["d_state"]])
    assert torch.equal(d_kernel, expected["d_kernel"])


# --- Two processes ---

# Four steps of gradient descent on this process's share of a batch.
TRAINING = """
import os
import sys
import torch
from gatewise import native
from gatewise.cells import Cell
from gatewise.operands import Direction
from gatewise.ops import torch as engine

class Layer(torch.nn.Module):
    def __init__(self, kernel, recurrent_kernel):
        super().__init__()
        self.kernel, self.recurrent_kernel = torch.nn.Parameter(kernel), torch.nn.Parameter(recurrent_kernel)
    def forward(self, x):
        own = Direction(kernel=self.kernel, recurrent_kernel=self.recurrent_kernel)
        return engine.rnn(x, [own], cell=Cell.GRU)[0]

def train(model, x, y):
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(4):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()
    return [parameter.detach() for parameter in model.parameters()]

def share(rank, folder):
    x, y, *weights = torch.load(folder + "/data")
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    model = torch.nn.parallel.DistributedDataParallel(Layer(*weights))
    trained = train(model, x[rank::2], y[rank::2])
    assert native.calls() == (4, 4), native.calls()
    torch.save(trained, f"{folder}/{rank}")
    torch.distributed.destroy_process_group()
    os._exit(0)  # gloo now and then aborts an interpreter's end on a busy machine, without gatewise too
"""


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    data = [torch.randn(8, 4, 2), torch.randn(8, 4, 5), torch.randn(2, 15), torch.randn(5, 15) / 5]
    torch.save(data, tmp_path / "data")
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-P", "-c", f"{TRAINING}\nshare({rank}, {str(tmp_path)!r})"],
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for rank in range(2)
    ]
    try:
        errors = [process.communicate(timeout=120)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], errors
    alone: dict[str, Any] = {}
    exec(TRAINING, alone)  # noqa: S102  # the same program, on the whole batch
    expected = alone["train"](alone["Layer"](*data[2:]), *data[:2])
    first, second = (torch.load(tmp_path / str(rank)) for rank in range(2))
    for one, two, whole in zip(first, second, expected, strict=True):
        assert torch.equal(one, two)
        torch.testing.assert_close(one, whole)
