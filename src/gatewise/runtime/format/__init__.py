# SPDX-License-Identifier: Apache-2.0
"""The parts of a model's file, which docs/format.md describes; `gatewise.runtime.file` puts them together."""
