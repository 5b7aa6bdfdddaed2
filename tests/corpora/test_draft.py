import pytest

from jser.corpora import draft, folder


@pytest.fixture
def corpus(tmp_path):
    """Two emotions of two files each; sounds are never opened here."""
    root = tmp_path / "corpus"
    for name in ("angry/1.wav", "angry/2.FLAC", "sad/1.wav", "sad/2.wav"):
        write(root / name)
    return root


def write(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"sound")


def names(root):
    return [p.relative_to(root).as_posix() for p in draft.sound_files(root)]


def test_links_to_folders_are_followed(corpus, tmp_path):
    write(tmp_path / "elsewhere" / "deep" / "1.wav")
    (corpus / "happy").symlink_to(tmp_path / "elsewhere")
    assert "happy/deep/1.wav" in names(corpus)
    assert {u.emotion for u in folder.read(corpus).rows} == {"angry", "sad", "happy"}


def test_links_in_a_circle_end(corpus, caplog):
    (corpus / "sad" / "all").symlink_to(corpus)
    (corpus / "angry" / "self").symlink_to(corpus / "angry")
    assert len(names(corpus)) == 4
    assert "2 links in a circle" in caplog.text


@pytest.mark.parametrize("name", ["._1.wav", ".cache/1.wav", "__MACOSX/angry/._1.wav"])
def test_what_is_hidden_is_passed_over(corpus, caplog, name):
    write(corpus / name)
    write(corpus / "angry" / name)
    assert len(names(corpus)) == 4
    assert "passed over: 2 hidden." in caplog.text
    assert {u.emotion for u in folder.read(corpus).rows} == {"angry", "sad"}
    assert "no sound files in" not in caplog.text


def test_what_was_passed_over_is_counted_by_ending(corpus, caplog):
    for name in ("happy/1.txt", "happy/2.TXT", "sad/3.jpg", "sad/README"):
        write(corpus / name)
    assert len(folder.read(corpus).rows) == 4
    assert "passed over: 1 .jpg, 2 .txt, 1 without an ending." in caplog.text
    assert "no sound files in happy." in caplog.text


def test_a_folder_without_sounds_says_what_it_has(tmp_path):
    write(tmp_path / "sad" / "1.txt")
    with pytest.raises(ValueError, match=r"no sound files \(.*\); it has 1 \.txt\."):
        draft.sound_files(tmp_path)
