import dataclasses
import html.parser
import json
import pathlib
import re
import shutil
import subprocess

import numpy as np
import pytest

from jser.report import charts, page, published, results
from jser.report.charts import Row
from tests.helpers import simulated_systems


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> results.Inputs:
    return simulated_systems.inputs(tmp_path_factory.mktemp("scored"))


@pytest.fixture(scope="module")
def folder(inputs, tmp_path_factory) -> pathlib.Path:
    """Where the report of `inputs` lies."""
    folder = tmp_path_factory.mktemp("report")
    page.write(inputs, folder)
    return folder


class Page(html.parser.HTMLParser):
    """Collects tags, attributes and text, and checks that tags close in order."""

    VOID = frozenset(("circle", "line", "link", "meta", "path"))

    def __init__(self, text: str):
        super().__init__()
        self.open, self.tags, self.attributes, self.texts = [], [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def shown(self) -> str:
        return " ".join(" ".join(self.texts).split())


def test_the_page_is_whole_and_asks_the_network_for_nothing(folder):
    text = (folder / "report.html").read_text()
    page = Page(text)
    ids = {value for name, value in page.attributes if name == "id"}
    for name, value in page.attributes:
        if name in ("src", "href", "action", "data"):
            inside = value.startswith("#") and value[1:] in ids
            assert inside or value.startswith("data:"), f"{name}={value}"
    for loads in ("@import", "url(", "http:", "https:", "fetch("):
        assert loads not in text
    for needed in (
        "Beware of & the dog.",
        "<b>odd</b>",
        "3 no agreement (X)",
        "logmel: <shorter> than a frame",
        "jser run --config mine/ensemble_mine.py",
        "90 utterances, 0.07 hours, 9 speakers",
        "88 utterances without a transcript",
        "0123456789abcdef@1",
        "Stacker “oof”, seed 42, scikit-learn 1.7.0, learned from fedcba9876543210 .",
    ):
        assert needed in page.shown, needed
    assert not {"b", "shorter"} & set(page.tags)


SECTIONS = (
    *("results", "differences", "seeds", "classes", "confusions", "calibration"),
    *("subsets", "groups", "members", "curves", "corpus", "reproduce"),
)


def test_the_page_has_its_sections_and_a_way_to_each(folder):
    text = (folder / "report.html").read_text()
    assert tuple(re.findall(r'<section id="(\w+)"', text)) == SECTIONS
    assert tuple(re.findall(r'<a href="#(\w+)"', text)) == SECTIONS


def test_every_figure_has_a_name_and_every_table_heads(folder):
    text = (folder / "report.html").read_text()
    figures = re.findall(r"<svg [^>]*>(.{9})", text)
    # Overview, gender and length of two splits, two systems' reliability, one member's
    # curves, and the balanced subsets of dev: test has but one.
    assert len(figures) == 2 * 3 + 2 * 2 + 2 + 1
    assert set(figures) == {"<title>" + x for x in {f[7:] for f in figures}}
    assert text.count('role="img" aria-label="') == len(figures)
    assert text.count("<table") == text.count("<thead>")


def test_numbers_on_the_page_are_those_of_results_json(folder):
    stored = json.loads((folder / "results.json").read_text())
    shown = Page((folder / "report.html").read_text()).shown
    for splits in stored["systems"].values():
        for split, found in splits.items():
            for score in ("macro_f1", "uar", "accuracy"):
                assert f"{found[score]:.3f} [" in shown
            b = found["balanced_subsets"]
            drawn = f"{b['mean']:.3f} [{b['low']:.3f}, {b['high']:.3f}]" in shown
            assert drawn == (split == "dev")
            assert f"{found['calibration']['ece']:.3f}" in shown
            assert np.sum(found["confusion"]) == found["utterances"]
    over = stored["seeds"]["one"]["splits"]["test"]["uar"]
    assert f"{over['mean']:.3f} ± {over['sd']:.3f}" in shown
    text = (folder / "report.html").read_text()
    inside = re.search(r'id="data">(.*?)</script>', text, re.DOTALL)
    assert inside is not None
    assert json.loads(inside[1]) == stored


def test_the_page_starts_with_what_may_be_said(inputs, folder):
    stored = json.loads((folder / "results.json").read_text())
    c = next(c for c in stored["comparisons"] if c["split"] == "test")
    shown = Page((folder / "report.html").read_text()).shown
    assert shown.index(page.verdict(c)) < shown.index("Results Differences")


@pytest.mark.parametrize(
    ("difference", "interval", "said"),
    [
        (0.02, (-0.01, 0.05), "0.020 above x .*: no difference that these utterances"),
        (-0.02, (-0.05, -0.01), "0.020 below x .*: a difference that chance hardly"),
        (0.0, (0.0, 0.0), ": no difference"),
    ],
)
def test_a_verdict_says_no_more_than_the_interval(difference, interval, said):
    found = {"difference": difference, "interval": interval, "p_bootstrap": 0.0002}
    compared = {"rival": "x", "scores": {"macro_f1": found}}
    assert re.search(said, page.verdict(compared))
    assert "p < 0.001" in page.verdict(compared)


def test_one_run_makes_a_page_too(inputs, tmp_path):
    alone = dataclasses.replace(
        inputs,
        systems={"one_seed0": inputs.systems["one_seed0"]},
        members=("one_seed0",),
        seeds={},
        stacker=None,
        failures={},
    )
    page.write(alone, tmp_path)
    text = (tmp_path / "report.html").read_text()
    absent = {"differences", "seeds", "members"}
    wanted = tuple(s for s in SECTIONS if s not in absent)
    assert tuple(re.findall(r'<section id="(\w+)"', text)) == wanted
    Page(text)


@pytest.mark.parametrize("importance", [None, [[0.0] * 3] * 2])
def test_a_stacker_may_lean_on_nothing(inputs, tmp_path, importance):
    """Other kinds than forests have no importance; trees may not have split at all."""
    stacker = {**(inputs.stacker or {}), "importance": importance}
    page.write(dataclasses.replace(inputs, stacker=stacker), tmp_path)
    text = (tmp_path / "report.html").read_text()
    assert ("Importance, per cent" in text) == (importance is not None)


def as_paper(inputs, names) -> results.Inputs:
    """The same systems on the paper's corpus, under other names."""
    by_split = list(inputs.systems.values())
    return dataclasses.replace(
        inputs,
        table=dataclasses.replace(inputs.table, source="msp_podcast"),
        systems={
            n: by_split[k % len(by_split)] for k, n in enumerate([*names, "forest"])
        },
        members=tuple(names),
        seeds={},
        stacker=None,
    )


def test_published_rows_stand_beside_ones_own(inputs, tmp_path):
    names = ["wavlm_roberta", "whisper_roberta"]
    page.write(as_paper(inputs, names), tmp_path)
    text = (tmp_path / "report.html").read_text()
    stored = json.loads((tmp_path / "results.json").read_text())
    table = re.search(r'<table class="paper">.*?</table>', text, re.DOTALL)
    assert table is not None
    shown = Page(table[0]).shown
    for name in names:
        row = published.ROWS[name]
        ours = stored["systems"][name]["dev"]
        assert f"{row.title} {row.bs_f1:.3f}" in shown
        assert f"{ours['balanced_subsets']['mean']:.3f} [" in shown
        assert f"{ours['macro_f1']:.3f}" in shown
    assert "0.417 [0.392, 0.440]" in shown
    # The stack's row compares with a stack of the twelve alone.
    assert "Stacking" not in shown
    assert text.count('class="other"') == 2
    assert "these 9." in Page(text).shown


def test_the_stack_stands_beside_a_stack_of_all_twelve():
    systems = {name: {"dev": f"scores of {name}"} for name in [*published.ROWS, "oof"]}
    found = {
        "corpus": {"source": "msp_podcast"},
        "headline": {"system": "oof", "split": "test1"},
        "systems": systems,
    }
    rows = page._paper(found)
    assert [r["name"] for r in rows] == [*published.ROWS, "oof"]
    assert len(rows) == 13
    assert rows[-1]["theirs"] is published.STACK
    assert all(r["ours"] == f"scores of {r['name']}" for r in rows)
    del systems["hubert_whisper"]
    assert [r["name"] for r in page._paper(found)][-1] != "oof"


def test_published_rows_are_not_shown_beside_another_corpus(inputs, tmp_path):
    other = as_paper(inputs, ["wavlm_roberta"])
    other = dataclasses.replace(other, table=inputs.table)
    page.write(other, tmp_path)
    assert 'id="paper"' not in (tmp_path / "report.html").read_text()


def luminance(colour: str) -> float:
    """Relative luminance of "#1c2024", as WCAG 2 defines it."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
    channels = np.array([int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)])
    linear = np.where(
        channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4
    )
    return float(linear @ (0.2126, 0.7152, 0.0722))


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_stands_out_from_its_ground(folder, scheme):
    text = (folder / "report.html").read_text()
    found = re.findall(r":root \{(.*?)\}", text, re.DOTALL)[scheme]
    colour = dict(re.findall(r"--(\w+): (#\w+)", found))
    for ink in ("ink", "dim", "line0", "line1"):
        for ground in ("paper", "soft"):
            a, b = sorted(luminance(colour[x]) for x in (ink, ground))
            assert (b + 0.05) / (a + 0.05) >= 4.5, (ink, ground)


def test_charts_span_their_points():
    picture = charts.lines(
        {"a": [(0, 0.13), (100, 0.87)], "b": [(50, 0.5)]},
        title="t & t",
        x_label="x",
        y_label="y",
    )
    assert "t &amp; t" in picture
    assert picture.count('<path class="line ') == 2
    for tick in ("0.2", "0.8", "100"):
        assert f">{tick}</text>" in picture
    assert "No points" in charts.lines({}, title="", x_label="", y_label="")


def test_intervals_lie_where_their_figures_say():
    rows = [
        Row(name="a", value=0.2, low=0.1, high=0.3),
        Row(name="b" * 60, value=-0.1, low=-0.2, high=0.0, points=(-0.15,), other=0.3),
    ]
    picture = charts.intervals(rows, title="t", x_label="x", reference=("zero", 0.0))
    values = [
        float(x) for x in re.findall(r'class="value" cx="([\d.]+)%"', str(picture))
    ]
    every = re.findall(r'class="bar" x1="([\d.]+)%" x2="([\d.]+)%"', str(picture))
    bars = every[::3]  # After each, its two ends.
    assert [e for pair in every[1::3] for e in pair] == [
        a for a, _ in bars for _ in "ab"
    ]
    assert [e for pair in every[2::3] for e in pair] == [
        b for _, b in bars for _ in "ab"
    ]
    for value, (low, high) in zip(values, bars, strict=True):
        assert value == pytest.approx((float(low) + float(high)) / 2, abs=0.11)
    per_unit = (values[0] - values[1]) / 0.3
    width = float(bars[0][1]) - float(bars[0][0])
    assert width == pytest.approx(0.2 * per_unit, abs=0.2)
    assert "\N{MINUS SIGN}0.100" in picture
    assert picture.count('class="point"') == picture.count('class="other"') == 1
    assert f">{'b' * 14}…{'b' * 15}</text>" in picture
    assert f"<title>{'b' * 60}</title>" in picture


@pytest.mark.parametrize(
    ("low", "high"),
    [(0, 1), (3, 3), (0, 0), (-2.5, 17), (1e-6, 3e-6), (0.38, 0.38 + 1e-16)],
)
def test_ticks_hold_the_range(low, high):
    ticks = charts._ticks(low, high)
    assert ticks[0] <= low
    assert ticks[-1] >= high
    assert 2 <= len(ticks) <= 8


BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# Opens all that is folded, measures every figure and every word in one.
PROBE = """<script>
for (const x of document.querySelectorAll('details')) x.open = true;
setTimeout(() => {
const figures = [...document.querySelectorAll('svg')].map(svg => {
  const outer = svg.getBoundingClientRect();
  const cut = [...svg.querySelectorAll('text')].filter(text => {
    const inner = text.getBoundingClientRect();
    return !inner.width || inner.left < outer.left - 1 || inner.right > outer.right + 1
      || inner.top < outer.top - 1 || inner.bottom > outer.bottom + 1;
  }).map(text => text.textContent);
  const marks = [...svg.querySelectorAll('path, circle, line')];
  return {width: outer.width, height: outer.height, cut,
          drawn: marks.filter(m => m.getBBox().width || m.getBBox().height).length};
});
const boxes = [...document.querySelectorAll('.scroll')].map(box => ({
  wide: box.scrollWidth > box.clientWidth + 1, told: box.matches('.wider.cut')}));
const page = document.documentElement;
const overflow = page.scrollWidth - page.clientWidth;
parent.postMessage({figures, boxes, overflow}, '*');
}, 3000);
</script>"""
# A page in a frame may be narrower than any window.
FRAME = """<!doctype html><iframe src="{page}" style="width: {width}px"></iframe>
<script>
addEventListener('message', told => {{
  const out = document.createElement('pre');
  out.id = 'probe'; out.textContent = JSON.stringify(told.data);
  document.body.append(out);
}});
</script>"""


def browse(page: pathlib.Path, home: pathlib.Path):
    """Opens a page; returns its document and what the console said."""
    browser = next((b for b in map(shutil.which, BROWSERS) if b), None)
    if browser is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    found = subprocess.run(
        [
            browser,
            *("--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            *("--enable-logging=stderr", "--virtual-time-budget=5000"),
            *("--window-size=1200,900", f"--user-data-dir={home}"),
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert found.returncode == 0, found.stderr
    console = [line for line in found.stderr.splitlines() if ":CONSOLE" in line]
    return found.stdout, console


@pytest.mark.slow
@pytest.mark.parametrize("width", [1100, 500, 390])
def test_a_browser_draws_all_figures_and_complains_of_nothing(folder, tmp_path, width):
    page, frame = tmp_path / "probed.html", tmp_path / "frame.html"
    text = (folder / "report.html").read_text()
    page.write_text(text + PROBE)
    frame.write_text(FRAME.format(page=page.as_uri(), width=width))
    document, console = browse(frame, tmp_path / "home")
    assert console == []
    probe = re.search(r'<pre id="probe">(.*?)</pre>', document, re.DOTALL)
    assert probe is not None
    found = json.loads(probe[1].replace("&lt;", "<").replace("&gt;", ">"))
    assert len(found["figures"]) == text.count("<svg")
    for figure in found["figures"]:
        assert figure["width"] > 100
        assert figure["height"] > 40
        assert figure["drawn"] > 3
        assert figure["cut"] == []
    assert found["overflow"] == 0
    # What is wider than its place can be scrolled, and says so; the rest does not.
    assert [b for b in found["boxes"] if b["told"] != b["wide"]] == []
    assert any(box["wide"] for box in found["boxes"]) == (width < 1100)


@pytest.mark.slow
def test_a_browser_would_have_told_of_an_error(tmp_path):
    page = tmp_path / "broken.html"
    page.write_text("<!doctype html><script>nothing_there()</script>")
    _, console = browse(page, tmp_path / "home")
    assert any("nothing_there" in line for line in console)
