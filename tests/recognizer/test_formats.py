"""Timelines for other programs, read back by readers of our own."""

import csv
import dataclasses
import io
import json
import re

import pytest

from jser.recognizer import formats
from jser.recognizer.recognition import Segment
from tests.helpers.fake_model import LABELS


def segment(start_s, end_s, label, speaker="", p=0.75) -> Segment:
    rest = [x for x in LABELS if x != label]
    scores = {label: p, **{x: (1 - p) / len(rest) for x in rest}}
    return Segment(
        start_s=start_s, end_s=end_s, label=label, scores=scores, speaker=speaker
    )


TALK = [
    segment(0.5, 2.0, "sad"),
    segment(2.0, 3.25, "angry", p=0.5),
    segment(3661.001, 3662.9996, "neutral"),
]
TWO = [segment(0.0, 2.0, "sad", "anna"), segment(1.5, 3.0, "angry", 'bo "b"')]
END_S = 7200.0


def written(how, segments=TALK, file="calls/a.wav") -> str:
    return formats.write(how, segments, file=file, duration_s=END_S)


def test_json_holds_everything():
    read = json.loads(written("json", TWO))
    assert (read["file"], read["duration_s"]) == ("calls/a.wav", END_S)
    assert [Segment(**s) for s in read["segments"]] == TWO
    assert written("json").count("\n") == 1


def test_csv():
    rows = list(csv.DictReader(io.StringIO(written("csv", TWO, 'a, "b".wav'))))
    assert [r["file"] for r in rows] == ['a, "b".wav'] * 2
    for row, s in zip(rows, TWO, strict=True):
        assert (float(row["start_s"]), float(row["end_s"])) == (s.start_s, s.end_s)
        assert (row["label"], row["speaker"]) == (s.label, s.speaker)
        for label, p in s.scores.items():
            assert float(row[f"p_{label}"]) == pytest.approx(p)
    assert list(rows[0])[5:] == sorted(f"p_{label}" for label in LABELS)


RATED = dataclasses.replace(
    TALK[0], attributes={"arousal": 5.26, "valence": 2.0, "dominance": 4.44}
)


def test_attributes_are_where_a_format_has_place():
    rows = list(csv.reader(io.StringIO(written("csv", [RATED, RATED]))))
    assert rows[0][-3:] == ["arousal", "valence", "dominance"]
    assert [r[-3:] for r in rows[1:]] == [["5.2600", "2.0000", "4.4400"]] * 2
    (read,) = json.loads(written("json", [RATED]))["segments"]
    assert Segment(**read) == RATED
    line = "arousal 5.3, valence 2.0, dominance 4.4"
    for how, said in (("text", f"sad 0.75  {line}\n"), ("srt", f"(0.75)\n{line}\n")):
        assert written(how, [RATED]).endswith(said)
    for how in ("rttm", "textgrid", "audacity"):
        assert written(how, [RATED]) == written(how, TALK[:1])
    for how in formats.FORMATS:
        assert "arousal" not in written(how)
        assert "attributes" not in written(how)


def test_text():
    assert written("text", [*TALK[:2], TWO[0]]) == (
        "00:00:00.500 - 00:00:02.000  sad   0.75\n"
        "00:00:02.000 - 00:00:03.250  angry 0.50\n"
        "00:00:00.000 - 00:00:02.000  sad   0.75  anna\n"
    )


def test_srt():
    assert written("srt") == (
        "1\n00:00:00,500 --> 00:00:02,000\nsad (0.75)\n\n"
        "2\n00:00:02,000 --> 00:00:03,250\nangry (0.50)\n\n"
        "3\n01:01:01,001 --> 01:01:03,000\nneutral (0.75)\n"
    )
    assert "\nanna: sad (0.75)\n" in written("srt", TWO)
    long = written("srt", [segment(359_999.9994, 360_000.0, "sad")])
    assert "\n99:59:59,999 --> 100:00:00,000\n" in long


def test_audacity():
    rows = [line.split("\t") for line in written("audacity").splitlines()]
    assert [(float(a), float(b), label) for a, b, label in rows] == [
        (0.5, 2.0, "sad"),
        (2.0, 3.25, "angry"),
        (3661.001, 3662.9996, "neutral"),
    ]
    tabs = written("audacity", [segment(0.0, 1.0, "sad", "a\tb\nc")])
    assert tabs.endswith("\ta b c: sad\n")


def test_silence_is_not_written():
    silence = Segment(start_s=0.0, end_s=1.0, label="", scores={})
    for how in formats.FORMATS:
        assert written(how, [silence, *TALK]) == written(how)


def test_no_segments():
    empty = {how: written(how, []) for how in formats.FORMATS}
    header = "file,start_s,end_s,speaker,label\n"
    assert empty["csv"] == header
    assert json.loads(empty["json"])["segments"] == []
    assert read_textgrid(empty["textgrid"]) == {"emotion": [(0.0, END_S, "")]}
    assert {empty[x] for x in ("text", "rttm", "srt", "audacity")} == {""}


def test_an_unknown_format():
    with pytest.raises(ValueError, match="no format 'mp3'; there are text, json, csv,"):
        written("mp3")


# TextGrid.


