"""Charts as files of their own, which no page's style sheet colours."""

from collections.abc import Sequence

from markupsafe import Markup

_XMLNS = 'xmlns="http://www.w3.org/2000/svg" style="background:white"'
_STYLE = (
    "<style>text{font:11px sans-serif;fill:#444}path{fill:none;stroke-width:2}"
    ".grid{stroke:#ddd;stroke-width:1}.line0{stroke:#0072b2}"
    ".line1{stroke:#d55e00}.line2{stroke:#009e73}</style>"
)


def alone(
    chart: Markup, names: Sequence[str], key_at: tuple[int, int] = (60, 30)
) -> str:
    """A line chart of `jser.report.charts` as an SVG file, its key inside."""
    left, top = key_at
    svg = str(chart).partition("</svg>")[0].replace("<svg ", f"<svg {_XMLNS} ", 1)
    key = "".join(
        f'<path class="line{n}" d="M{left} {top + 14 * n}h24"/>'
        f'<text x="{left + 30}" y="{top + 4 + 14 * n}">{name}</text>'
        for n, name in enumerate(names)
    )
    return f"{svg}{_STYLE}{key}</svg>\n"
