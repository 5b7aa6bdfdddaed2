"""Every reader of what lies on disk, with a small file that is good.

`python -m tests.helpers.readers <name> <first> <last>` reads so many damaged files in
a process whose memory is bounded, and prints how many were accepted and refused.
"""

from collections import Counter
from collections.abc import Callable
import dataclasses
import functools
import json
import pathlib
import resource
import signal
import sys
import tempfile
from typing import Any

import numpy as np
import soundfile

from jser import audio, containers
from jser.corpora import csv_table, iemocap, msp_podcast, prepare, tables
from jser.corpora.transcript_csv import add_transcripts
from jser.encoders import bert, checkpoints, deberta, tokens, wav2vec, weights, whisper
from jser.encoders.options import Options
from jser.encoders.whisper_prompts import Rules
from jser.ensemble import run_config
from jser.ensemble.logits import Logits
from jser.features import shards, store, transcribe, verify
from jser.features.extract import extract
from jser.report import submission
from jser.training import metrics_log
from tests.helpers import (
    av_files,
    mutations,
    simulated_members,
    tiny_checkpoints,
    tiny_corpus,
)

MOST_MB = 3000  # Beyond what the process has when it begins.
MOST_S = 60  # For one file; a reader that hangs is killed.


@dataclasses.dataclass(frozen=True)
class Reader:
    """A reader, and how to make what it reads."""

    make: Callable[[pathlib.Path], pathlib.Path]  # In a folder; the file to damage.
    read: Callable[[pathlib.Path], Any]  # By that file's path.
    refuses: type[Exception] = ValueError


def _sound(suffix: str) -> Reader:
    def make(folder: pathlib.Path) -> pathlib.Path:
        path = folder / f"a.{suffix}"
        if path.suffix in containers.SUFFIXES:
            av_files.write(path, tiny_corpus.tone(300, 0.2, 48_000), 48_000)
            return path
        kind = {"au": "AU", "w64": "W64", "rf64": "RF64"}.get(suffix)
        soundfile.write(path, tiny_corpus.tone(300, 0.2), 16_000, format=kind)
        return path

    def read(path: pathlib.Path) -> None:
        audio.seconds(path)
        samples = audio.load(path)
        assert samples.dtype == np.float32
        assert samples.ndim == 1
        assert len(samples) >= audio.MIN_SAMPLES

    return Reader(make, read, audio.AudioError)


def _csv(folder: pathlib.Path) -> pathlib.Path:
    return tiny_corpus.make(folder / "source")


def _table(name: str) -> Callable[[pathlib.Path], pathlib.Path]:
    def make(folder: pathlib.Path) -> pathlib.Path:
        return prepare.prepare("csv", _csv(folder), folder / "small").folder / name

    return make


def _read_transcripts(path: pathlib.Path) -> None:
    rows = [tables.Utterance(utt_id=f"u{k}", file=f"u{k}.wav") for k in range(4)]
    assert len(add_transcripts(rows, path)) == 4


def _transcripts(folder: pathlib.Path) -> pathlib.Path:
    rows = "".join(f'u{k},"well, {k}"\n' for k in range(4))
    return _written(folder / "words.csv", "utt_id,transcript\n" + rows)


def _written(path: pathlib.Path, text: str) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def _msp(folder: pathlib.Path, *, words: bool = False) -> pathlib.Path:
    columns = "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set\n"
    rows = "".join(f"m{k}.wav,{e},1,2,3,{k},Male,Train\n" for k, e in enumerate("ASH"))
    text = _written(folder / "Transcripts" / "m0.txt", "so it is")
    table = _written(folder / "Labels" / "labels_consensus.csv", columns + rows)
    return text if words else table


def _iemocap(folder: pathlib.Path) -> pathlib.Path:
    turn = "[6.29 - 8.23]\tSes01F_impro01_F00{}\tneu\t[2.5, 2.5, 2.5]\nC-E2: Neutral;\n"
    path = folder / "Session1" / "dialog" / "EmoEvaluation" / "Ses01F_impro01.txt"
    return _written(path, "% comment\n\n" + "".join(turn.format(k) for k in range(3)))


def _features(name: str) -> Callable[[pathlib.Path], pathlib.Path]:
    def make(folder: pathlib.Path) -> pathlib.Path:
        table = prepare.prepare("csv", _csv(folder), folder / "small")
        found = extract(table, "char_ngrams", folder / "features", workers=1).folder
        return sorted(found.glob(name))[0]

    return make


