import dataclasses
import html.parser
import json

import numpy as np
import pytest

from jser import charts, report
from jser.corpora import table as tables
from jser.corpora.table import Utterance
from jser.logits import Logits

LABELS = ("angry", "sad", "<b>odd</b>")


def said(rng, split: str, count: int, speakers: int) -> Logits:
    return Logits(
        utt_id=np.array([f"{split}{k:03d}" for k in range(count)]),
        logits=rng.standard_normal((count, 3)).astype(np.float32),
        label=np.arange(count) % 3,
        fold=np.full(count, -1),
        speaker=np.array([f"{split}-s{k % speakers}" for k in range(count)]),
        in_sample=np.zeros(count, bool),
        speaker_seen=np.zeros(count, bool),
        labels=np.array(LABELS),
        made_by=np.array(["x@1"]),
    )


@pytest.fixture
def inputs(tmp_path, rng) -> report.Inputs:
    rows = tuple(
        Utterance(
            utt_id=f"{split}{k:03d}",
            file="x.wav",
            emotion=LABELS[k % 3],
            split=split,
            speaker=f"{split}-s{k % 3}",
            seconds=2.0,
            transcript="" if k else "hello",
        )
        for split, n in (("dev", 30), ("test", 60))
        for k in range(n)
    )
    table = tables.Table(
        utterances=rows,
        labels=LABELS,
        audio_root=".",
        source="csv",
        excluded={"no agreement (X)": 3},
        folder=tmp_path / "mine",
    )
    members = {
        m: {"dev": said(rng, "dev", 30, 3), "test": said(rng, "test", 60, 6)}
        for m in ("one", "two", "average")
    }
    curve = [{"step": k, "train/loss": 1 / k} for k in range(1, 9)]
    curve += [{"step": k, "dev/macro_f1": k / 10, "dev/uar": 0.2} for k in (4, 8)]
    return report.Inputs(
        name="ensemble_mine",
        table=table,
        systems=members,
        curves={"one": curve, "two": []},
        commands=["python scripts/run.py --config configs/ensemble_mine.py"],
        notes=["Beware of & the dog."],
    )


class Page(html.parser.HTMLParser):
    """Collects tags, attributes and text, and checks that tags close in order."""

    VOID = frozenset(("meta", "link", "path"))

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


def test_the_page_is_whole_and_asks_the_network_for_nothing(inputs, tmp_path):
    report.write(inputs, tmp_path)
    text = (tmp_path / "report.html").read_text()
    page = Page(text)
    for name, value in page.attributes:
        if name in ("src", "href", "action", "data"):
            assert value.startswith("data:"), f"{name}={value}"
    assert "@import" not in text
    assert "url(" not in text
    shown = " ".join(" ".join(page.texts).split())
    for needed in (
        "Beware of & the dog.",
        "<b>odd</b>",
        "3 no agreement (X)",
        "scripts/run.py --config configs/ensemble_mine.py",
        "90 utterances, 0.05 hours, 6 speakers",
        "88 utterances without a transcript",
    ):
        assert needed in shown
    assert page.tags.count("svg") == 2
    assert "odd" not in {tag for tag in page.tags}


def test_numbers_on_the_page_are_those_of_results_json(inputs, tmp_path):
    results = report.write(inputs, tmp_path)
    stored = json.loads((tmp_path / "results.json").read_text())
    assert stored == json.loads(json.dumps(results))
    text = " ".join(Page((tmp_path / "report.html").read_text()).texts)
    markdown = (tmp_path / "results.md").read_text()
    for splits in stored["systems"].values():
        for found in splits.values():
            assert f"{found['macro_f1']:.3f}" in text
            assert f"{found['uar']:.3f}" in markdown
            assert np.sum(found["confusion"]) == found["utterances"]


def test_intervals_are_over_speakers_where_there_are_enough(inputs):
    results = report.score(inputs)
    found = results["systems"]["one"]
    assert found["dev"]["interval_by_speaker"] is None
    assert found["test"]["interval_by_speaker"] is not None
    low, high = found["test"]["interval"]["macro_f1"]
    assert low < found["test"]["macro_f1"] < high


def test_a_split_without_labels_is_not_scored(inputs):
    hidden = {
        m: x | {"test": dataclasses.replace(x["test"], label=np.full(60, -1))}
        for m, x in inputs.systems.items()
    }
    results = report.score(dataclasses.replace(inputs, systems=hidden))
    assert set(results["systems"]["one"]) == {"dev"}


def test_charts_span_their_points():
    picture = charts.lines(
        {"a": [(0, 0.13), (100, 0.87)], "b": [(50, 0.5)]},
        title="t & t",
        x_label="x",
        y_label="y",
    )
    assert "t &amp; t" in picture
    assert picture.count('class="line ') == 2
    for tick in ("0.2", "0.8", "100"):
        assert f">{tick}</text>" in picture
    assert "No points" in charts.lines({}, title="", x_label="", y_label="")


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (3, 3), (0, 0), (-2.5, 17), (1e-6, 3e-6)]
)
def test_ticks_hold_the_range(low, high):
    ticks = charts._ticks(low, high)
    assert ticks[0] <= low
    assert ticks[-1] >= high
    assert 2 <= len(ticks) <= 8
