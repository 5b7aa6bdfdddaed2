"""The page in a real browser, where Playwright and Chromium are."""

from collections.abc import Iterator
import os
import pathlib
import random
import re
import shutil

import pytest

from jser.recognizer.recognizer import Recognizer
from jser.web.sounds import Limits
from tests.helpers.fake_recognizer import FakeRecognizer
from tests.helpers.paths import ROOT, SHARED
from tests.helpers.served import served
from tests.helpers.sound_files import content, tones

playwright = pytest.importorskip(
    "playwright.sync_api", reason="pip install playwright tries the page"
)
EMODB = SHARED / "data" / "emodb"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="there is no chromium"),
]
# npm install axe-core, in the checkout or anywhere above it.
AXE = next(
    (
        file
        for folder in (os.environ.get("JSER_NODE_MODULES"), ROOT, *ROOT.parents)
        if folder
        and (file := pathlib.Path(folder, "node_modules/axe-core/axe.min.js")).is_file()
    ),
    None,
)
TONES = content(tones(0.5, 0.02, 0.1))
AT_ONCE = {"name": "tones.wav", "mimeType": "audio/wav", "buffer": TONES}


@pytest.fixture(scope="module")
def browser():
    arguments = [
        *("--no-sandbox", "--autoplay-policy=no-user-gesture-required"),
        *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
    ]
    with playwright.sync_playwright() as p:
        started = p.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield started
        started.close()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    limits = Limits(body_bytes=1 << 20, sound_s=20.0)
    with served(FakeRecognizer(), limits=limits) as number:
        yield number


