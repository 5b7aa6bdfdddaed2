"""What the API answers, and whom."""

import json
import re

import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest
from starlette import testclient

import jser
from jser.recognizer.recognizer import COVERAGE
from jser.web import app
from jser.web.sounds import Limits
from tests.helpers.fake_recognizer import FakeRecognizer
from tests.helpers.paths import ROOT
from tests.helpers.sound_files import content, hostile, tones

WEB = ROOT / "jser" / "web"
TONES = content(tones(0.5, 0.02))
HOSTILE = hostile()
OPEN = ("/", "/page.css", "/page.js", "/health", "/openapi.json")
CLOSED = ("/model", "/metrics")


def client(model=None, **options) -> testclient.TestClient:
    return testclient.TestClient(
        app.create(model or FakeRecognizer(), **options),
        base_url="http://localhost:8000",
        raise_server_exceptions=False,
    )


@pytest.fixture(scope="module")
def api():
    with client() as entered:
        yield entered


@pytest.mark.parametrize("form", ["WAV", "FLAC", "OGG", "MP3", "AIFF"])
def test_it_says_what_the_model_says(api, form, tmp_path):
    sent = content(tones(0.5, 0.02), form)
    (tmp_path / "x").write_bytes(sent)
    sound = tmp_path / "x"
    model = FakeRecognizer()
    got = api.post("/recognize?coverage=0.8&transcript=ja%20%C3%BC", content=sent)
    want = model(sound, coverage=0.8, transcript="ja ü").to_dict()
    assert got.status_code == 200, got.text
    assert got.json()["scores"] == pytest.approx(want["scores"], abs=1e-5)
    assert {**got.json(), "scores": 0} == {**want, "scores": 0}
    got = api.post("/timeline?window_s=2&hop_s=0.5", content=sent).json()["segments"]
    want = model.timeline(sound, window_s=2, hop_s=0.5)
    assert [(s["start_s"], s["label"]) for s in got] == [
        (s.start_s, s.label) for s in want
    ]
    assert {s["label"] for s in got} >= {"angry", "neutral"}


@pytest.mark.parametrize(
    ("channels", "note"),
    [
        ([np.sign(tones(1.0))], "clipped: its peaks are cut off"),
        ([tones(0.5), -tones(0.5)], "its channels cancel; the loudest was taken alone"),
    ],
)
def test_what_is_to_be_said_of_the_file_is_said(api, channels, note):
    sent = content(np.stack(channels, 1), "FLAC")
    assert note in api.post("/recognize", content=sent).json()["warnings"]
    assert api.post("/timeline", content=sent).json()["warnings"] == [note]


def test_attributes_are_said_of_a_model_that_has_some(api):
    rated = {"arousal": 5.25, "valence": 2.0, "dominance": 4.5}
    asked = client(FakeRecognizer(attributes=rated))
    assert asked.post("/recognize", content=TONES).json()["attributes"] == rated
    parts = asked.post("/timeline", content=TONES).json()["segments"]
    assert [part["attributes"] for part in parts] == [rated] * len(parts)
    assert "attributes" not in api.post("/recognize", content=TONES).json()
    told = api.get("/openapi.json").json()["components"]["schemas"]
    for name in ("Recognition", "Segment"):
        assert "attributes" in told[name]["properties"]
        assert "attributes" not in told[name]["required"]


def test_what_is_asked_of_the_model_is_asked(api):
    about = api.get("/model").json()
    assert about["name"] == "fake-loudness"
    assert about["license"] == "cc0-1.0"
    assert about["limits"] == {"body_bytes": 32 << 20, "sound_s": 1800.0}
    assert api.get("/health").json() == {"status": "ok"}


@pytest.mark.parametrize("path", ["/recognize", "/timeline"])
@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_no_sound_is_refused_in_a_line(api, path, what):
    answer = api.post(path, content=HOSTILE[what])
    assert answer.status_code == (413 if what == "two hours of zeros" else 422)
    assert list(answer.json()) == ["error"]
    error = answer.json()["error"]
    assert re.fullmatch(r"sound: [a-z -]+: .+", error)
    assert "\n" not in error
    assert "tmp" not in error


