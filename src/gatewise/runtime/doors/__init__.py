# SPDX-License-Identifier: Apache-2.0
"""The doors: a folder for each kind of model that becomes a graph."""
