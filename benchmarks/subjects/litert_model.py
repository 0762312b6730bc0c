# SPDX-License-Identifier: Apache-2.0
"""A step of a GRU as a LiteRT model: x (1, F) and h (1, U) to the next h, in two products and what joins them.

TensorFlow, which converts it, stays in a process of its own: the one that is measured has LiteRT alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workloads import Case

BENCHMARKS = Path(__file__).resolve().parents[1]


def make_model(case: Case) -> bytes:
    """Returns the model, with the weights of the case inside as constants; its batch is one."""
    environment = os.environ | {"PYTHONPATH": str(BENCHMARKS), "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-m", "subjects.litert_model"]
    given = json.dumps(asdict(case)).encode()
    ran = subprocess.run(command, input=given, env=environment, capture_output=True, check=False)
    if ran.returncode:
        message = f"litert_model ended with {ran.returncode}\n{ran.stderr.decode()[-4000:]}"
        raise RuntimeError(message)
    return bytes.fromhex(ran.stdout.splitlines()[-1].decode())


def _convert(case: Case) -> Any:
    import tensorflow as tf

    from workloads import make_weights

    kernel, recurrent_kernel, bias = (tf.constant(array) for array in make_weights(case, 0))

    @tf.function(
        input_signature=[
            tf.TensorSpec([1, case.features], tf.float32, name="x"),
            tf.TensorSpec([1, case.units], tf.float32, name="h"),
        ]
    )
    def step(x: Any, h: Any) -> Any:
        xz, xr, xh = tf.split(tf.matmul(x, kernel) + bias[0], 3, axis=1)
        hz, hr, hh = tf.split(tf.matmul(h, recurrent_kernel) + bias[1], 3, axis=1)
        z, r = tf.sigmoid(xz + hz), tf.sigmoid(xr + hr)
        h_tilde = tf.tanh(xh + r * hh)
        return h_tilde + z * (h - h_tilde)

    return tf.lite.TFLiteConverter.from_concrete_functions([step.get_concrete_function()]).convert()


if __name__ == "__main__":
    from workloads import Case

    print(_convert(Case(**json.load(sys.stdin))).hex())
