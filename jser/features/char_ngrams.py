"""Text front ends that need no weights."""

import re
import unicodedata
import zlib

import numpy as np

NGRAM_BUCKETS = 512
_MARK = "\N{COMBINING ACUTE ACCENT}"  # Stands for every mark: \w matches none.
_TOKEN = re.compile(rf"\w[\w{_MARK}]*|[^\w\s]{_MARK}*")
_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
_START = "<start>"


def char_ngrams(transcript: str) -> np.ndarray:
    """One frame per word or punctuation mark: its hashed character n-grams.

    As in fastText (Bojanowski et al., 2017) a word is itself and the n-grams of 3 to 5
    characters of "<word>", hashed to buckets; its frame counts them and is scaled to
    length 1. The model's projection of the frames is then the learned embedding. Any
    script that puts spaces between words works, with its vowel signs and other
    combining marks; case is folded, and letters are composed (NFC).

    Returns:
      [1 + words, 512] float32. The first frame stands for the start of the utterance,
      so that an empty transcript has a frame too.
    """
    words = [_START, *_words(transcript)]
    frames = np.zeros((len(words), NGRAM_BUCKETS), np.float32)
    for frame, word in zip(frames, words, strict=True):
        for piece in _pieces(word):
            frame[zlib.crc32(piece.encode()) % NGRAM_BUCKETS] += 1
    return frames / np.linalg.norm(frames, axis=1, keepdims=True)


def _words(transcript: str) -> list[str]:
    """Words, with the marks on their letters, and single other characters."""
    folded = unicodedata.normalize("NFC", transcript).casefold()
    text = unicodedata.normalize("NFC", folded)
    plain = "".join(_MARK if _is_mark(c) else c for c in text)
    return [text[m.start() : m.end()] for m in _TOKEN.finditer(plain)]


def _is_mark(character: str) -> bool:
    return character in _JOINERS or unicodedata.category(character).startswith("M")


def _pieces(word: str) -> list[str]:
    marked = f"<{word}>"
    ngrams = [marked[i : i + n] for n in (3, 4, 5) for i in range(len(marked) - n + 1)]
    return [*ngrams, marked]
