# SPDX-License-Identifier: Apache-2.0
"""Settings that every test needs before it imports anything."""

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's greetings would bury a failure's message

from hypothesis import settings

# No deadline: a layer's first call traces a graph, which takes seconds. Derandomized: every run has the same cases.
settings.register_profile("default", derandomize=True, deadline=None)
settings.register_profile("deep", max_examples=2000, deadline=None)
settings.load_profile("default")
