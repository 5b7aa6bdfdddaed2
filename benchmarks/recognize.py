"""Recognition, cold and warm, beside transformers' pipeline for audio classification.

  python -m benchmarks.recognize --files a.wav,b.wav --weights whisper_base=DIR
  python -m benchmarks.recognize --quick   # small; prints what says little

Of files cut or repeated to 4 s: from the start of a process to its first answer, with
the cache of compiled programs empty and filled; the median of later answers, and the
share of each stage. Of a long sound, the timeline. The pipeline's wav2vec2 has the base
size and random weights, reads the same files at the same turns, and each ratio is the
median over turns. The figures go to benchmarks/results/recognize.md, or to --out.
"""

import argparse
from collections.abc import Callable, Sequence
import dataclasses
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np
import soundfile

from benchmarks import pages, train_step
from jser import audio
from jser.recognizer import bundle, models, reading
from jser.recognizer.frames import FrameMaker
from jser.recognizer.network import Network
from jser.recognizer.recognizer import Recognizer

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = pathlib.Path(__file__).parent / "results" / "recognize.md"
SECONDS = 4.0
OURS, THEIRS = "jser", "transformers"
_STAGES = ("decode", "trim and front end", "network and combination")
# A process begins with the peak memory of the one that started it: a small one must.
_LAUNCHER = """
import json, os, sys, time
began = time.perf_counter()
pid = os.posix_spawn(sys.executable, [sys.executable, *sys.argv[1:]], os.environ)
_, status, used = os.wait4(pid, 0)
took = time.perf_counter() - began, used.ru_utime + used.ru_stime
print(json.dumps([*took, used.ru_maxrss / 1024, os.waitstatus_to_exitcode(status)]))
"""
# Processes of their own, which import no more than what they measure.
_PIPELINE = """
import sys, soundfile, transformers
samples, _ = soundfile.read(sys.argv[2], dtype="float32")
print(transformers.pipeline("audio-classification", model=sys.argv[1])(samples)[0])
"""
_TIMELINE = """
import json, sys, time
from jser.recognizer.recognizer import Recognizer
model, weights, path, short = json.loads(sys.argv[1])
recognizer = Recognizer.load(model, weights=weights)
recognizer.timeline(short)
wall, cpu = time.perf_counter(), time.process_time()
recognizer.timeline(path)
print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu]))
"""

Weights = dict[str, str]