@hypothesis.given(
    form=st.sampled_from(["WAV", "FLAC", "OGG", "MP3"]),
    at=st.floats(0, 1),
    put=st.binary(max_size=8),
    cut=st.floats(0, 1),
)
@hypothesis.settings(max_examples=60)
def test_damaged_files_are_answered_or_refused(api, form, at, put, cut):
    whole = content(tones(0.5, seconds=0.2), form)
    place = int(at * len(whole))
    damaged = whole[:place] + put + whole[place + len(put) :]
    answer = api.post("/recognize", content=damaged[: round(cut * len(damaged))])
    assert answer.status_code in (200, 413, 422), answer.text


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (
            "/recognize?coverage=1",
            "coverage: '1' is none of 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99.",
        ),
        ("/recognize?coverage=nan", "coverage: 'nan' is none of"),
        ("/recognize?coverage=", "coverage: '' is none of"),
        ("/recognize?cover=.9", "cover: there is no such parameter, only transcript, "),
        (f"/recognize?transcript={'a' * 4001}", "transcript: at most 4000 characters"),
        ("/timeline?window_s=0", "window_s: '0' is no number from 0.5 to 30."),
        ("/timeline?hop_s=1e999", "hop_s: '1e999' is no number from 0.25 to 30."),
        (
            "/timeline?window_s=1&hop_s=2",
            "hop_s is 2 and window_s 1; a hop has 0.025 s",
        ),
        ("/timeline?hop_s=5", "hop_s is 5 and window_s 4; a hop has 0.025 s"),
        (f"/timeline?hop_s={'9' * 5000}", "hop_s: '99999999999999999999' is no number"),
    ],
)
def test_what_cannot_be_asked_for_is_named(api, asked, told):
    answer = api.post(asked, content=TONES)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(told)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/recognize", 405),
        ("POST", "/health", 405),
        ("GET", "/nothing", 404),
        ("GET", "/app.py", 404),
        ("GET", "/%2e%2e/%2e%2e/etc/passwd", 404),
        ("GET", "//etc/passwd", 404),
        ("GET", "/page.css%00", 404),
    ],
)
def test_there_is_nothing_else(api, method, path, status):
    answer = api.request(method, path)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]


def test_names_of_files_mean_nothing(api):
    names = {"Content-Disposition": 'attachment; filename="../../../etc/passwd"'}
    for kind in ("image/png", "audio/../x", "multipart/form-data; boundary=../x"):
        headers = {**names, "Content-Type": kind}
        assert api.post("/recognize", content=TONES, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "localhost.evil.example", "localhost@evil.example", ""),
        *(
            "evil.example:8000",
            "[::1",
            "[::1].evil.example",
            "127.0.0.2",
            "a/localhost",
        ),
        *("evil.example@localhost", "localhost:x", "localhost,evil.example", " "),
    ],
)
def test_another_name_is_refused(api, host):
    answer = api.get("/model", headers={"Host": host})
    assert answer.status_code == 403
    assert "localhost" in answer.json()["error"]


def test_names_that_are_given_are_known():
    named = client(hosts=("voice.example.org",))
    for host, status in (("VOICE.example.org:80", 200), ("localhost", 403)):
        assert named.get("/health", headers={"Host": host}).status_code == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:8000", 200),
        ("https://localhost:8000", 200),  # Behind a proxy that speaks TLS.
        ("http://localhost:3000", 403),
        ("http://127.0.0.1:8000", 403),
        ("http://evil.example", 403),
        ("http://[", 403),
        ("null", 403),
        ("", 403),
    ],
)
def test_pages_from_elsewhere_are_refused(api, origin, status):
    headers = {"Origin": origin}
    answer = api.post("/recognize", content=TONES, headers=headers)
    assert answer.status_code == status


