# SPDX-License-Identifier: Apache-2.0
"""Settings that every test needs before it imports anything."""

import os
import tempfile

from hypothesis import settings

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's greetings would bury a failure's message

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # PyTorch's threads would spin, on CPUs that another run needs

# JAX makes thousands of small programs: they shall compile fast, and each of them once
_programs = tempfile.TemporaryDirectory(prefix="gatewise-tests-jax-")
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", _programs.name)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

# No deadline: a layer's first call traces a graph, which takes seconds. Derandomized: every run has the same cases.
settings.register_profile("default", derandomize=True, deadline=None)
settings.register_profile("deep", max_examples=2000, deadline=None)
settings.load_profile("default")