def _read_features(path: pathlib.Path) -> None:
    found = store.FeatureSet(path.parent)
    for frames in found.read(np.arange(len(found.utt_id))):
        assert frames.dtype == np.float16
        assert frames.shape[1:] == (found.width,)


def _verify(path: pathlib.Path) -> None:
    for fault in verify.verify(path.parent):
        assert str(path.parent) in fault
        assert "\n" not in fault


def _part(folder: pathlib.Path) -> pathlib.Path:
    names = np.array(["a", "b"])
    frames, length = np.ones((5, 4), np.float16), np.array([2, 3], np.int32)
    start, stop = np.array([0, 400]), np.array([0, 9000])
    columns = names, names, names, length, start, stop, frames
    part = shards.Part(*columns, {"c": "too short"})
    part.save(folder / "part.npz")
    return folder / "part.npz"


def _chunk(folder: pathlib.Path) -> pathlib.Path:
    said = {"text": "so it is", "language": "en", "note": ""}
    return _written(folder / "a.json", json.dumps({f"0 u{k}": said for k in range(3)}))


def _tensors() -> dict[str, np.ndarray]:
    return {"w": np.ones((3, 4), np.float32), "b": np.zeros(2, np.float16)}


def _safetensors(folder: pathlib.Path, name: str = "model.safetensors") -> pathlib.Path:
    from safetensors.numpy import save_file

    save_file(_tensors(), folder / name)
    return folder / name


def _index(folder: pathlib.Path) -> pathlib.Path:
    shard_of = {n: _safetensors(folder, "model-1.safetensors").name for n in _tensors()}
    text = json.dumps({"metadata": {"total_size": 52}, "weight_map": shard_of})
    return _written(folder / "model.safetensors.index.json", text)


def _bin(folder: pathlib.Path) -> pathlib.Path:
    import torch

    path = folder / "pytorch_model.bin"
    torch.save({n: torch.from_numpy(x) for n, x in _tensors().items()}, path)
    return path


def _read_tensors(path: pathlib.Path) -> None:
    for x in weights.read_tensors(path.parent).values():
        assert isinstance(x, np.ndarray)


def _config(name: str, read: Callable[[pathlib.Path], Any]) -> Reader:
    def make(folder: pathlib.Path) -> pathlib.Path:
        import transformers

        kind, flags = tiny_checkpoints.MODELS[name]
        transformers.AutoConfig.for_model(kind, **flags).save_pretrained(folder)
        _written(folder / "preprocessor_config.json", '{"do_normalize": true}')
        return folder / "config.json"

    def look(path: pathlib.Path) -> None:
        read(path.parent)
        checkpoints.find(path.parent, Options())

    return Reader(make, look)


def _generation(folder: pathlib.Path) -> pathlib.Path:
    _config("whisper", whisper.Config.read).make(folder)
    said = {
        "decoder_start_token_id": 1,
        "eos_token_id": 2,
        "lang_to_id": {"<|en|>": 3, "<|de|>": 4},
        "task_to_id": {"transcribe": 5, "translate": 6},
        "no_timestamps_token_id": 7,
        "suppress_tokens": [8, 9],
        "begin_suppress_tokens": [10],
        "max_length": 60,
    }
    return _written(folder / "generation_config.json", json.dumps(said))


def _tokenizer(
    name: str, write: Callable[[pathlib.Path], Any], kind: str = "bert"
) -> Reader:
    def make(folder: pathlib.Path) -> pathlib.Path:
        _config(kind, bert.Config.read).make(folder)
        write(folder)
        return folder / name

    def read(path: pathlib.Path) -> None:
        for ids in tokens.tokenize(tokens.load(path.parent, 1000), "so happy, hä"):
            assert ids.dtype == np.int32

    return Reader(make, read)


def _run(folder: pathlib.Path) -> pathlib.Path:
    described = {
        "schema": run_config.SCHEMA,
        "table": "0",
        "labels": ["angry", "sad"],
        "front_ends": {},
        "config": tiny_corpus.experiment().to_dict(),
    }
    return _written(folder / "config.json", json.dumps(described))


def _logits(folder: pathlib.Path) -> pathlib.Path:
    simulated_members.said(np.random.default_rng(0)).save(folder / "test.npz")
    return folder / "test.npz"


def _metrics(folder: pathlib.Path) -> pathlib.Path:
    lines = (f'{{"step": {k}, "train/loss": 0.{k}}}\n' for k in range(9))
    return _written(folder / "metrics.jsonl", "".join(lines))


def _sample(folder: pathlib.Path) -> pathlib.Path:
    rows = "".join(f"m{k}.wav,N\n" for k in range(5))
    return _written(folder / "sample.csv", "FileName,EmoClass\n" + rows)


