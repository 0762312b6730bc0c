# SPDX-License-Identifier: Apache-2.0
"""What a recurrent layer is: the specification, in float64 NumPy, that every other implementation is tested against."""

from gatewise.reference.activations import ACTIVATIONS
from gatewise.reference.loop import EQUATIONS, Forward, Gradients, backward, forward

__all__ = ["ACTIVATIONS", "EQUATIONS", "Forward", "Gradients", "backward", "forward"]