def read_textgrid(text: str) -> dict[str, list[tuple[float, float, str]]]:
    """Intervals of the tiers of Praat's long format; each line is `name = value`."""
    lines = [line.strip() for line in text.splitlines()]
    assert lines[:3] == ['File type = "ooTextFile"', 'Object class = "TextGrid"', ""]
    assert lines[5] == "tiers? <exists>"
    body = [line for line in lines[3:] if " = " in line]
    fields = iter([tuple(line.split(" = ", 1)) for line in body])

    def take(name: str) -> str:
        found, value = next(fields)
        assert found == name
        quoted = re.fullmatch(r'"((?:[^"]|"")*)"', value)
        return quoted[1].replace('""', '"') if quoted else value

    start, end = float(take("xmin")), float(take("xmax"))
    tiers = {}
    for _ in range(int(take("size"))):
        assert take("class") == "IntervalTier"
        name = take("name")
        assert (float(take("xmin")), float(take("xmax"))) == (start, end)
        tiers[name] = [
            (float(take("xmin")), float(take("xmax")), take("text"))
            for _ in range(int(take("intervals: size")))
        ]
        assert (tiers[name][0][0], tiers[name][-1][1]) == (start, end)
        for (_, left, _), (right, _, _) in zip(
            tiers[name], tiers[name][1:], strict=False
        ):
            assert left == right
    assert next(fields, None) is None
    return tiers


def test_textgrid_fills_what_is_between():
    assert read_textgrid(written("textgrid")) == {
        "emotion": [
            (0.0, 0.5, ""),
            (0.5, 2.0, "sad"),
            (2.0, 3.25, "angry"),
            (3.25, 3661.001, ""),
            (3661.001, 3662.9996, "neutral"),
            (3662.9996, END_S, ""),
        ]
    }


def test_textgrid_has_a_tier_for_each_speaker():
    assert read_textgrid(written("textgrid", TWO)) == {
        "anna": [(0.0, 2.0, "sad"), (2.0, END_S, "")],
        'bo "b"': [(0.0, 1.5, ""), (1.5, 3.0, "angry"), (3.0, END_S, "")],
    }


def test_a_tier_cannot_hold_two_at_a_time():
    both = [segment(0.0, 2.0, "sad", "a"), segment(1.0, 3.0, "sad", "a")]
    with pytest.raises(ValueError, match="cannot hold two segments at 1 s: take"):
        written("textgrid", both)


# RTTM.


def test_rttm_is_read_as_it_was_written(tmp_path):
    named = [segment(0.5, 2.0, "sad", "anna"), segment(1.0, 2.25, "angry", "bo")]
    (tmp_path / "a.rttm").write_text(written("rttm", named))
    found = formats.read_rttm(tmp_path / "a.rttm")
    assert found == [(0.5, 2.0, "anna"), (1.0, 2.25, "bo")]


def test_rttm_has_the_emotion_as_subtype_and_where_nobody_is_known_as_name():
    assert written("rttm", [TALK[0], TWO[0]], "calls/my call.wav") == (
        "SPEAKER my_call 1 0.500 1.500 <NA> sad sad 0.7500 <NA>\n"
        "SPEAKER my_call 1 0.000 2.000 <NA> sad anna 0.7500 <NA>\n"
    )


def test_a_name_with_a_space_is_not_for_rttm():
    with pytest.raises(
        ValueError, match="cannot hold the space in 'bo \"b\"': take an"
    ):
        written("rttm", TWO)


RTTM = """\
;; Of two recordings, as NIST has it.
SPKR-INFO a 1 <NA> <NA> <NA> adult_male bo <NA> <NA>
SPEAKER a 1 0.5 1.5 <NA> <NA> bo <NA> <NA>

SPEAKER b 1 7 1e-1 <NA> <NA> anna <NA>
speech_is_not_here
"""


def read(tmp_path, text, **options):
    (tmp_path / "a.rttm").write_text(text)
    return formats.read_rttm(tmp_path / "a.rttm", **options)


def test_a_recording_is_chosen(tmp_path):
    good = RTTM.rpartition("speech")[0]
    assert read(tmp_path, good, recording="a") == [(0.5, 2.0, "bo")]
    assert read(tmp_path, good, recording="b") == [(7.0, 7.1, "anna")]
    with pytest.raises(
        ValueError, match=r"a\.rttm: name a recording; it has .* a, b\."
    ):
        read(tmp_path, good)
    with pytest.raises(ValueError, match=r"no recording 'c'; it has lines of a, b\."):
        read(tmp_path, good, recording="c")
    with pytest.raises(ValueError, match=r"name a recording; it has lines of none\."):
        read(tmp_path, ";; nothing\n")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (
            "speech_is_not_here",
            "'speech_is_not_here' is no type of RTTM; expected SPEA",
        ),
        ("SPEAKER a 1 0.5 1.5 <NA> <NA> bo", "8 fields, not 9 or 10; expected"),
        ("SPEAKER a 1 0 1 <NA> <NA> bo b <NA> <NA>", "11 fields.* name with a space"),
        ("SPEAKER a 1 x 1 <NA> <NA> bo <NA> <NA>", "start x and duration 1 are to be"),
        ("SPEAKER a 1 0 -1 <NA> <NA> bo <NA> <NA>", "duration -1 are to be seconds"),
        ("SPEAKER a 1 nan 1 <NA> <NA> bo <NA> <NA>", "start nan and"),
        ("SPEAKER a 1 0 inf <NA> <NA> bo <NA> <NA>", "duration inf are"),
    ],
)
def test_a_bad_line_is_told_with_file_and_number(tmp_path, line, why):
    with pytest.raises(ValueError, match=rf"^{tmp_path}/a\.rttm: line 3: .*{why}"):
        read(tmp_path, f";; One.\n\n{line}\n")


def test_a_file_that_is_no_text_is_told(tmp_path):
    (tmp_path / "a.rttm").write_bytes(b"SPEAKER \xff\xfe")
    with pytest.raises(ValueError, match=r"a\.rttm: line 1 is not UTF-8"):
        formats.read_rttm(tmp_path / "a.rttm")
