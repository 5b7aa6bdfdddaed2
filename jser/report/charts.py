"""Small charts as inline SVG, coloured by the style sheet of the page they stand in."""

from collections.abc import Mapping, Sequence
import dataclasses
import math
import pathlib

from markupsafe import Markup, escape

_WIDTH, _HEIGHT = 460, 220
_WIDE = 720  # Of a picture that stands alone.
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 16, 34
_ROW = 36  # Height of a named row: its name above, its interval below.
_MARGIN = 4  # Per cent of the width, on both sides of the intervals.
_LONGEST = 30  # Letters of a row's name; a longer one is cut in its midst.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A value with its interval, and what it was drawn from."""

    name: str
    value: float
    low: float
    high: float
    points: Sequence[float] = ()  # Drawn behind, faintly.
    other: float | None = None  # A second value, such as a published one.
    strong: bool = False  # Whether the page speaks of this one most.


def lines(
    series: Mapping[str, Sequence[tuple[float, float]]],
    *,
    title: str,
    x_label: str,
    y_label: str,
) -> Markup:
    """A line chart.

    Args:
      series: Points (x, y) by name; the n-th line has the class "line n".
      title: Read out to those who cannot see the picture.
      x_label: Of the horizontal axis.
      y_label: Of the vertical axis.

    Returns:
      An `<svg>` element, or a sentence if there are no points.
    """
    points = [p for line in series.values() for p in line]
    if not points:
        return Markup("<p>No points to draw.</p>")
    x_ticks = _ticks(min(p[0] for p in points), max(p[0] for p in points))
    y_ticks = _ticks(min(p[1] for p in points), max(p[1] for p in points))
    at_x = _scale(x_ticks, _LEFT, _WIDTH - _RIGHT)
    at_y = _scale(y_ticks, _HEIGHT - _BOTTOM, _TOP)
    parts = [_open(_WIDTH, _HEIGHT, title)]
    parts += _square_axes(x_ticks, y_ticks, at_x, at_y, x_label, y_label)
    for n, line in enumerate(series.values()):
        path = "L".join(f"{at_x(x):.1f} {at_y(y):.1f}" for x, y in line)
        parts.append(f'<path class="line line{n}" d="M{path}"/>')
        if len(line) == 1:
            x, y = line[0]
            parts.append(
                f'<circle class="dot line{n}" cx="{at_x(x):.1f}" cy="{at_y(y):.1f}"'
                ' r="3"/>'
            )
    return Markup("".join([*parts, "</svg>", _legend(list(series))]))


def intervals(
    rows: Sequence[Row],
    *,
    title: str,
    x_label: str,
    reference: tuple[str, float] | None = None,
    signed: bool = False,
) -> Markup:
    """A row for each value: a dot, its interval as a bar, and both in figures.

    It is as wide as there is room, and its letters are of one size in every width.

    Args:
      rows: From top to bottom.
      title: Read out to those who cannot see the picture.
      x_label: Of the horizontal axis.
      reference: Name and place of an upright line, such as chance.
      signed: Whether values are differences, shown with their sign.

    Returns:
      An `<svg>` element, or a sentence if there are no rows.
    """
    if not rows:
        return Markup("<p>Nothing to draw.</p>")
    ends = [e for r in rows for e in (r.low, r.high, r.value, *r.points)]
    ends += [r.other for r in rows if r.other is not None]
    ends += [reference[1]] if reference else []
    ticks = _ticks(min(ends), max(ends))
    top = 18 if reference else 2
    bottom = top + _ROW * len(rows)
    at = _scale(ticks, _MARGIN, 100 - _MARGIN)
    parts = [
        f'<svg class="chart wide" role="img" aria-label="{escape(title)}"'
        f' height="{bottom + 38}"><title>{escape(title)}</title>'
    ]
    for tick in ticks:
        parts.append(
            f"{_line('grid', at(tick), at(tick), top, bottom)}"
            f'<text class="tick" x="{at(tick):.2f}%" y="{bottom + 15}"'
            f' text-anchor="middle">{_number(tick)}</text>'
        )
    parts.append(
        f'<text class="tick" x="50%" y="{bottom + 32}" text-anchor="middle">'
        f"{escape(x_label)}</text>"
    )
    if reference:
        x = at(reference[1])
        parts.append(
            f"{_line('reference', x, x, top - 4, bottom)}"
            f'<text class="tick" x="{x:.2f}%" y="{top - 7}"'
            f' text-anchor="{_anchor(x)}">{escape(reference[0])}</text>'
        )
    for n, row in enumerate(rows):
        parts.append(_interval(row, top + _ROW * n, at, signed))
    return Markup("".join([*parts, "</svg>"]))


def standalone(chart: Markup) -> str:
    """A chart of `intervals` as a file of its own, in the colours of the page."""
    style = pathlib.Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    style += (
        f"svg.chart.wide {{ width: {_WIDE}px; background: var(--paper);"
        " font-family: system-ui, sans-serif; }"
    )
    _, _, inside = chart.partition("<svg ")
    head, _, body = inside.partition(">")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDE}" {head}>'
        f"<style>{style}</style>"
        f"{body}\n"
    )


