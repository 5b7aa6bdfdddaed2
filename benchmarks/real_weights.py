"""Whisper's encoder with real weights, three ways, for extract.py on a CPU.

PyTorch, CTranslate2 as faster-whisper calls it, and jser, from samples to frames, of 30
s, so many utterances at a time; jser also with short context. Float32, on the cores
that the process may use (`taskset -c 0`). CTranslate2 and faster-whisper take part
where they are installed.
"""

from collections.abc import Callable, Sequence
import functools
import importlib
import os
import pathlib
import tempfile
import time

import numpy as np

from benchmarks import transcribe

SHORT = 0  # In place of a batch's size: as many at a time as jser finds right.
Contestant = Callable[[list[np.ndarray]], list[np.ndarray]]


def chunks(sounds: list[np.ndarray], batch: int) -> list[list[np.ndarray]]:
    """So many at a time, in their order."""
    return [sounds[i : i + batch] for i in range(0, len(sounds), batch)]


def real(states: np.ndarray, sounds: list[np.ndarray]) -> list[np.ndarray]:
    """A batch's frames [B, 1500, D], without those of silence behind the sounds."""
    rows = zip(states, sounds, strict=True)
    return [row[: -(-len(x) // 320)].copy() for row, x in rows]


def torch_by(folder: pathlib.Path) -> Callable[[int], Contestant]:
    """The model and feature extractor of transformers."""
    import torch
    import transformers

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    model = transformers.WhisperModel.from_pretrained(folder).get_encoder().eval()
    extract = transformers.WhisperFeatureExtractor(model.config.num_mel_bins)

    def run(sounds: list[np.ndarray], batch: int) -> list[np.ndarray]:
        made = []
        for some in chunks(sounds, batch):
            given = extract(some, sampling_rate=16_000, return_tensors="pt")
            with torch.no_grad():
                made += real(model(**given).last_hidden_state.numpy(), some)
        return made

    return lambda batch: functools.partial(run, batch=batch)


def ctranslate2_by(
    folder: pathlib.Path, scratch: pathlib.Path
) -> Callable[[int], Contestant]:
    """CTranslate2's encoder, and faster-whisper's spectrograms."""
    engine = importlib.import_module("ctranslate2")
    spectrograms = importlib.import_module("faster_whisper.feature_extractor")
    model = engine.models.Whisper(
        transcribe.converted(folder, scratch),
        compute_type="float32",
        intra_threads=len(os.sched_getaffinity(0)),
    )
    extract = spectrograms.FeatureExtractor()

    def spectrogram(sound: np.ndarray) -> np.ndarray:
        mel = extract(np.pad(sound, (0, 480_000 - len(sound))))
        return mel[:, :3000].astype(np.float32)

    def run(sounds: list[np.ndarray], batch: int) -> list[np.ndarray]:
        made = []
        for some in chunks(sounds, batch):
            mel = np.ascontiguousarray(np.stack([spectrogram(x) for x in some]))
            states = model.encode(engine.StorageView.from_array(mel), to_cpu=True)
            made += real(np.array(states), some)
        return made

    return lambda batch: functools.partial(run, batch=batch)


def ours_by(folder: pathlib.Path) -> Callable[[int], Contestant]:
    """The encoder of jser; `jser extract` takes one at a time on a CPU."""
    import jax

    from jser.encoders import processors, whisper
    from jser.encoders.batching import BatchedEncoder

    module, variables = whisper.load(folder, "last")
    run = functools.partial(jax.jit(module.apply), variables)
    processor = processors.MelProcessor(module.config.bands)
    frames = module.config.positions
    return lambda batch: BatchedEncoder(processor, run, budget=batch * frames)


def contestants(
    folder: pathlib.Path, scratch: pathlib.Path, batches: Sequence[int]
) -> dict[tuple[str, int], Contestant]:
    """Those that are installed, by their name and the utterances at a time."""
    from jser import encoders

    makers: dict[str, Callable[[], Callable[[int], Contestant]]] = {
        "PyTorch": lambda: torch_by(folder),
        "CTranslate2": lambda: ctranslate2_by(folder, scratch),
        "jser": lambda: ours_by(folder),
    }
    made: dict[tuple[str, int], Contestant] = {}
    for name, make in makers.items():
        try:
            by = make()
        except ModuleNotFoundError as e:
            print(f"{name}: not installed ({e.name}).")
            continue
        made |= {(name, batch): by(batch) for batch in batches}
    made["jser, short context", SHORT] = encoders.load(folder, context="short")
    return made


def table(
    folder: pathlib.Path,
    sounds: list[np.ndarray],
    batches: Sequence[int],
    repeats: int,
) -> list[str]:
    """The race, turn and turn about, in Markdown; ratios are to the first contestant.

    Args:
      folder: A Whisper, as Hugging Face has it.
      sounds: Of 30 s at most, at 16 kHz.
      batches: Utterances at a time.
      repeats: Turns.
    """
    with tempfile.TemporaryDirectory() as scratch:
        ways = contestants(folder, pathlib.Path(scratch), batches)
        frames = {way: run(sounds) for way, run in ways.items()}  # Compiles.
        wall, cpu = ({way: [] for way in ways} for _ in range(2))
        for _ in range(repeats):
            for way, run in ways.items():
                before = time.perf_counter(), time.process_time()
                run(sounds)
                wall[way].append((time.perf_counter() - before[0]) / len(sounds))
                cpu[way].append((time.process_time() - before[1]) / len(sounds))
    first = next(iter(ways))
    lines = [
        "| contestant | at a time | seconds an utterance | speed | by processor time"
        " | largest difference of frames |",
        "|---|---|---|---|---|---|",
    ]
    for way in ways:
        name, batch = way
        # Of turns that are neighbours, since other programs may run beside.
        gains = [
            np.median(np.divide(taken[first], taken[way])) for taken in (wall, cpu)
        ]
        pairs = zip(frames[way], frames[first], strict=True)
        off = f"{max(np.abs(a - b).max() for a, b in pairs):.1e}"
        lines.append(
            f"| {name} | {batch or 'some'} | {np.median(wall[way]):.3f}"
            f" ({min(wall[way]):.3f} to {max(wall[way]):.3f}) | {gains[0]:.2f}x"
            f" | {gains[1]:.2f}x | {off if batch else ''} |"
        )
    return lines
