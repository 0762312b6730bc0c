# SPDX-License-Identifier: Apache-2.0
"""What the words of a report mean, for people who read no code."""

TERMS = {
    "Unit": "One number of a layer's state. At each step it keeps a part of what it held and takes in something new.",
    "Gate": (
        "What decides how much: 0 is shut, 1 is open. A GRU's update gate, h = z h_prev + (1 - z) h~, and an LSTM's "
        "forget gate, c = f c_prev + i g, say how much a unit keeps: open, it holds on."
    ),
    "Half-life": (
        "Steps until half of what a unit held is gone by its own gate: ln(1/2) / ln(mean gate). The mean is the "
        "geometric one, since what is left after several steps is the product of their gates. Where zoneout keeps a "
        "part p of the state besides, a step keeps p + (1 - p) gate of it. What comes back through other units is not "
        "in it."
    ),
    "Half-life of a gradient": (
        "Steps until the effect of a small change to the layer's whole state has halved, by the derivative of the "
        "layer along the data: with all ways through other units. Training reaches back only a few of these."
    ),
    "Dead": (
        "A unit that never moves: its state stays within a thousandth of the layer's largest. Or one that never "
        "matters: with its state read as zero, each output stays within a thousandth of its range. Where a layer "
        "normalises, a dead unit's weights still count in the mean and the variance of the others."
    ),
    "Duplicates": (
        "Two units whose states are equal at every step, up to the sign, within a thousandth of the layer's largest: "
        "one would do."
    ),
    "Shut or open in at least 95% of the steps": "The gate is below 0.1, or above 0.9, of its range.",
    "What moves the state": (
        "The mean of |dh/dx| within a step over units and steps, times how much the input varies in the data."
    ),
    "Integrated gradients": (
        "How much each input adds to the prediction on the way from all zeros to what it is; the shares add up to the "
        "difference between the two predictions. How nearly they do is the completeness error."
    ),
}
