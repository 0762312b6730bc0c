# SPDX-License-Identifier: Apache-2.0
"""The page of an inspection: one HTML file with its pictures and its style inside, which loads nothing."""

from __future__ import annotations

import io
import re
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import rc_context

from gatewise.inspect import pictures, sentences
from gatewise.inspect.explanations import TERMS
from gatewise.options import cut
from gatewise.runtime.inputs import shape_text
from gatewise.whole_file import write_whole

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from gatewise.inspect.attribution import Attribution
    from gatewise.inspect.inspection import Inspection
    from gatewise.inspect.layer import Layer

HEADINGS = ("layer", "cell", "units", "half-life, median", "half-life, longest", "of a gradient", "dead", "duplicates")
MOST_TOKENS = 400  # that are written out


def write(
    found: Inspection,
    path: Path,
    title: str,
    row: int,
    attributions: Sequence[Attribution],
    tokens: Sequence[str] | None,
) -> None:
    """Writes the page; `Inspection.save` says how."""
    parts = [
        *_opening(found, title),
        *(part for layer in found.layers.values() for part in _layer(layer, row, tokens)),
        *_attributions(found, attributions, tokens),
        *_terms(),
    ]
    style = files("gatewise.inspect").joinpath("report.css").read_text(encoding="utf-8")
    body = "\n".join(parts)
    page = (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"/>\n<title>{escape(title)}</title>\n'
        f"<style>\n{style}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )
    write_whole(path, [page.encode()])


def _opening(found: Inspection, title: str) -> Iterator[str]:
    model, data = found.opened.model, found.opened.inputs
    weights = sum(array.size for array in model.graph.tensors.values())
    reads = ", ".join(f"<code>{escape(name)}</code> {shape_text(value)}" for name, value in model.inputs.items())
    gives = ", ".join(f"<code>{escape(name)}</code> {shape_text(value)}" for name, value in model.outputs.items())
    rows = len(next(iter(data.values())))
    steps = sum(int(layer.valid.sum()) for layer in [*found.layers.values()][:1])
    yield f"<h1>{escape(title)}</h1>"
    yield (
        f"<p>A model of {len(model.graph.nodes)} operations and {weights:,} weights. It reads {reads} and gives "
        f"{gives}. Looked at while it read {rows:,} sequence{'s' * (rows != 1)}, {steps:,} steps in all.</p>"
    )
    yield _table("layers", HEADINGS, sentences.cells([*found.layers.values()]))
    yield '<p class="grey">Half-lives in steps. What the words mean stands at the end of the page.</p>'
    yield f"<details><summary>All operations</summary>{_operations(model.summary())}</details>"


def _operations(summary: str) -> str:
    return f'<div class="scroll"><pre>{escape(summary)}</pre></div>'


def _layer(layer: Layer, row: int, tokens: Sequence[str] | None) -> Iterator[str]:
    way = "reads from the end" if layer.backwards else "reads from the beginning"
    yield f'<section>\n<h2>{escape(layer.name)} <span class="chip">{escape(layer.cell)}, {layer.units} units</span> '
    yield f'<span class="chip">{way}</span></h2>'
    texts = (text.removeprefix(f"{layer.name}: ") for text in sentences.of_layer(layer))
    items = "".join(f"<li>{escape(text[:1].upper() + text[1:])}</li>" for text in texts)
    yield f'<ul class="findings">{items}</ul>\n<div class="pictures">'
    shown = row if row < len(layer.valid) else 0
    yield _picture(
        pictures.gates(layer, shown, _fitting(tokens, layer)),
        "Gates over time",
        f"Every unit at every step of row {shown}: a line of the picture is a unit, and its gates open and shut."
        f"{' At a red line a start ends what it holds.' * bool(layer.restarts[shown].any())}",
    )
    yield "<div>"
    if layer.half_lives is not None:
        yield _picture(
            pictures.horizons(layer),
            "Memory horizons",
            "How long the units hold on. Right of the red line a unit keeps more than half over "
            f"a whole {'segment' if layer.restarts.any() else 'sequence'}.",
        )
    if len(layer.inputs) > 1:
        weaker = len(layer.inputs) - pictures.MOST_BARS
        more = f" {weaker} more are weaker." if weaker > 0 else ""
        caption = f"How much each input moves the state within a step.{more}"
        yield _picture(pictures.inputs(layer), "What moves the state", caption)
    yield f"</div>\n</div>\n<details><summary>Every unit</summary>{_units(layer)}</details>\n</section>"


def _fitting(tokens: Sequence[str] | None, layer: Layer) -> Sequence[str] | None:
    return tokens if tokens is not None and len(tokens) <= layer.valid.shape[1] else None


def _units(layer: Layer) -> str:
    gates = [gate for gate in layer.ends if gate != "candidate"]
    headings = (
        "unit",
        "half-life",
        "moves",
        "matters",
        *(f"{gate} {end}" for gate in gates for end in ("shut", "open")),
    )
    rows = []
    for unit in range(layer.units):
        life = "none" if layer.half_lives is None else sentences.number(float(layer.half_lives[unit]))
        ends = (f"{share:.0%}" for gate in gates for share in layer.ends[gate][:, unit])
        rows.append((str(unit), life, f"{layer.ranges[unit]:.1%}", f"{layer.influence[unit]:.1%}", *ends))
    return _table("units", headings, rows, layer.dead)


def _attributions(
    found: Inspection, attributions: Sequence[Attribution], tokens: Sequence[str] | None
) -> Iterator[str]:
    yield "<section>\n<h2>What a prediction rests on</h2>"
    if not attributions:
        yield (
            "<p>Not asked for, or not to be had: gradients need the model in its framework, Keras or PyTorch; a file "
            "alone has none.</p>"
        )
    for one in attributions:
        target = f"[{', '.join(map(str, one.target))}]" if one.target else ""
        exact = (
            f"Its shares add up to the difference but for {one.completeness_error:.2%} (completeness error)."
            if one.method == "integrated_gradients"
            else f"One gradient: its shares miss the difference by {one.completeness_error:.0%}."
        )
        yield (
            f"<p><code>{escape(one.output)}{target}</code> of row {one.row} is <b>{one.prediction:.4g}</b>; with zeros "
            f"in place of all inputs it would be {one.baseline:.4g}. By {one.method.replace('_', ' ')}. {exact}</p>"
        )
        for name, values in one.values.items():
            fits = tokens is not None and values.ndim and len(tokens) <= len(values)
            words = [*(tokens or ())] if fits else None
            if words is not None:
                yield _words(words, one.by_step(name))
            yield '<div class="pictures">'
            picture = pictures.attribution(one, name, found.features.get(name), words)
            caption = "Teal speaks for the prediction, red against it, against the baseline of zeros."
            yield _picture(picture, f"Input {name}", caption)
            yield "</div>"
    yield "</section>"


def _words(words: Sequence[str], shares: Any) -> str:
    """Writes tokens with their shares as colours."""
    most = float(np.abs(shares).max()) or 1.0
    spans = []
    for word, share in zip(words[:MOST_TOKENS], shares, strict=False):
        colour = "var(--ours)" if share >= 0 else "var(--other)"
        strength = round(70 * abs(float(share)) / most)
        style = f"background: color-mix(in srgb, {colour} {strength}%, transparent)"
        spans.append(f'<span style="{style}" title="{share:+.3g}">{escape(cut(word, 40))}</span>')
    return f'<p class="tokens">{" ".join(spans)}</p>'


def _terms() -> Iterator[str]:
    yield "<section>\n<h2>What the words mean</h2>\n<dl>"
    yield from (f"<dt>{escape(term)}</dt><dd>{escape(meaning)}</dd>" for term, meaning in TERMS.items())
    yield "</dl>\n</section>"


def _table(kind: str, headings: Sequence[str], rows: Sequence[Sequence[str]], marked: Container[int] = ()) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in headings)
    openings = ['<tr class="dead">' if i in marked else "<tr>" for i in range(len(rows))]
    cells = ("".join(f"<td>{escape(text)}</td>" for text in row) for row in rows)
    lines = [f"{opening}{row}</tr>" for opening, row in zip(openings, cells, strict=True)]
    body = "".join(lines)
    table = f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="scroll">{table}</div>'


def _picture(figure: Figure, title: str, caption: str) -> str:
    return f"<figure><h3>{escape(title)}</h3>{_svg(figure, title)}<figcaption>{escape(caption)}</figcaption></figure>"


_COLOURS = {
    pictures.INK: "var(--ink)",
    pictures.GREY: "var(--grey)",
    pictures.PALE: "var(--pale)",
    pictures.OURS: "var(--ours)",
    pictures.OTHER: "var(--other)",
}


def _svg(figure: Figure, label: str) -> str:
    """Writes a figure as SVG that takes its inks from the page, so that it is read on light and dark ones."""
    stream = io.StringIO()
    with rc_context({**pictures.STYLE, "svg.fonttype": "none"}):
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    text = stream.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:xlink)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', rf'\1 role="img" aria-label="{escape(label)}"', text, count=1)
    for colour, variable in _COLOURS.items():
        text = text.replace(colour, variable)
    return text
