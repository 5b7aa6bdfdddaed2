"""Transcription against faster-whisper and transformers, with the same weights.

    JSER_WHISPER_BASE=<folder> taskset -c 0 python benchmarks/transcribe.py data/emodb

Every n-th sound of a table whose transcripts are the corpus's own is transcribed by
each contestant, turn and turn about, in float32 on the CPU, greedily, the language
given, when all shapes are compiled. Of each: processor seconds an utterance, from
samples to text, as a median of the turns; and word error rate, without punctuation and
case. faster-whisper, which also needs ctranslate2, and transformers with PyTorch take
part where they are installed.
"""

import argparse
from collections.abc import Callable, Sequence
import importlib
import os
import pathlib
import re
import tempfile
import time

import numpy as np

Contestant = Callable[[list[np.ndarray]], list[str]]
THREADS = 1


def words(text: str) -> list[str]:
    """Of a text, without punctuation and case."""
    return re.sub(r"[^\w\s]", " ", text.lower()).split()


def word_errors(want: Sequence[str], got: Sequence[str]) -> int:
    """The least words to put in, leave out or change."""
    row = list(range(len(got) + 1))
    for i, word in enumerate(want, 1):
        last, row[0] = row[0], i
        for j, other in enumerate(got, 1):
            change = last + (word != other)
            last, row[j] = row[j], min(change, row[j] + 1, row[j - 1] + 1)
    return row[-1]


def error_rate(want: Sequence[str], got: Sequence[str]) -> float:
    """Word errors per word that was said."""
    pairs = [(words(a), words(b)) for a, b in zip(want, got, strict=True)]
    return sum(word_errors(*pair) for pair in pairs) / sum(len(a) for a, _ in pairs)


def ours(
    folder: pathlib.Path, language: str, batch_size: int, context: str
) -> Contestant:
    """By `Transcriber`."""
    from jser.encoders import transcriber

    model = transcriber.Transcriber(
        str(folder), language=language, batch_size=batch_size, context=context
    )

    def run(sounds: list[np.ndarray]) -> list[str]:
        _, transcripts = model.encode_and_transcribe(sounds)
        return [t.text for t in transcripts]

    return run


def transformers(folder: pathlib.Path, language: str) -> Contestant:
    """By `generate`, one by one."""
    import torch
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    torch.set_num_threads(THREADS)
    processor = WhisperProcessor.from_pretrained(folder)
    model = WhisperForConditionalGeneration.from_pretrained(folder).eval()

    def text_of(samples: np.ndarray) -> str:
        features = processor(samples, sampling_rate=16_000, return_tensors="pt")
        with torch.no_grad():
            ids = model.generate(
                features.input_features, language=language, task="transcribe"
            )
        return processor.batch_decode(ids, skip_special_tokens=True)[0].strip()

    return lambda sounds: [text_of(x) for x in sounds]


def converted(folder: pathlib.Path, scratch: pathlib.Path) -> str:
    """The folder of the same weights as CTranslate2 has them, in float32."""
    converters = importlib.import_module("ctranslate2.converters")
    converter = converters.TransformersConverter(
        str(folder), copy_files=["tokenizer.json", "preprocessor_config.json"]
    )
    return converter.convert(str(scratch / "model"), quantization="float32")


def faster_whisper(
    folder: pathlib.Path, language: str, scratch: pathlib.Path
) -> Contestant:
    """By faster-whisper as people call it, with one beam, without time stamps."""
    package = importlib.import_module("faster_whisper")
    model = package.WhisperModel(
        converted(folder, scratch),
        device="cpu",
        compute_type="float32",
        cpu_threads=THREADS,
    )

    def text_of(samples: np.ndarray) -> str:
        segments, _ = model.transcribe(
            samples, language=language, beam_size=1, without_timestamps=True
        )
        return " ".join(segment.text.strip() for segment in segments)

    return lambda sounds: [text_of(x) for x in sounds]


def race(
    contestants: dict[str, Contestant], sounds: list[np.ndarray], repeats: int
) -> tuple[dict[str, list[str]], dict[str, list[float]]]:
    """The texts of each, and its processor seconds by turns."""
    texts = {name: run(sounds) for name, run in contestants.items()}
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, run in contestants.items():
            began = time.process_time()
            run(sounds)
            taken[name].append(time.process_time() - began)
    return texts, taken


def report(
    want: list[str], texts: dict[str, list[str]], taken: dict[str, list[float]]
) -> list[str]:
    """The table, in Markdown; speeds are relative to the first one's."""
    medians = {name: float(np.median(s)) for name, s in taken.items()}
    first = next(iter(medians))
    lines = [
        "| contestant | processor seconds an utterance | speed | word error rate"
        f" | texts equal to those of {first} |",
        "|---|---|---|---|---|",
    ]
    for name, seconds in medians.items():
        each = sorted(s / len(want) for s in taken[name])
        equal = sum(a == b for a, b in zip(texts[name], texts[first], strict=True))
        lines.append(
            f"| {name} | {seconds / len(want):.2f} ({each[0]:.2f} to {each[-1]:.2f})"
            f" | {medians[first] / seconds:.2f}x"
            f" | {error_rate(want, texts[name]):.1%} | {equal} of {len(want)} |"
        )
    return lines


def main() -> None:
    """Prints the table."""
    from jser import audio
    from jser.corpora import tables

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("table", type=pathlib.Path, help="from jser prepare")
    parser.add_argument("--every", type=int, default=53, help="every n-th sound")
    parser.add_argument("--repeats", type=int, default=3, help="turns")
    parser.add_argument("--language", default="de", help="that is spoken")
    parser.add_argument("--only", default="", help="contestants by a part of the name")
    args = parser.parse_args()
    if not (given := os.environ.get("JSER_WHISPER_BASE")):
        parser.error("JSER_WHISPER_BASE names no folder with Whisper's weights.")
    folder, table = pathlib.Path(given), tables.read(args.table)
    rows = table.utterances[:: args.every]
    sounds = [audio.load(table.audio_path(u)) for u in rows]
    batch = min(len(sounds), 16)
    with tempfile.TemporaryDirectory() as scratch:
        both = folder, args.language
        makers: dict[str, Callable[[], Contestant]] = {
            "transformers": lambda: transformers(*both),
            "faster-whisper": lambda: faster_whisper(*both, pathlib.Path(scratch)),
            "jser": lambda: ours(*both, 1, "full"),
            f"jser, {batch} at a time": lambda: ours(*both, batch, "full"),
            "jser, short context": lambda: ours(*both, 1, "short"),
        }
        contestants = {}
        for name, make in makers.items():
            if args.only not in name:
                continue
            try:
                contestants[name] = make()
            except ModuleNotFoundError as e:
                print(f"{name}: not installed ({e.name}).")
        texts, taken = race(contestants, sounds, args.repeats)
    print("\n".join(report([u.transcript for u in rows], texts, taken)))
    seconds = sum(len(x) for x in sounds) / audio.SAMPLE_RATE_HZ
    print(f"\n{len(sounds)} utterances, {seconds:.0f} s of sound.")


if __name__ == "__main__":
    main()