@pytest.fixture
def opened(browser, port):
    """Opens the page; in the end it has asked nobody else and complained of nothing."""
    contexts, asked, complaints = [], [], []

    def open_page(**options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.set_default_timeout(20_000)
        page.on("request", lambda r: asked.append(r.url))
        page.on("pageerror", lambda e: complaints.append(str(e)))
        page.on("console", lambda m: complaints.append(m.text))
        page.goto(f"http://127.0.0.1:{port}/")
        page.get_by_text("fake-loudness", exact=True).first.wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    ours = rf"http://127\.0\.0\.1:{port}/|blob:http://127\.0\.0\.1:{port}/|data:,"
    assert [url for url in asked if not re.match(ours, url)] == []
    refused = "Failed to load resource: the server responded with a status of 4"
    assert [c for c in complaints if not c.startswith(refused)] == []


def parts(page) -> list[str]:
    """What the list of parts says, when it is there."""
    page.locator("#segments button").first.wait_for()
    return page.locator("#segments button").all_inner_texts()


def shown(page) -> dict[str, float]:
    """The probabilities, by the lengths of their bars."""
    bars = page.locator("#scores tr").evaluate_all(
        "rows => rows.map(row => [row.cells[0].innerText,"
        " parseFloat(row.querySelector('.bar div').style.width) / 100])"
    )
    return dict(bars)


def played(page, until_s: float) -> None:
    """Waits; Playwright's own way is to evaluate a string, which our page forbids."""
    while page.locator("#sound").evaluate("sound => sound.currentTime") < until_s:
        page.wait_for_timeout(20)


def test_a_file_is_heard_and_played(opened):
    page = opened()
    page.set_input_files("#file", AT_ONCE)
    said = parts(page)
    assert [re.sub(r", \d+ %", "", part) for part in said] == [
        "0:00.0 to 0:03.0 angry",
        "0:03.0 to 0:06.0 neutral",
        "0:06.0 to 0:09.0 happy",
    ]
    assert page.locator("#label").inner_text() == "happy"
    rows = page.locator("#scores tr").all_inner_texts()
    assert [r.split()[0] for r in rows] == ["happy", "angry", "neutral", "sad"]
    assert "trained on nothing" in page.locator("#warnings").inner_text()
    assert page.locator("#colours div").all_inner_texts() == [
        "angry",
        "neutral",
        "happy",
    ]
    assert page.locator("#end").inner_text() == "0:09"
    assert len(page.locator("#wave path").get_attribute("d")) > 1000
    page.locator("#segments button").nth(1).click()
    here = page.locator("#segments button[aria-current]")
    played(page, 3.2)
    assert here.all_inner_texts() == [said[1]]
    left = page.locator("#now").evaluate("now => parseFloat(now.style.left)")
    assert 33 < left < 60
    box = page.locator("#course").bounding_box()
    page.mouse.click(box["x"] + 0.9 * box["width"], box["y"] + 5)
    played(page, 8)
    assert here.all_inner_texts() == [said[2]]


def test_a_file_is_dropped(opened):
    page = opened()
    given = page.evaluate_handle(
        """bytes => { const t = new DataTransfer();
        t.items.add(new File([new Uint8Array(bytes)], "x.wav")); return t; }""",
        list(TONES),
    )
    for event in ("dragover", "drop"):
        page.dispatch_event("#drop", event, {"dataTransfer": given})
    assert len(parts(page)) == 3
    assert "x.wav: happy" in page.locator("#status").inner_text()


def test_a_recording_is_heard(opened):
    page = opened(permissions=["microphone"])
    page.get_by_role("button", name="Record").click()
    page.get_by_text("Recording …").wait_for()
    page.wait_for_timeout(1500)
    page.get_by_role("button", name="Stop").click()
    assert parts(page)
    assert "your recording" in page.locator("#status").inner_text()
    assert page.get_by_role("button", name="Record").is_visible()


def test_while_a_microphone_is_asked_for_there_is_no_second_one(opened):
    page = opened()
    page.evaluate(
        "() => { navigator.mediaDevices.getUserMedia = () => new Promise(() => {}); }"
    )
    page.get_by_role("button", name="Record").click()
    assert page.get_by_role("button", name="Record").is_disabled()


def test_what_the_browser_cannot_play_is_answered_all_the_same(opened):
    page = opened()
    aiff = content(tones(0.5), "AIFF")
    page.set_input_files("#file", {**AT_ONCE, "name": "x.aiff", "buffer": aiff})
    parts(page)
    page.get_by_text("This browser cannot play the file.").wait_for()
    assert not page.locator("#sound, #wave").first.is_visible()
    assert page.locator("#segments button").is_disabled()
    page.set_input_files("#file", AT_ONCE)
    assert len(parts(page)) == 3
    assert page.locator("#sound").is_visible()
    assert not page.locator("#unplayed").is_visible()


def test_where_nothing_is_sure_the_likeliest_is_no_name(opened):
    page = opened()
    half_way = content(tones(0.0632, seconds=0.5))
    page.set_input_files("#file", {**AT_ONCE, "buffer": half_way})
    (said,) = parts(page)
    assert re.fullmatch(r"0:00\.0 to 0:00\.5 unknown, perhaps \w+, 48 %", said)
    told = page.locator("#candidates").inner_text()
    assert told.startswith("No emotion is sure enough to be named. Of")
    assert page.locator("#end").inner_text() == "0:00.5"


def test_silence_has_no_parts(opened):
    page = opened()
    page.set_input_files("#file", {**AT_ONCE, "buffer": content(tones(0.0))})
    page.locator("#segments li").wait_for()
    assert page.locator("#segments").inner_text() == "nothing but silence"


def test_a_model_that_reads_words_is_given_them(browser):
    with served(FakeRecognizer(reads_text=True)) as port:
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{port}/")
        page.get_by_label("What is said").wait_for()
        page.set_input_files("#file", AT_ONCE)
        page.get_by_role("alert").get_by_text("write what is said").wait_for()
        page.get_by_label("What is said").fill("Das will sie & mehr")
        page.keyboard.press("Enter")
        page.get_by_text("“Das will sie & mehr”").wait_for()
        assert page.locator("#segments").inner_text() == ""
        page.close()


def test_attributes_are_a_line_where_there_are_some(browser, opened):
    rated = {"arousal": 5.25, "valence": 2.0, "dominance": 4.5}
    with served(FakeRecognizer(attributes=rated)) as port:
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{port}/")
        page.set_input_files("#file", AT_ONCE)
        page.get_by_text("arousal 5.3, valence 2.0, dominance 4.5").wait_for()
        page.close()
    page = opened()
    page.set_input_files("#file", AT_ONCE)
    parts(page)
    assert page.locator("#attributes").is_hidden()


def test_without_a_microphone_it_says_so(opened):
    page = opened()
    page.evaluate(
        "() => { navigator.mediaDevices.getUserMedia = () => Promise.reject(); }"
    )
    page.get_by_role("button", name="Record").click()
    assert "microphone" in page.get_by_role("alert").inner_text()


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (b"no sound at all", "sound: unreadable"),
        (TONES[:9000], "sound: truncated"),
        (content(tones(0.1, seconds=21.0), rate_hz=8_000), "sound: too long"),
        (bytes((1 << 20) + 1), "A file of more than 1 MB is not taken."),
    ],
)
def test_what_cannot_be_heard_is_told_and_the_next_is_heard(opened, sent, told):
    page = opened()
    bad = {"name": "../<b>x</b>.wav", "mimeType": "audio/wav", "buffer": sent}
    page.set_input_files("#file", bad)
    page.get_by_role("alert").get_by_text(told).wait_for()
    assert not page.locator("#answer").is_visible()
    page.set_input_files("#file", AT_ONCE)
    assert len(parts(page)) == 3
    assert not page.get_by_role("alert").is_visible()


