"""What `jser fit` decides before it does anything, and what it refuses."""

import csv
import pathlib

import pytest

from jser import fitting
from jser.corpora import prepare
from jser.encoders import hub
from tests.helpers import tiny_corpus


@pytest.fixture(autouse=True)
def nothing_cached(monkeypatch):
    monkeypatch.setattr(hub, "is_here", lambda _: False)


def corpus(
    folder: pathlib.Path, speakers: str = "abcde", columns: str = "file emotion speaker"
) -> pathlib.Path:
    """The tones of some speakers, with some of the columns."""
    source = tiny_corpus.make(folder)
    rows = [r for r in _read(source) if r["speaker"] in speakers]
    return _write(source.with_name("mine.csv"), rows, columns.split())


def _read(source: pathlib.Path) -> list[dict[str, str]]:
    with source.open(newline="") as f:
        return list(csv.DictReader(f))


def _write(path: pathlib.Path, rows, columns) -> pathlib.Path:
    with path.open("w", newline="") as f:
        writer = csv.DictWriter(f, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


def changed(source: pathlib.Path, change) -> pathlib.Path:
    """The same CSV with a change to each row, by its number; None leaves it out."""
    rows = _read(source)
    kept = [new for i, r in enumerate(rows) if (new := change(i, dict(r))) is not None]
    return _write(source, kept, list(rows[0]))


@pytest.mark.parametrize(
    ("speakers", "columns", "policy"),
    [
        ("abcde", "file emotion speaker", "loso"),
        ("abcde", "file emotion", "stratified"),
        ("abcde", "file emotion speaker split", "given"),
    ],
)
def test_how_utterances_are_divided(tmp_path, speakers, columns, policy):
    source = corpus(tmp_path / "a", speakers, columns)
    fit = fitting.of(source, tmp_path / "m")
    assert fit.policy == policy
    assert ("data.dev_split=dev" in " ".join(fit.run)) == (policy == "given")
    assert fit.ensemble.name == "m"
    assert fit.name == "mine"


def test_many_speakers_are_divided_into_folds(tmp_path):
    source = corpus(tmp_path / "a")
    number = lambda i, r: r | {"speaker": f"{r['speaker']}{i % 2}"}
    fit = fitting.of(changed(source, number), tmp_path / "m")
    assert fit.policy == "kfold"
    assert {u.fold for u in fit.rows} == set(range(fitting.FOLDS))


def test_stratified_folds_are_alike_in_emotions(tmp_path):
    source = corpus(tmp_path / "a", columns="file emotion")
    fit = fitting.of(source, tmp_path / "m")
    table = prepare.prepare("csv", source, tmp_path / "t", policy="stratified")
    assert table.shares_speakers
    for fold in range(fitting.FOLDS):
        emotions = [u.emotion for u in table.utterances if u.fold == fold]
        assert all(emotions.count(e) == 4 for e in tiny_corpus.EMOTIONS)
    assert {(u.utt_id, u.fold) for u in fit.rows} == {
        (u.utt_id, u.fold) for u in table.utterances
    }


REFUSED = {
    "speakers": (
        lambda i, r: r if r["speaker"] in "ab" else None,
        "2 speakers, 3 at least",
    ),
    "one emotion": (
        lambda i, r: r if r["emotion"] == "sad" else None,
        "sad is the only emotion to learn; there must be two",
    ),
    "few of one": (
        lambda i, r: r if r["emotion"] != "sad" or i % 7 == 0 else None,
        r"\d utterances of 'sad' to learn from, 5 at least",
    ),
    "of too few voices": (
        lambda i, r: r if r["emotion"] != "sad" or r["speaker"] in "ab" else None,
        "'sad' is in 2 of 5 folds, by 2 speakers; 3 folds at least",
    ),
    "unlabelled": (
        lambda i, r: r | ({"emotion": ""} if i < 2 else {}),
        "2 of 60 utterances have no emotion, e.g. 'a_angry_0'",
    ),
    "mixed": (
        lambda i, r: r | ({"speaker": ""} if i < 3 else {}),
        "3 of 60 utterances have no speaker, e.g. 'a_angry_0'. Give each one, or none",
    ),
    "spelt twice": (
        lambda i, r: (
            r | ({"emotion": "Sad"} if r["emotion"] == "sad" and i % 2 else {})
        ),
        "'Sad' and 'sad' look like one emotion",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_no_model_can_be_made_of(tmp_path, what):
    change, told = REFUSED[what]
    source = changed(corpus(tmp_path / "a"), change)
    with pytest.raises(ValueError, match=f"mine.csv: .*{told}"):
        fitting.of(source, tmp_path / "m")


def test_sounds_beside_the_folders_of_emotions_are_refused(tmp_path):
    source = tiny_corpus.make(tmp_path / "a").parent
    with pytest.raises(ValueError, match=r"lies in no emotion's subfolder .* CSV"):
        fitting.of(source, tmp_path / "m")


def test_splits_without_dev_are_refused(tmp_path):
    source = corpus(tmp_path / "a", "abce", "file emotion speaker split")
    with pytest.raises(ValueError, match="its splits are test, train; train and dev"):
        fitting.of(source, tmp_path / "m")


@pytest.mark.parametrize(
    ("given", "streams", "scaled"),
    [
        ([], "speech=functionals", "speech"),
        (["char_ngrams", "logmel"], "speech=logmel,text=char_ngrams", "speech"),
        (["whisper_base"], "speech=whisper_base@all.trimmed.pooled", "speech"),
        (
            ["hubert_base@3.pooled", "roberta_base"],
            *("speech=hubert_base@3.pooled,text=roberta_base", "speech,text"),
        ),
        (["char_ngrams"], "text=char_ngrams", ""),
    ],
)
def test_front_ends_become_streams(tmp_path, given, streams, scaled):
    fit = fitting.of(corpus(tmp_path / "a"), tmp_path / "m", front_ends=given)
    assert f"--config.data.streams={streams}" in fit.run
    assert f"--config.data.standardize={scaled}" in fit.run
    for member in fit.ensemble.members:
        assert member.data.streams == dict(fit.streams)


def test_two_front_ends_for_one_thing_are_refused(tmp_path):
    with pytest.raises(ValueError, match="logmel and mfcc both read speech"):
        fitting.of(corpus(tmp_path / "a"), tmp_path, front_ends=["logmel", "mfcc"])
    with pytest.raises(ValueError, match="front end 'mfc' is not one of"):
        fitting.of(corpus(tmp_path / "a2"), tmp_path, front_ends=["mfc"])


def test_whisper_is_taken_where_it_is(tmp_path, monkeypatch):
    source = corpus(tmp_path / "a")
    weights = {"whisper_base": "w"}
    fit = fitting.of(source, tmp_path / "m", weights=weights)
    assert fit.streams == {"speech": "whisper_base@all.trimmed.pooled"}
    for command in (fit.extract, fit.bundle):
        assert command[command.index("--weights") + 1] == "whisper_base=w"
    monkeypatch.setattr(hub, "is_here", lambda name: name == "openai/whisper-base")
    assert fitting.of(source, tmp_path / "m").streams == fit.streams


def test_whisper_learns_where_it_is_told_to(tmp_path):
    source, weights = corpus(tmp_path / "a"), {"whisper_base": "w"}
    fit = fitting.of(source, tmp_path / "m", weights=weights, tunes=True)
    (made,) = [x for x in fit.extract if x.endswith(",waveform.trimmed")]
    frozen, learns = fit.ensemble.members
    assert made.split(",") == [*frozen.data.streams.values(), "waveform.trimmed"]
    assert learns.init_from == frozen.name == "m_fit_frozen"
    assert learns.data.corpus == frozen.data.corpus == "mine"
    for command in (fit.extract, fit.run, fit.bundle):
        assert command[command.index("--weights") + 1] == "whisper_base=w"
    with pytest.raises(ValueError, match="without --frontend"):
        fitting.of(source, tmp_path / "m", front_ends=["logmel"], tunes=True)


def test_a_table_of_other_sounds_is_not_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = corpus(tmp_path / "a")
    fit = fitting.of(source, tmp_path / "m")
    assert not fit.is_prepared()
    table = prepare.prepare("csv", source, fit.table, policy=fit.policy)
    assert fit.is_prepared()
    assert not fit.is_bundled(table)
    fewer = changed(source, lambda i, r: r if i else None)
    with pytest.raises(ValueError, match=r"differ in 1 rows, e.g. 'a_angry_0'"):
        fitting.of(fewer, tmp_path / "m").is_prepared()


def test_words_are_needed_where_they_are_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = corpus(tmp_path / "a")
    fit = fitting.of(source, tmp_path / "m", front_ends=["char_ngrams"])
    table = prepare.prepare("csv", source, fit.table, policy=fit.policy)
    with pytest.raises(ValueError, match="jser transcribe --table data/mine"):
        fit.refuse_wordless(table)
