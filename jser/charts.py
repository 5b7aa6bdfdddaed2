"""Small charts as inline SVG, coloured by the style sheet of the page they stand in."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

_WIDTH, _HEIGHT = 460, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 12, 34


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

    def at_x(x: float) -> float:
        share = (x - x_ticks[0]) / (x_ticks[-1] - x_ticks[0])
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def at_y(y: float) -> float:
        share = (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)

    parts = [
        f'<svg class="chart" role="img" viewBox="0 0 {_WIDTH} {_HEIGHT}">',
        f"<title>{escape(title)}</title>",
    ]
    for y in y_ticks:
        parts.append(
            f'<path class="grid" d="M{_LEFT} {at_y(y):.1f}H{_WIDTH - _RIGHT}"/>'
            f'<text class="tick" x="{_LEFT - 6}" y="{at_y(y) + 4:.1f}"'
            f' text-anchor="end">{y:g}</text>'
        )
    for x in x_ticks:
        parts.append(
            f'<text class="tick" x="{at_x(x):.1f}" y="{_HEIGHT - _BOTTOM + 16}"'
            f' text-anchor="middle">{x:g}</text>'
        )
    parts.append(
        f'<text class="tick" x="{(_WIDTH + _LEFT) / 2}" y="{_HEIGHT - 3}"'
        f' text-anchor="middle">{escape(x_label)}</text>'
        f'<text class="tick" x="4" y="{_TOP}">{escape(y_label)}</text>'
    )
    for n, line in enumerate(series.values()):
        path = "L".join(f"{at_x(x):.1f} {at_y(y):.1f}" for x, y in line)
        parts.append(f'<path class="line line{n}" d="M{path}"/>')
    return Markup("".join([*parts, "</svg>", _legend(list(series))]))


def _legend(names: Sequence[str]) -> str:
    items = (
        f'<li><span class="key line{n}"></span>{escape(name)}</li>'
        for n, name in enumerate(names)
    )
    return f'<ul class="legend">{"".join(items)}</ul>'


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers from at or below `low` to at or above `high`."""
    import math

    span = (high - low) or abs(high) or 1.0
    step = 10 ** math.floor(math.log10(span / 4))
    step *= next((m for m in (1, 2, 5) if span / (step * m) <= 5), 10)
    first, last = math.floor(low / step), math.ceil(high / step)
    if first == last:
        last += 1
    return [round(i * step, 10) for i in range(first, last + 1)]
