# SPDX-License-Identifier: Apache-2.0
"""What `torch.utils.flop_counter.FlopCounterMode` counts: the products that stock's operations come to, either way."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

import own_process

if TYPE_CHECKING:
    from pathlib import Path

torch = pytest.importorskip("torch", reason="the module is PyTorch's: install the extra `torch`")

from torch.utils.flop_counter import FlopCounterMode  # noqa: E402  # after the skip

import gatewise  # noqa: E402
from gatewise.ops import torch as engine  # noqa: E402
from gatewise.torch import GRU  # noqa: E402
from ops_case import gru  # noqa: E402

BATCH, TIMESTEPS, FEATURES, UNITS = 4, 6, 3, 5
X = torch.randn((TIMESTEPS, BATCH, FEATURES), generator=torch.Generator().manual_seed(0))


def flops(module: Any, *inputs: Any) -> tuple[int, int]:
    """What is counted on the way forward, and on the way back."""
    with FlopCounterMode(display=False) as counter:
        outputs, state = module(*inputs)
        forward = counter.get_total_flops()
        (outputs.sum() + state.sum()).backward()
    total: int = counter.get_total_flops()
    assert total == sum(counter.get_flop_counts()[type(module).__name__].values())
    return forward, total - forward


@pytest.mark.parametrize(("layers", "bidirectional"), [(1, False), (2, False), (1, True), (2, True)])
def test_what_is_counted_is_what_is_counted_for_pytorch(layers: int, bidirectional: bool) -> None:
    for with_state, of_x in itertools.product((False, True), repeat=2):
        x = X.clone().requires_grad_(of_x)
        states = layers * (1 + bidirectional)
        hx = [torch.ones(states, BATCH, UNITS, requires_grad=True)] if with_state else []
        options: dict[str, Any] = {"num_layers": layers, "bidirectional": bidirectional}
        found, expected = (flops(cls(FEATURES, UNITS, **options), x, *hx) for cls in (GRU, torch.nn.GRU))
        assert found == expected
        assert all(found)


def test_one_step_of_one_row_is_counted_as_by_hand() -> None:
    x, hx = torch.ones(1, 1, 2, requires_grad=True), torch.ones(1, 1, 7, requires_grad=True)
    # (1, 2) times (2, 21) and (1, 7) times (7, 21); then each product's gradient by either factor.
    forward = 2 * 2 * 21 + 2 * 7 * 21
    assert flops(GRU(2, 7), x, hx) == (forward, 2 * forward)
    with gatewise.recompute():  # the way back runs the layer once more
        assert flops(GRU(2, 7), x, hx) == (forward, 3 * forward)


def test_operations_in_the_layout_of_keras_are_counted_alike() -> None:
    leaves = [torch.ones(shape).requires_grad_() for shape in ((BATCH, TIMESTEPS, FEATURES), (FEATURES, 15), (5, 15))]

    def layer(x: torch.Tensor, kernel: torch.Tensor, recurrent_kernel: torch.Tensor) -> Any:
        return gru(engine, x, None, kernel, recurrent_kernel, reset_after=False)

    with FlopCounterMode(display=False) as counter:
        outputs, _ = layer(*leaves)
        outputs.sum().backward()
        with torch.no_grad():
            layer(*leaves)
    products = [2 * BATCH * TIMESTEPS * size * 15 for size in (FEATURES, UNITS)]
    first_state = 2 * BATCH * UNITS * 15  # zeros, without a gradient
    assert counter.get_total_flops() == 4 * sum(products) - first_state


def test_triton_is_not_imported_after_tensorflow_for_the_two_end_the_process(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow", reason="TensorFlow is what Triton does not bear: install the extra `tensorflow`")
    (tmp_path / "triton").mkdir()
    (tmp_path / "triton" / "__init__.py").write_text("raise SystemExit('Triton is imported')\n")
    program = "import tensorflow, gatewise.torch, json, sys\nprint(json.dumps('gatewise.torch' in sys.modules))"
    assert own_process.run(program, tmp_path)  # which finds modules in its own folder first