def test_of_two_at_once_the_later_is_shown_and_two_pages_do_not_meet(opened):
    page, other = opened(), opened()
    soft = {**AT_ONCE, "name": "soft.wav", "buffer": content(tones(0.004))}
    page.set_input_files("#file", AT_ONCE)
    page.set_input_files("#file", soft)
    other.set_input_files("#file", AT_ONCE)
    page.get_by_text("soft.wav: sad.").wait_for()
    other.get_by_text("tones.wav: happy.").wait_for()
    assert len(parts(page)) == 1
    assert len(parts(other)) == 3


def test_the_keyboard_is_enough(opened):
    page = opened()
    focused = "document.activeElement.id || document.activeElement.tagName"
    page.keyboard.press("Tab")
    assert page.evaluate(focused) == "file"
    with page.expect_file_chooser() as chosen:
        page.keyboard.press("Space")
    chosen.value.set_files(AT_ONCE)
    said = parts(page)
    page.keyboard.press("Tab")
    assert page.evaluate(focused) == "record"
    while page.evaluate(focused) != "BUTTON":
        page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    played(page, 3)
    current = page.locator("#segments button[aria-current]").all_inner_texts()
    assert current == [said[1]]
    while page.evaluate(focused) != "SUMMARY":
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Limits").wait_for()
    assert page.locator("#card").inner_text().startswith("fake-loudness\n")
    assert page.locator("#card td").all_inner_texts() == [
        *("none", ".25", "of five speakers, by nobody"),
    ]
    code, note = page.locator("#card pre"), page.locator("#card .note")
    assert code.inner_text().startswith("jser recognize my.wav --model")
    assert note.inner_text() == "trained on nothing, and never measured"


def test_the_token_of_the_address_is_shown_to_the_server(browser):
    with served(FakeRecognizer(), token="geheim & mehr") as port:
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{port}/")
        page.get_by_role("alert").get_by_text("Authorization").wait_for()
        page.goto("about:blank")
        page.goto(f"http://127.0.0.1:{port}/#token=geheim%20%26%20mehr")
        page.get_by_text("fake-loudness", exact=True).first.wait_for()
        page.set_input_files("#file", AT_ONCE)
        assert len(parts(page)) == 3
        page.close()


@pytest.mark.skipif(not EMODB.exists(), reason="EMO-DB is not in ../shared/data/emodb")
@pytest.mark.parametrize("count", [5, pytest.param(50, marks=pytest.mark.full)])
def test_the_page_shows_what_the_model_says_of_the_file(browser, count):
    r = Recognizer.load("emodb-functionals")
    files = random.Random(0).sample(sorted(EMODB.rglob("*.flac")), count)
    with served(r) as port:
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{port}/")
        for path in files:
            page.set_input_files("#file", path)
            page.get_by_text(f"{path.name}: ").wait_for()
            want = r(path)
            assert page.locator("#label").inner_text() == want.label
            assert shown(page) == pytest.approx(dict(want.scores), abs=1e-4)
        page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1000])
def test_it_fits_and_can_be_read_by_all(opened, tmp_path, scheme, width):
    page = opened(color_scheme=scheme, viewport={"width": width, "height": 800})
    page.locator("summary").click()
    page.set_input_files("#file", {**AT_ONCE, "name": f"{'without_a_gap' * 9}.wav"})
    parts(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.screenshot(path=tmp_path / f"{scheme}-{width}.png", full_page=True)
    if AXE is None:
        pytest.skip("there is no node_modules/axe-core: npm install axe-core")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run()")["violations"]
    assert [(v["id"], v["nodes"][0]["html"]) for v in found] == []
