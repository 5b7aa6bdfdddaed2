"""Transcripts of any length and script, by tiny tokenizers made here."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest

from jser.encoders import tokens

transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.slow

TEXTS = (
    "I can't believe it!",
    "  spaces\tand\nlines  ",
    "so happy 😀👩‍👩‍👧 today",
    "أنا سعيد جدا اليوم",
    "שלום עולם",
)
WORDS = ("I", "can", "not", "believe", "it", "so", "happy", "today", "hello", "world")


@pytest.fixture(scope="module")
def roberta(tmp_path_factory):
    """Byte-level BPE: every byte, and a few merges."""
    from tokenizers import pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("h", "a"), ("Ġ", "h"), ("p", "p"), ("ha", "pp")]
    pieces = [*letters, *("".join(pair) for pair in merges)]
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    vocab = {piece: i for i, piece in enumerate([*specials, *pieces, "<mask>"])}
    folder = tmp_path_factory.mktemp("roberta")
    made = transformers.RobertaTokenizer(vocab=vocab, merges=merges)
    made.save_pretrained(folder)
    return tokens.load(folder)


@pytest.fixture(scope="module")
def deberta(tmp_path_factory):
    """SentencePiece, in the files that DeBERTa's folders have."""
    sentencepiece = pytest.importorskip("sentencepiece")
    pytest.importorskip("google.protobuf")
    rng = np.random.default_rng(0)
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(" ".join(rng.choice(WORDS, 8)) for _ in range(100)),
        model_writer=written,
        vocab_size=60,
        hard_vocab_limit=False,
        minloglevel=2,
        **{"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3},
        **{"pad_piece": "[PAD]", "bos_piece": "[CLS]", "eos_piece": "[SEP]"},
        **{"unk_piece": "[UNK]", "user_defined_symbols": ["[MASK]"]},
    )
    folder = tmp_path_factory.mktemp("deberta")
    (folder / "spm.model").write_bytes(written.getvalue())
    (folder / "config.json").write_text(json.dumps({"model_type": "deberta-v2"}))
    tokenizer = tokens.load(folder)
    reference = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    return tokenizer, reference


@pytest.mark.parametrize("text", TEXTS)
def test_a_window_is_what_the_tokenizer_gives(roberta, text):
    (window,) = tokens.tokenize(roberta, text)
    assert window.dtype == np.int32
    assert window.tolist() == roberta(text)["input_ids"]
    assert roberta.decode(window, skip_special_tokens=True) == text


@pytest.mark.parametrize(
    "text", [*TEXTS, "", "no\u00a0break", "zero\u200bwidth", "\uff53\uff4f", "…"]
)
def test_deberta_reads_text_as_sentencepiece_does(deberta, text):
    tokenizer, reference = deberta
    (window,) = tokens.tokenize(tokenizer, text)
    assert window.tolist() == [1, *reference.encode(text), 2]


def test_no_pytorch_is_needed(roberta):
    code = (
        "import sys, pathlib; sys.modules['torch'] = None; "
        "from jser.encoders import tokens; assert 'transformers' not in sys.modules; "
        "tokenizer = tokens.load(pathlib.Path(sys.argv[1])); "
        "print(tokens.tokenize(tokenizer, 'happy')[0].tolist())"
    )
    command = [sys.executable, "-c", code, roberta.name_or_path]
    printed = subprocess.check_output(command, text=True)
    assert json.loads(printed) == roberta("happy")["input_ids"]


def test_an_empty_transcript_is_the_specials(roberta):
    (window,) = tokens.tokenize(roberta, "")
    assert window.tolist() == [0, 2]


def join(windows):
    kept = tokens.kept(windows)
    return [i for w, rows in zip(windows, kept, strict=True) for i in w[rows].tolist()]


def test_a_long_transcript_loses_nothing(roberta):
    rng = np.random.default_rng(0)
    text = " ".join(rng.choice(WORDS, 3000))
    windows = tokens.tokenize(roberta, text)
    whole = roberta(text)["input_ids"]
    lengths = [len(w) for w in windows]
    assert len(windows) == -(-(len(whole) - 2) // 510)
    assert max(lengths) <= 512
    assert max(lengths) - min(lengths) <= 1
    assert all((w[0], w[-1]) == (0, 2) for w in windows)
    assert join(windows) == whole


def test_windows_of_any_size_join_to_the_whole(roberta):
    text = TEXTS[0]
    whole = roberta(text)["input_ids"]
    for max_tokens in range(3, len(whole) + 2):
        windows = tokens.tokenize(roberta, text, max_tokens)
        assert max(len(w) for w in windows) <= max_tokens
        assert join(windows) == whole
    assert len(tokens.tokenize(roberta, text, len(whole))) == 1


@pytest.mark.parametrize("text", [*TEXTS, ""])
def test_truncation_is_the_tokenizers(roberta, text):
    for max_tokens in (2, 3, 5, 400):
        got = tokens.truncate(roberta, text, max_tokens)
        want = roberta(text, truncation=True, max_length=max_tokens)["input_ids"]
        assert got.tolist() == want


def test_padding_is_marked():
    ids, mask = tokens.pad([np.array([0, 7, 2]), np.array([0, 2])], 1, 4)
    assert ids.tolist() == [[0, 7, 2, 1], [0, 2, 1, 1]]
    assert mask.tolist() == [[True, True, True, False], [True, True, False, False]]
    with pytest.raises(ValueError, match="3 tokens"):
        tokens.pad([np.array([0, 7, 2])], 1, 2)


def test_a_folder_without_vocabulary_is_refused(tmp_path):
    for name in ("config.json", "vocab.json"):  # And no merges.txt.
        (tmp_path / name).write_text(json.dumps({"model_type": "roberta"}))
        with pytest.raises(ValueError, match="has no vocabulary"):
            tokens.load(tmp_path)
