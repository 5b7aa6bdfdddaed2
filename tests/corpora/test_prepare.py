"""What `prepare` does with any corpus: says what it leaves out, refuses, records."""

from jser.corpora import prepare, tables
from tests.helpers import tiny_corpus


def run(source, tmp_path, **options) -> tables.Table:
    return prepare.prepare("csv", source, tmp_path / "out", **options)


def test_an_emotion_spelled_in_two_ways_is_warned_of_and_can_be_mended(
    tmp_path, caplog
):
    path = tiny_corpus.make(tmp_path / "in")
    path.write_text(path.read_text().replace(",angry,a,", ",ANG,a,"))
    assert "ANG" in run(path, tmp_path).labels
    assert "ANG look like other spellings of angry. --merge ANG=angry" in caplog.text
    caplog.clear()
    table = run(path, tmp_path, merge={"ANG": "angry"})
    assert table.labels == tiny_corpus.EMOTIONS
    assert not caplog.text
