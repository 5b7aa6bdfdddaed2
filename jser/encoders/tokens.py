"""Transcripts to token ids and back: windows no longer than an encoder's positions."""

from collections.abc import Sequence
import pathlib
from typing import Any

from jaxtyping import Bool, Int
import numpy as np

from jser import files

_SPECIALS = 2  # One before a window's tokens and one after them.
_SENTENCES = "spm.model"  # SentencePiece.
_A_WORD_AND_NONE = "a \U0001242b"  # A sign of cuneiform, which few know.
_VOCABULARIES = (
    ("tokenizer.json",),
    ("vocab.txt",),  # WordPiece.
    ("vocab.json", "merges.txt"),  # Byte-level BPE.
    (_SENTENCES,),
)
_FETCH = "Fetch the tokenizer's files again."


def load(folder: pathlib.Path, vocabulary: int = 0) -> Any:
    """The tokenizer of a checkpoint's folder; needs transformers, and no PyTorch.

    A folder with `spm.model` (DeBERTa) needs sentencepiece and protobuf, too.

    Args:
      folder: Of the checkpoint.
      vocabulary: How many tokens the encoder knows, for `tokenize`; 0 for a decoder's.

    Raises:
      ValueError: if the folder has no vocabulary, or a file of it is damaged.
    """
    from transformers import AutoTokenizer

    if not any(all((folder / f).exists() for f in files) for files in _VOCABULARIES):
        # transformers would make a tokenizer that knows no word, and say nothing.
        needed = ", or ".join(" and ".join(files) for files in _VOCABULARIES)
        raise ValueError(f"{folder} has no vocabulary: {needed}.")
    for path in sorted(folder.glob("*.json")):
        files.read_json(path, _FETCH)  # So that the one that is damaged is named.
    for path in (folder / "vocab.txt", folder / "merges.txt"):
        if path.exists():
            files.read_text(path)
    with files.reading(folder, _FETCH, "its tokenizer cannot be loaded"):
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        if (folder / _SENTENCES).exists():
            _restore_normalizer(tokenizer, folder / _SENTENCES)
        _refuse_other_tokens(tokenizer, vocabulary)
    return tokenizer


def _refuse_other_tokens(tokenizer: Any, vocabulary: int) -> None:
    """Raises ValueError if a window's specials, or a word's, are none of the encoder's.

    An embedding would take its last row for them, and say nothing.
    """
    ids = tokenizer(_A_WORD_AND_NONE)["input_ids"]
    if vocabulary:
        ids += [tokenizer.cls_token_id, tokenizer.sep_token_id]
        if None in ids or max(ids) >= vocabulary:
            raise ValueError(f"it has other tokens than {vocabulary} and two specials")


def _restore_normalizer(tokenizer: Any, path: pathlib.Path) -> None:
    """Normalises text as the SentencePiece model was trained to.

    transformers 5 leaves the model's own table of characters out, so that no-break and
    zero-width spaces, full-width letters and the like become unknown tokens.
    """
    from sentencepiece import sentencepiece_model_pb2
    from tokenizers import Regex, normalizers

    model = sentencepiece_model_pb2.ModelProto()  # pyright: ignore
    with files.reading(path, _FETCH):
        model.ParseFromString(path.read_bytes())
    if table := model.normalizer_spec.precompiled_charsmap:
        steps = [normalizers.Precompiled(table), normalizers.Strip()]
        steps.append(normalizers.Replace(Regex(" {2,}"), " "))
        if getattr(tokenizer, "do_lower_case", False):
            steps.insert(0, normalizers.Lowercase())
        tokenizer.backend_tokenizer.normalizer = normalizers.Sequence(steps)


def tokenize(
    tokenizer: Any, text: str, max_tokens: int = 512
) -> list[Int[np.ndarray, " _"]]:
    """The windows of a transcript: ids, each window between its own two specials.

    A transcript that fits is one window and has the ids that the tokenizer gives it; an
    empty one is just the specials. A longer one is cut between tokens into as few
    windows as it takes, of almost equal length so that none lacks context.

    Args:
      tokenizer: From `load`.
      text: The transcript.
      max_tokens: The longest window, specials included.
    """
    encoded = tokenizer(text, add_special_tokens=False, verbose=False)
    ids = np.array(encoded["input_ids"], np.int32)
    count = max(1, -(-len(ids) // (max_tokens - _SPECIALS)))
    first, last = tokenizer.cls_token_id, tokenizer.sep_token_id
    return [
        np.concatenate([[first], window, [last]], dtype=np.int32)
        for window in np.array_split(ids, count)
    ]


def truncate(tokenizer: Any, text: str, max_tokens: int) -> Int[np.ndarray, " _"]:
    """The first tokens of a transcript between the two specials; the rest is lost."""
    encoded = tokenizer(text, add_special_tokens=False, verbose=False)
    ids = encoded["input_ids"][: max_tokens - _SPECIALS]
    first, last = tokenizer.cls_token_id, tokenizer.sep_token_id
    return np.array([first, *ids, last], np.int32)


def pad(
    windows: Sequence[Int[np.ndarray, " _"]], pad_id: int, length: int
) -> tuple[Int[np.ndarray, "B S"], Bool[np.ndarray, "B S"]]:
    """The windows as rows of `length` ids, and which of them are real.

    Raises:
      ValueError: if a window is longer.
    """
    ids = np.full((len(windows), length), pad_id, np.int32)
    mask = np.zeros(ids.shape, bool)
    for row, window in enumerate(windows):
        if len(window) > length:
            raise ValueError(f"a window of {len(window)} tokens, in {length}.")
        ids[row, : len(window)] = window
        mask[row, : len(window)] = True
    return ids, mask


def kept(windows: Sequence[np.ndarray]) -> list[slice]:
    """Which rows of each of one transcript's windows are its own, padding left out.

    The first window's first special and the last one's last are kept; the specials at
    the seams between them are not.
    """
    last = len(windows) - 1
    return [
        slice(int(k > 0), len(window) - int(k < last))
        for k, window in enumerate(windows)
    ]
