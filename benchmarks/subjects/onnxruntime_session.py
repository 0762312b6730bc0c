# SPDX-License-Identifier: Apache-2.0
"""onnxruntime: one session, its threads spinning between calls (the default, and the faster), arrays time first.

With `bound`, inputs and output are bound once and the call passes nothing: faster only where a call is short.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from subjects.onnx_model import make_model
from workloads import make_input, make_states

if TYPE_CHECKING:
    from collections.abc import Callable

    from workloads import Case


def prepare(case: Case, threads: int, *, bound: bool = False) -> tuple[Callable[[], Any], Callable[[Any], list[Any]]]:
    """See `subjects`."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "1")
    session = onnxruntime.InferenceSession(make_model(case), options, providers=["CPUExecutionProvider"])
    feeds = {"x": np.ascontiguousarray(make_input(case).swapaxes(0, 1))}
    if case.task == "step":
        feeds |= {f"{name}{i}": h[None] for name, of in zip("hc", make_states(case)) for i, h in enumerate(of)}  # noqa: B905

    def batch_first(results: Any) -> list[Any]:
        y = results[0].reshape(case.timesteps, -1, case.batch, case.units)
        return [y.transpose(2, 0, 1, 3).reshape(case.batch, case.timesteps, -1)]

    if not bound:
        return lambda: session.run(None, feeds), batch_first
    binding = session.io_binding()
    for name, array in feeds.items():
        binding.bind_cpu_input(name, array)
    outputs = [onnxruntime.OrtValue.ortvalue_from_numpy(np.empty(y.shape, np.float32)) for y in session.get_outputs()]
    for y, value in zip(session.get_outputs(), outputs, strict=True):
        binding.bind_ortvalue_output(y.name, value)
    return lambda: session.run_with_iobinding(binding), lambda _: batch_first([outputs[0].numpy()])
