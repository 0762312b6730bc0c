# SPDX-License-Identifier: Apache-2.0
"""`python -m gatewise`: a program of Python as it is, with Keras and PyTorch patched when it imports them."""