def _read_sample(path: pathlib.Path) -> None:
    predicted = {f"m{k}": "sad" for k in range(5)}
    assert submission.write(predicted, path.with_name("out.csv"), sample=path) == 5


_SOUNDS = (
    "wav",
    "flac",
    "ogg",
    "mp3",
    "aiff",
    "w64",
    "rf64",
    "caf",
    "au",
    "m4a",
    "webm",
)
_TOKENIZERS = {
    "vocab.txt": ("bert", tiny_checkpoints.word_pieces),
    "tokenizer.json": ("roberta", tiny_checkpoints.byte_pairs),
    "spm.model": ("deberta", tiny_checkpoints.sentence_pieces),
}
READERS: dict[str, Reader] = {
    **{s: _sound(s) for s in _SOUNDS},
    "csv": Reader(_csv, csv_table.read),
    "table.csv": Reader(_table("table.csv"), lambda p: tables.read(p.parent)),
    "table.json": Reader(_table("table.json"), lambda p: tables.read(p.parent)),
    "table_reread": Reader(_table("table.json"), lambda p: csv_table.reread(p.parent)),
    "words.csv": Reader(_transcripts, _read_transcripts),
    "msp_labels": Reader(_msp, lambda p: msp_podcast.read(p.parents[1])),
    "msp_words": Reader(
        functools.partial(_msp, words=True), lambda p: msp_podcast.read(p.parents[1])
    ),
    "iemocap": Reader(_iemocap, lambda p: iemocap.read(p.parents[3])),
    "sample.csv": Reader(_sample, _read_sample),
    **{
        name: Reader(_features(pattern), _read_features)
        for name, pattern in (
            *(("index.npz", "index.npz"), ("manifest.json", "manifest.json")),
            *(("features.json", "features.json"), ("shard", "*.array_record*")),
            ("dataset_info.json", "dataset_info.json"),
        )
    },
    "verified_shard": Reader(_features("*.array_record*"), _verify),
    "verified_failures": Reader(_features("failures.csv"), _verify),
    "part.npz": Reader(_part, shards.Part.load),
    "chunk.json": Reader(_chunk, lambda p: transcribe._read_chunks(p.parent)),
    "model.safetensors": Reader(_safetensors, _read_tensors),
    "index.json": Reader(_index, _read_tensors),
    "pytorch_model.bin": Reader(_bin, _read_tensors),
    "config_bert": _config("bert", bert.Config.read),
    "config_deberta": _config("deberta", deberta.Config.read),
    "config_wavlm": _config("wavlm", wav2vec.Config.read),
    "config_whisper": _config("whisper", whisper.Config.read),
    "generation_config.json": Reader(_generation, lambda p: Rules.read(p.parent)),
    **{n: _tokenizer(n, write, kind) for n, (kind, write) in _TOKENIZERS.items()},
    "logits.npz": Reader(_logits, Logits.load),
    "metrics.jsonl": Reader(_metrics, metrics_log.read),
    "run_config": Reader(_run, lambda p: run_config.read(p.parent)),
}


def outcome(reader: Reader, path: pathlib.Path, whole: bytes, seed: int) -> str:
    """Whether a damaged file is "accepted" or "refused", as an error must be.

    Raises:
      Exception: what the reader raised and must not, with the seed.
    """
    path.write_bytes(mutations.mutated(whole, seed))
    try:
        reader.read(path)
    except (reader.refuses, FileNotFoundError) as e:
        told = str(e)
        if "\n" in told or str(path.parent) not in told or len(told) > 2000:
            raise AssertionError(f"seed {seed}: told as {told[:2000]!r}") from e
        return "refused"
    except Exception as e:
        e.add_note(f"seed {seed}")
        raise
    finally:
        path.write_bytes(whole)
    return "accepted"


def main() -> None:
    """Prints the counts as JSON; a file that needs too much memory or time is told."""
    name, first, last = sys.argv[1], *map(int, sys.argv[2:])
    reader, counts = READERS[name], Counter()
    with tempfile.TemporaryDirectory() as folder:
        path = reader.make(pathlib.Path(folder))
        whole = path.read_bytes()
        reader.read(path)  # What it imports is no part of the bound.
        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + MOST_MB * 1_000_000
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        for seed in range(first, last):
            print(f"{name} {seed}", file=sys.stderr, flush=True)
            signal.alarm(MOST_S)
            counts[outcome(reader, path, whole, seed)] += 1
            signal.alarm(0)
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
