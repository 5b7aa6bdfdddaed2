"""Small charts as inline SVG, coloured by the style sheet of the page they stand in."""

from collections.abc import Mapping, Sequence
import dataclasses
import math

from markupsafe import Markup, escape

_WIDTH, _HEIGHT = 460, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 16, 34
_WIDE = 760  # Of a chart that names its rows.
_ROW = 22  # Height of one.
_LONGEST = 40  # Letters of a row's name; a longer one is cut.
_LETTER = 7.6  # Width of one, at most about this.


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
    names = [_cut(r.name) for r in rows]
    left = 14 + _LETTER * max(map(len, names))
    right = _WIDE - (160 if signed else 146)
    top = 18 if reference else 6
    bottom = top + _ROW * len(rows)
    at = _scale(ticks, left, right)
    parts = [_open(_WIDE, bottom + 38, title, "wide")]
    for tick in ticks:
        parts.append(
            f'<path class="grid" d="M{at(tick):.1f} {top}V{bottom}"/>'
            f'<text class="tick" x="{at(tick):.1f}" y="{bottom + 15}"'
            f' text-anchor="middle">{_number(tick)}</text>'
        )
    parts.append(
        f'<text class="tick" x="{(left + right) / 2:.1f}" y="{bottom + 32}"'
        f' text-anchor="middle">{escape(x_label)}</text>'
    )
    if reference:
        x = at(reference[1])
        parts.append(
            f'<path class="reference" d="M{x:.1f} {top - 4}V{bottom}"/>'
            f'<text class="tick" x="{x:.1f}" y="{top - 7}" text-anchor="middle">'
            f"{escape(reference[0])}</text>"
        )
    for n, (row, name) in enumerate(zip(rows, names, strict=True)):
        parts.append(_interval(row, name, top + _ROW * (n + 0.5), left, at, signed))
    return Markup("".join([*parts, "</svg>"]))


def _interval(row: Row, name: str, y: float, left: float, at, signed: bool) -> str:
    sign = "+" if signed else ""
    figures = [typeset(f"{x:{sign}.3f}") for x in (row.value, row.low, row.high)]
    strong = " strong" if row.strong else ""
    parts = [
        f'<g class="row{strong}"><title>{escape(row.name)}</title>'
        f'<text class="name" x="{left - 8:.1f}" y="{y + 4:.1f}" text-anchor="end">'
        f"{escape(name)}</text>"
    ]
    parts += [
        # One above the other, so that many in one place are seen to be many.
        f'<circle class="point" cx="{at(p):.1f}" cy="{y + 2.2 * (n % 5 - 2):.1f}"'
        ' r="2"/>'
        for n, p in enumerate(row.points)
    ]
    parts.append(
        f'<path class="bar" d="M{at(row.low):.1f} {y:.1f}H{at(row.high):.1f}'
        f'M{at(row.low):.1f} {y - 4:.1f}v8M{at(row.high):.1f} {y - 4:.1f}v8"/>'
        f'<circle class="value" cx="{at(row.value):.1f}" cy="{y:.1f}" r="4.5"/>'
    )
    if row.other is not None:
        x = at(row.other)
        parts.append(f'<path class="other" d="M{x:.1f} {y - 6:.1f}l6 6l-6 6l-6 -6z"/>')
    parts.append(
        f'<text class="figure" x="{_WIDE}" y="{y + 4:.1f}" text-anchor="end">'
        f'{figures[0]} <tspan class="range">[{figures[1]}, {figures[2]}]</tspan>'
        "</text></g>"
    )
    return "".join(parts)


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
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"


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