def _interval(row: Row, top: float, at, signed: bool) -> str:
    sign = "+" if signed else ""
    figures = [typeset(f"{x:{sign}.3f}") for x in (row.value, row.low, row.high)]
    strong = " strong" if row.strong else ""
    y = top + 24  # Of the interval, in the lower part of the row.
    low, high = at(row.low), at(row.high)
    parts = [
        f'<g class="row{strong}"><title>{escape(row.name)}</title>'
        f'<text class="name" x="0" y="{top + 14}">{escape(_cut(row.name))}</text>'
    ]
    parts += [
        # One above the other, so that many in one place are seen to be many.
        f'<circle class="point" cx="{at(p):.2f}%" cy="{y + 2.2 * (n % 5 - 2):.1f}"'
        ' r="2"/>'
        for n, p in enumerate(row.points)
    ]
    parts += [
        _line("bar", low, high, y, y),
        *(_line("bar", end, end, y - 4, y + 4) for end in (low, high)),
        f'<circle class="value" cx="{at(row.value):.2f}%" cy="{y}" r="4.5"/>',
    ]
    if row.other is not None:
        parts.append(
            f'<text class="other" x="{at(row.other):.2f}%" y="{y + 5}"'
            ' text-anchor="middle">\N{WHITE DIAMOND}</text>'
        )
    parts.append(
        f'<text class="figure" x="100%" y="{top + 14}" text-anchor="end">'
        f'{figures[0]} <tspan class="range">[{figures[1]}, {figures[2]}]</tspan>'
        "</text></g>"
    )
    return "".join(parts)


def _line(kind: str, x1: float, x2: float, y1: float, y2: float) -> str:
    """A straight line; x is in per cent of the width."""
    return f'<line class="{kind}" x1="{x1:.2f}%" x2="{x2:.2f}%" y1="{y1}" y2="{y2}"/>'


def _anchor(x: float) -> str:
    """Where a text at x, in per cent, must be held not to leave the picture."""
    return "start" if x < 10 else "end" if x > 90 else "middle"


def reliability(bins: Sequence[tuple[float, float, float]], *, title: str) -> Markup:
    """A reliability diagram: how often a probability is right.

    Args:
      bins: Mean confidence, accuracy and share of the utterances of each bin that has
        any. A dot's area is its share.
      title: Read out to those who cannot see the picture.
    """
    side = 240
    ticks = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    at_x = _scale(ticks, _LEFT, _LEFT + side)
    at_y = _scale(ticks, _TOP + side, _TOP)
    parts = [_open(_LEFT + side + _RIGHT, _TOP + side + _BOTTOM, title, "square")]
    parts += _square_axes(ticks, ticks, at_x, at_y, "confidence", "accuracy")
    parts.append(
        f'<path class="reference" d="M{at_x(0):.1f} {at_y(0):.1f}'
        f'L{at_x(1):.1f} {at_y(1):.1f}"/>'
    )
    path = "L".join(f"{at_x(c):.1f} {at_y(a):.1f}" for c, a, _ in bins)
    parts.append(f'<path class="line line0" d="M{path}"/>')
    parts += [
        f'<circle class="dot line0" cx="{at_x(c):.1f}" cy="{at_y(a):.1f}"'
        f' r="{1.5 + 12 * math.sqrt(share):.1f}"/>'
        for c, a, share in bins
    ]
    return Markup("".join([*parts, "</svg>"]))


def typeset(figures: str) -> str:
    """With minus signs in place of hyphens."""
    return figures.replace("-", "\N{MINUS SIGN}")


def _square_axes(x_ticks, y_ticks, at_x, at_y, x_label: str, y_label: str) -> list[str]:
    """Grid, ticks and names of both axes of a chart with its origin at the left."""
    left, right = at_x(x_ticks[0]), at_x(x_ticks[-1])
    bottom, top = at_y(y_ticks[0]), at_y(y_ticks[-1])
    parts = []
    for y in y_ticks:
        parts.append(
            f'<path class="grid" d="M{left:.1f} {at_y(y):.1f}H{right:.1f}"/>'
            f'<text class="tick" x="{left - 6:.1f}" y="{at_y(y) + 4:.1f}"'
            f' text-anchor="end">{_number(y)}</text>'
        )
    for x in x_ticks:
        parts.append(
            f'<text class="tick" x="{at_x(x):.1f}" y="{bottom + 16:.1f}"'
            f' text-anchor="middle">{_number(x)}</text>'
        )
    parts.append(
        f'<text class="tick" x="{(left + right) / 2:.1f}" y="{bottom + 31:.1f}"'
        f' text-anchor="middle">{escape(x_label)}</text>'
        f'<text class="tick" x="{left + 5:.1f}" y="{top - 2:.1f}">'
        f"{escape(y_label)}</text>"
    )
    return parts


def _open(width: float, height: float, title: str, kind: str = "") -> str:
    return (
        f'<svg class="chart {kind}" role="img" aria-label="{escape(title)}"'
        f' viewBox="0 0 {width:g} {height:g}"><title>{escape(title)}</title>'
    )


def _scale(ticks: Sequence[float], start: float, end: float):
    """From values to places: the first tick lies at `start`, the last at `end`."""
    first, span = ticks[0], ticks[-1] - ticks[0]
    return lambda value: start + (value - first) / span * (end - start)


def _legend(names: Sequence[str]) -> str:
    items = (
        f'<li><span class="key line{n}"></span>{escape(name)}</li>'
        for n, name in enumerate(names)
    )
    return f'<ul class="legend">{"".join(items)}</ul>'


def _cut(name: str) -> str:
    """A long name without its midst: what tells systems apart stands at both ends."""
    end = _LONGEST // 2
    return name if len(name) <= _LONGEST else f"{name[: end - 1]}…{name[-end:]}"


def _number(value: float) -> str:
    return typeset(f"{value:g}")


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers from at or below `low` to at or above `high`."""
    most = max(abs(low), abs(high))
    span = high - low if high - low > 1e-6 * most else most or 1.0
    step = 10 ** math.floor(math.log10(span / 4))
    step *= next((m for m in (1, 2, 5) if span / (step * m) <= 5), 10)
    first, last = math.floor(low / step), math.ceil(high / step)
    if first == last:
        last += 1
    return [round(i * step, 10) for i in range(first, last + 1)]
