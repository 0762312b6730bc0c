# SPDX-License-Identifier: Apache-2.0
"""Who is timed. Each module prepares a case, in the form in which its users run it, with its best settings.

`prepare(case, threads, **options)` returns two functions: one that runs the case once and returns when the results are
there, and one that turns what it returned into NumPy arrays: `[y]`, or `[dx, d_kernel, d_recurrent_kernel, d_bias]`
in Keras's layout.
"""
