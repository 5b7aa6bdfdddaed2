import pathlib

import pytest

from jser.corpora.transcript_csv import add_transcripts
from jser.corpora.utterances import Utterance

SPEAKERS = ("anna", "bert")


def rows(*files: str) -> list[Utterance]:
    return [Utterance(utt_id=f.removesuffix(".wav"), file=f) for f in files]


@pytest.fixture
def words(tmp_path):
    """Writes a CSV of these lines; returns its path."""

    def write(*lines: str) -> pathlib.Path:
        path = tmp_path / "words.csv"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("file", "{}/001.wav"),
        ("FileName", "./{}/001.wav"),
        ("file", "{}\\001.wav"),
        ("utt_id", "{}/001"),
    ],
)
def test_words_go_to_the_whole_path_or_id(words, header, key):
    lines = [f"{key.format(s)},words of {s}" for s in SPEAKERS]
    path = words(f"{header},transcript", *lines)
    found = add_transcripts(rows("anna/001.wav", "bert/001.wav"), path)
    assert [u.transcript for u in found] == ["words of anna", "words of bert"]
    assert {u.transcript_source for u in found} == {"words.csv"}


@pytest.mark.parametrize("key", ["1.wav", "elsewhere/1.wav", "/data/anna/1.wav"])
def test_a_name_that_only_one_has_is_enough(words, key):
    path = words("file,transcript", f"{key},one", "anna/2.wav,two", "3.wav,three")
    found = add_transcripts(rows("anna/1.wav", "anna/2.wav"), path)
    assert [u.transcript for u in found] == ["one", "two"]


@pytest.mark.parametrize(
    ("files", "keys", "message"),
    [
        (["anna/1.wav", "bert/1.wav"], ["1.wav"], "2 utterances.*'anna/1', 'bert/1'"),
        (["anna/1.wav", "bert/1.wav"], ["anna/1.wav"], "1 utterances.*'bert/1'"),
        (["1.wav"], ["anna/1.wav", "bert/1.wav"], "1 utterances .*such as '1.wav'"),
        (["a.wav"], ["a.wav", "./a.wav"], "1 keys are there more than once.*'a.wav'"),
        (["a.wav", "b.wav"], ["a.wav"], "no transcript for 1 utterances, e.g. 'b'"),
    ],
)
def test_what_is_not_certain_is_refused(words, files, keys, message):
    path = words("file,transcript", *(f"{k},{k}" for k in keys))
    with pytest.raises(ValueError, match=message):
        add_transcripts(rows(*files), path)


def test_utterances_that_were_left_out_keep_their_words(words):
    path = words("file,transcript", "1.wav,of one of them")
    corpus = rows("anna/1.wav", "bert/1.wav")
    with pytest.raises(ValueError, match="cannot be told"):
        add_transcripts(corpus[:1], path, corpus)


def test_a_file_without_such_columns_is_refused(words):
    with pytest.raises(ValueError, match=r"needs a column utt_id, .*it has a, b"):
        add_transcripts(rows("a.wav"), words("a,b", "1,2"))
