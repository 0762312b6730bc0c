# SPDX-License-Identifier: Apache-2.0
"""The engine as a function of each framework: forward and gradient registration, nothing else."""