def test_a_token_is_asked_for_where_there_is_one():
    closed = client(token="geheim")
    document = closed.get("/openapi.json").json()
    assert document["security"] == [{"token": []}]
    for path in OPEN:
        assert closed.get(path).status_code == 200
    for given in ({}, {"Authorization": "Bearer nein"}, {"Authorization": "geheim"}):
        for path in CLOSED:
            answer = closed.get(path, headers=given)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
        assert (
            closed.post("/recognize", content=TONES, headers=given).status_code == 401
        )
    shown = {"Authorization": "Bearer geheim"}
    assert closed.post("/recognize", content=TONES, headers=shown).status_code == 200


def test_every_answer_tells_browsers_what_not_to_do(api):
    asked = [api.get(path) for path in (*OPEN, *CLOSED, "/nothing")]
    asked += [api.post("/recognize", content=b""), api.get("/", headers={"Host": "x"})]
    for answer in asked:
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in answer.headers


def test_size_and_length_have_bounds():
    small = client(limits=Limits(body_bytes=100_000, sound_s=5.0))
    told = small.post("/recognize", content=bytes(100_001))
    assert told.status_code == 413
    assert told.json()["error"] == "A file of more than 0.0953674 MB is not taken."
    pieces = (bytes(40_000) for _ in range(3))  # Sent without saying how many.
    assert small.post("/recognize", content=pieces).status_code == 413
    long = content(tones(0.1, seconds=6.0), "FLAC", rate_hz=8_000)
    told = small.post("/recognize", content=long)
    assert told.status_code == 413
    assert "too long" in told.json()["error"]
    assert small.post("/recognize", content=content(tones(0.1))).status_code == 200
    large = content(np.zeros((192_000, 8), np.float32), "FLAC", rate_hz=192_000)
    told = small.post("/recognize", content=large)  # A second, as large as sixteen.
    assert told.status_code == 413


def test_what_the_model_refuses_is_told_and_what_breaks_is_not():
    def refuse():
        raise ValueError("this model reads words; give a transcript.")

    def fail():
        raise RuntimeError("inner matters")

    answer = client(FakeRecognizer(refuse)).post("/recognize", content=TONES)
    assert answer.status_code == 422
    assert answer.json() == {"error": "this model reads words; give a transcript."}
    answer = client(FakeRecognizer(fail)).post("/timeline", content=TONES)
    assert answer.status_code == 500
    assert answer.json() == {"error": "The server failed at this; its log says how."}
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_answers_are_counted():
    with client() as counted:
        for sent in (TONES, TONES, b"no"):
            counted.post("/recognize", content=sent)
        counted.get("/wp-login.php")
        counted.get("/%22%7D%201%0Ax")
        lines = counted.get("/metrics").text.splitlines()
    assert 'jser_answers_total{path="/recognize",status="200"} 2' in lines
    assert 'jser_answers_total{path="/recognize",status="422"} 1' in lines
    assert 'jser_answers_total{path="other",status="404"} 2' in lines
    assert "jser_sound_seconds_total 12.000" in lines
    assert "jser_sounds_held 0" in lines
    for line in lines:
        assert re.fullmatch(r"# TYPE \w+ (counter|gauge)|\w+({.+})? [\d.]+", line)


def test_the_document_has_every_route(api):
    document = api.get("/openapi.json").json()
    assert document["info"]["version"] == jser.__version__
    assert set(document["paths"]) == {
        *("/recognize", "/timeline", "/model", "/metrics", "/health"),
    }
    coverage = document["components"]["schemas"]["Coverage"]
    assert coverage["enum"] == list(FakeRecognizer().coverages)
    assert coverage["default"] == COVERAGE
    told = {
        p["name"]: p["schema"]
        for p in document["paths"]["/timeline"]["post"]["parameters"]
    }
    for name, length in app._LENGTHS.items():
        keys = ("default", "minimum", "maximum")
        assert tuple(told[name][k] for k in keys) == length


def test_the_page_asks_nobody_else():
    for name in ("page.html", "page.css", "page.js"):
        text = (WEB / name).read_text(encoding="utf-8")
        assert "//" not in re.sub(r"^ *// .*$|(?<=[;{]) +// .*$", "", text, flags=re.M)
        assert "style=" not in text
        assert not re.search(r"\son\w+=\"|innerHTML|eval\(", text)
    json.loads((WEB / "openapi.json").read_text(encoding="utf-8"))
