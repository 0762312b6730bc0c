# SPDX-License-Identifier: Apache-2.0
"""Trained models without a framework: a graph of plain data, its file, and what runs it."""