@dataclasses.dataclass(frozen=True)
class Process:
    """What a process took, from its start to its end."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    output: str


def run(command: Sequence[str], cache: pathlib.Path) -> Process:
    """Runs a process to its end.

    Args:
      command: After the interpreter.
      cache: Of compiled programs.
    """
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    env = os.environ | {"JSER_CACHE": str(cache), "PYTHONPATH": path}
    launched = [sys.executable, "-c", _LAUNCHER, *command]
    done = subprocess.run(
        launched, check=True, env=env, stdout=subprocess.PIPE, text=True
    )
    *output, measured = done.stdout.splitlines()
    *used, status = json.loads(measured)
    if status:
        raise RuntimeError(f"{' '.join(command)[:80]}: ended by {status}")
    return Process(*used, "\n".join(output))


def cold(
    model: str, weights: Weights, peer: pathlib.Path, path: pathlib.Path, rounds: int
) -> dict[str, list[Process]]:
    """New processes that hear one file, in turn; each cache is filled by the first."""
    given = ",".join(f"{name}={where}" for name, where in weights.items())
    recognize = ["-m", "jser", "recognize", str(path), "--model", model]
    recognize += ["--weights", given] if given else []
    taken: dict[str, list[Process]] = {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            cache = pathlib.Path(folder)
            for name, command in (
                (THEIRS, ["-c", _PIPELINE, str(peer), str(path)]),
                (f"{OURS}, cache empty", recognize),
                (f"{OURS}, cache filled", recognize),
            ):
                taken.setdefault(name, []).append(run(command, cache))
    return taken


def cold_table(taken: dict[str, list[Process]]) -> list[str]:
    """Medians by contestant; the first is the one the others are divided into."""
    first, rows = next(iter(taken.values())), []
    for name, those in taken.items():
        wall, cpu, peak = (
            statistics.median(getattr(p, field) for p in those)
            for field in ("wall_s", "cpu_s", "peak_mb")
        )
        ratio, of_cpu = (
            statistics.median(
                getattr(a, field) / getattr(b, field)
                for a, b in zip(first, those, strict=True)
            )
            for field in ("wall_s", "cpu_s")
        )
        rows.append(
            f"| {name} | {wall:.1f} | {cpu:.1f} | {ratio:.2f} | {of_cpu:.2f} |"
            f" {peak:,.0f} |"
        )
    return [
        "| first answer of a process | s | CPU s | times as fast | by CPU | peak MB |",
        "|---|---|---|---|---|---|",
        *rows,
    ]


def warm(
    contestants: dict[str, Callable[[pathlib.Path], object]],
    paths: Sequence[pathlib.Path],
    rounds: int,
) -> train_step.Race:
    """Each file by each contestant in turn, `rounds` times."""
    found = train_step.Race(
        {name: [] for name in contestants}, {name: [] for name in contestants}
    )
    for path in paths:
        sides = {name: _side(hear, path) for name, hear in contestants.items()}
        of_file = train_step.race(sides, rounds)
        for name in contestants:
            found.wall[name] += of_file.wall[name]
            found.cpu[name] += of_file.cpu[name]
    return found


def _side(
    hear: Callable[[pathlib.Path], object], path: pathlib.Path
) -> Callable[[], None]:
    def side() -> None:
        hear(path)

    return side


def warm_table(found: train_step.Race) -> list[str]:
    """Medians by contestant."""
    return [
        "| later answers | p50 ms | CPU ms | times as fast | by CPU |",
        "|---|---|---|---|---|",
        *(
            f"| {name} | {1000 * found.seconds(name):.1f} |"
            f" {1000 * statistics.median(found.cpu[name]):.1f} |"
            f" {found.ratio(name):.2f} | {found.ratio(name, 'cpu'):.2f} |"
            for name in found.wall
        ),
    ]


def stages(
    model: str, weights: Weights, paths: Sequence[pathlib.Path], rounds: int
) -> list[str]:
    """Median milliseconds and the share of each stage."""
    opened = bundle.load(models.find(model))
    make, network = FrameMaker(opened.front_ends, weights), Network(opened)
    if make.reads_text:
        raise ValueError(f"{model} reads text: give a model that reads sound alone.")
    taken = np.zeros((0, len(_STAGES)))
    for turn in range(rounds + 1):
        for path in paths:
            at = [time.perf_counter()]
            samples = reading.read(path).samples
            at.append(time.perf_counter())
            frames = make([samples], [None])
            at.append(time.perf_counter())
            network(frames, None)
            at.append(time.perf_counter())
            if turn:  # The first one compiles.
                taken = np.vstack([taken, np.diff(at)])
    share = np.median(taken / taken.sum(axis=1, keepdims=True), axis=0)
    rows = zip(_STAGES, 1000 * np.median(taken, axis=0), share, strict=True)
    return [
        "| stage | p50 ms | share |",
        "|---|---|---|",
        *(f"| {name} | {ms:.1f} | {part:.0%} |" for name, ms, part in rows),
    ]


def long(
    model: str, weights: Weights, path: pathlib.Path, minutes: float, home: pathlib.Path
) -> str:
    """The timeline of a sound so long, in a process of its own."""
    samples = audio.load(path)
    sound = home / "long.wav"
    with soundfile.SoundFile(sound, "w", audio.SAMPLE_RATE_HZ, 1) as f:
        for _ in range(max(1, round(60 * minutes / SECONDS))):
            f.write(samples)
    what = json.dumps([model, weights, str(sound), str(path)])
    done = run(["-c", _TIMELINE, what], home / "long cache")
    wall, cpu = json.loads(done.output.splitlines()[-1])
    seconds = soundfile.info(sound).duration
    return (
        f"A timeline of {seconds / 60:.1f} minutes: {wall:.1f} s, {cpu:.1f} CPU s, a"
        f" real-time factor of **{wall / seconds:.4f}** ({cpu / seconds:.4f} by CPU);"
        f" peak {done.peak_mb:,.0f} MB."
    )


def make_peer(folder: pathlib.Path, **sizes) -> pathlib.Path:
    """Saves a wav2vec2 classifier of base size, or of others, with random weights."""
    import transformers

    config = transformers.AutoConfig.for_model("wav2vec2", num_labels=7, **sizes)
    transformers.AutoModelForAudioClassification.from_config(config).save_pretrained(
        folder
    )
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return folder


def cut(sounds: Sequence[np.ndarray], home: pathlib.Path) -> list[pathlib.Path]:
    """Files of `SECONDS`, cut or repeated."""
    paths = []
    for i, samples in enumerate(sounds):
        paths.append(home / f"{i}.wav")
        whole = np.resize(samples, round(SECONDS * audio.SAMPLE_RATE_HZ))
        soundfile.write(paths[-1], whole, audio.SAMPLE_RATE_HZ)
    return paths


def report(
    model: str,
    weights: Weights,
    sounds: Sequence[np.ndarray],
    *,
    rounds: int,
    minutes: float,
    **peer_sizes,
) -> str:
    """Measures all of it; the results as Markdown."""
    import transformers

    began_under = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        home = pathlib.Path(folder)
        peer, paths = make_peer(home / "peer", **peer_sizes), cut(sounds, home)
        processes = cold(model, weights, peer, paths[0], max(1, rounds // 4))
        pipeline = transformers.pipeline("audio-classification", model=str(peer))
        recognizer = Recognizer.load(model, weights=weights)
        found = warm(
            {THEIRS: lambda path: pipeline(audio.load(path)), OURS: recognizer},
            paths,
            rounds,
        )
        shares = stages(model, weights, paths, rounds)
        timeline = long(model, weights, paths[0], minutes, home)
    lines = [
        "# Recognition beside transformers' pipeline",
        "",
        f"`{' '.join(['python -m benchmarks.recognize', *sys.argv[1:]])}`",
        "",
        f'{model}, and `pipeline("audio-classification")` of a wav2vec2 of base size'
        f" with random weights, on the CPU; {len(sounds)} files of {SECONDS:g} s in"
        f" turn, {rounds} times. transformers is given what jser decoded."
        " The two run different networks: a ratio says who answers first, not whose"
        " code is the faster one.",
        "",
        *cold_table(processes),
        "",
        *warm_table(found),
        "",
        *shares,
        "",
        timeline,
        "",
        f"jax {jax.__version__}, transformers {transformers.__version__}, Python"
        f" {platform.python_version()}, {platform.machine()},"
        f" {len(os.sched_getaffinity(0))} cores; load {began_under:.1f} at the start,"
        f" {os.getloadavg()[0]:.1f} at the end.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Parses flags, measures, writes the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default=models.DEFAULT, help="that reads sound")
    parser.add_argument("--weights", default="", help="whisper_base=DIR")
    parser.add_argument("--files", default="", help="sounds; default: noise")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=60, help="of the long sound")
    parser.add_argument("--quick", action="store_true", help="once, and a minute")
    parser.add_argument("--out", type=pathlib.Path)
    a = parser.parse_args()
    weights = dict(w.split("=", 1) for w in a.weights.split(",") if w)
    sounds = [audio.load(f) for f in a.files.split(",") if f]
    if not sounds:
        noise = np.random.default_rng(0).standard_normal(audio.SAMPLE_RATE_HZ * 4)
        sounds = [0.1 * noise.astype(np.float32)]
    rounds, minutes = (1, 1.0) if a.quick else (a.rounds, a.minutes)
    page = report(a.model, weights, sounds, rounds=rounds, minutes=minutes)
    if a.quick and not a.out:
        print(page)
    else:
        pages.save(page, a.out or RESULTS)


if __name__ == "__main__":
    main()
