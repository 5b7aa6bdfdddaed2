"""Races an epoch, loader and all, against the authors' loop in PyTorch.

  python -m benchmarks.epoch                     # hidden 512, 256 utterances
  python -m benchmarks.epoch --utterances 2048   # a quarter of an hour a round
  python -m benchmarks.epoch --quick             # small; a minute, and says little
  python -m benchmarks.epoch --members 1 12 --precision bf16 --resident

The last one is for a GPU, which both sides take where there is one.

Theirs: one `.pt` of float32 per utterance and stream, random batches of 64, padded to
their longest. Ours: the store as `extract` writes it, the paper's recipe. Features are
generated, with MSP-Podcast's lengths. The sides alternate in one process, on all of its
cores; read the ratios, as other work may run beside. The figures go to
benchmarks/results/epoch.md.
"""

import argparse
from collections.abc import Callable, Sequence
import dataclasses
import os
import pathlib
import platform
import sys
import tempfile
import time

from absl import flags
import jax
import numpy as np
import torch

from benchmarks import msp_podcast, pages, peer
from jser import devices, recipes
from jser.corpora import tables
from jser.corpora.tables import Table
from jser.corpora.utterances import Utterance
from jser.data import batches
from jser.data.corpus import Corpus
from jser.data.members import MemberBatches
from jser.data.padding import LengthBuckets
from jser.emotions import MSP_PODCAST
from jser.features import shards, store, writer
from jser.features.frontends import Spec
from jser.training import together
from jser.training.class_weights import weights_of
from jser.training.progress import PrefetchIterator
from jser.training.setup import TrainingSetup, reside
from jser.training.step import jitted_step

RESULTS = pathlib.Path(__file__).parent / "results" / "epoch.md"
WIDTHS = {"speech": 1280, "text": 1024}  # Whisper or HuBERT, RoBERTa.
SHARD = 128  # Utterances.
EMOTIONS = tuple(MSP_PODCAST.values())
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"  # PyTorch's.


@dataclasses.dataclass(frozen=True)
class Store:
    """The same utterances as both sides keep them."""

    corpus: Corpus
    tensors: pathlib.Path  # `<utt_id>.<stream>.pt`.


def make_store(home: pathlib.Path, count: int, buckets: int | None = None) -> Store:
    """Generates `count` utterances, all of the train split."""
    rng = np.random.default_rng(0)
    length = msp_podcast.lengths(count, rng)
    emotion = rng.permutation(np.resize(EMOTIONS, count))
    table = Table(
        utterances=tuple(
            Utterance(utt_id=f"u{i:06}", file=f"u{i:06}.wav", emotion=e, split="train")
            for i, e in enumerate(map(str, emotion))
        ),
        labels=EMOTIONS,
        audio_root=".",
    )
    tensors = home / "tensors"
    tensors.mkdir(parents=True)
    drawn = rng.standard_normal(2**22 + 7, np.float32).astype(np.float16)
    streams = {}
    for s, width in WIDTHS.items():
        spec = Spec(name=f"generated_{s}", kind=s, width=width)
        parts = []
        for start in range(0, count, SHARD):
            some = table.utterances[start : start + SHARD]
            T = length[s][start : start + SHARD]
            frames = np.resize(np.roll(drawn, start), (T.sum(), width))
            each = np.split(frames, T.cumsum()[:-1])
            for u, x in zip(some, each, strict=True):
                tensor = torch.from_numpy(x.astype(np.float32))
                torch.save(tensor, tensors / f"{u.utt_id}.{s}.pt")
            parts.append(home / "parts" / f"{s}_{start}.npz")
            shards.Part(
                utt_id=np.array([u.utt_id for u in some]),
                digest=np.array([tables.input_digest(u, s) for u in some]),
                content=np.array([shards.content_digest(x) for x in each]),
                length=T,
                start=np.zeros_like(T),
                stop=np.zeros_like(T),
                frames=frames,
                failures={},
            ).save(parts[-1])
        folder = store.dataset_folder(home, "generated", spec.name)
        writer.write(folder, spec, parts, {})
        streams[s] = store.FeatureSet(folder)
    data = recipes.paper("epoch", epochs=1, speech="", text="").data
    length = {s: f.length for s, f in streams.items()}
    padded = LengthBuckets.of(length, buckets or data.length_buckets)
    return Store(Corpus(table, streams, padded, data), tensors)


def ours(
    store: Store, members: int, hidden: int, precision: str, resident: bool
) -> Callable[[], None]:
    """An epoch of `members` runs that differ in seed, in one step where several."""
    setups = []
    for seed in range(members):
        c = recipes.paper(f"seed{seed}", epochs=1, speech="", text="")
        c.data.dev_split, c.model.hidden, c.seed = "", hidden, seed
        c.precision = precision
        corpus = dataclasses.replace(store.corpus, config=c.data)
        setups.append(TrainingSetup.of(c.check(), corpus))
    config, states = setups[0].step_config, [s.fresh for s in setups]
    rows = setups[0].source.batch_size
    layout = devices.Layout.of(rows, None if members == 1 else members)
    setups = reside(setups, layout) if resident else setups
    if members == 1:
        source, numbers = setups[0].source, setups[0].hyperparameters
        step, extra = jitted_step(config), ()
    else:
        source = MemberBatches([s.source for s in setups])
        numbers = together.stacked(*[s.hyperparameters for s in setups])
        step, extra = together.together_step(config), (np.ones(members, bool),)

    def epoch() -> None:
        state = together.stacked(*states) if members > 1 else copy(states[0])
        prefetched = PrefetchIterator(batches.prefetch(source, layout, start=0))
        for batch in prefetched:
            state, scalars = step(state, batch, numbers, *extra)
            prefetched.started(scalars["loss"])
        jax.block_until_ready(state)
        epoch.data_wait_s = prefetched.waited_s

    return epoch


def feeding(store: Store) -> str:
    """What a batch takes to read and to send, and to tell by numbers instead."""
    c = recipes.paper("feeding", epochs=1, speech="", text="")
    c.data.dev_split = ""
    corpus = dataclasses.replace(store.corpus, config=c.data)
    sent = TrainingSetup.of(c.check(), corpus)
    (told,) = reside([sent], devices.Layout.of(sent.source.batch_size))
    each = []
    for source in (sent.source, told.source):
        began = time.perf_counter()
        made = [source[i] for i in range(min(len(source), 16))]
        ms = 1e3 * (time.perf_counter() - began) / len(made)
        mb = sum(x.nbytes for x in jax.tree.leaves(made)) / len(made) / 1e6
        each.append(f"{mb:.2f} MB, made in {ms:.1f} ms")
    return (
        f"A batch is {each[0]} of one thread; where frames stay on the devices"
        f" (`--resident`), {each[1]}."
    )


def copy(state):
    """Steps give their state's memory away."""
    return jax.tree.map(lambda x: x.copy(), state)


def theirs(store: Store, hidden: int, batch_size: int = 64) -> Callable[[], None]:
    """An epoch of the authors' loop."""
    torch.manual_seed(0)
    network = peer.Network(list(WIDTHS.values()), hidden, len(EMOTIONS)).to(DEVICE)
    optimizer = peer.optimizer_of(network)
    split = store.corpus.train()
    label = torch.from_numpy(split.label).long()
    weight = torch.from_numpy(
        weights_of(np.bincount(split.label, minlength=len(EMOTIONS)))
    ).to(DEVICE)

    class Utterances(torch.utils.data.Dataset):
        def __len__(self):
            return len(split)

        def __getitem__(self, i):
            name = store.tensors / split.utterances[i].utt_id
            return [torch.load(f"{name}.{s}.pt") for s in WIDTHS], label[i]

    def collate(examples):
        frames, labels = zip(*examples, strict=True)
        pad = torch.nn.utils.rnn.pad_sequence
        streams = [pad(list(x), batch_first=True) for x in zip(*frames, strict=True)]
        return streams, torch.stack(labels)

    loader = torch.utils.data.DataLoader(
        Utterances(), batch_size, shuffle=True, collate_fn=collate
    )

    def epoch() -> None:
        network.train()
        for streams, labels in loader:
            moved = [x.to(DEVICE) for x in streams]
            peer.train_step(network, optimizer, moved, labels.to(DEVICE), weight)

    return epoch


def seconds_of(epoch: Callable[[], None]) -> tuple[float, float]:
    """Wall and processor time of an epoch."""
    began = time.perf_counter(), time.process_time()
    epoch()
    return time.perf_counter() - began[0], time.process_time() - began[1]


def race(
    store: Store,
    hidden: int,
    members: Sequence[int],
    repeats: int,
    precision: str,
    resident: bool,
) -> list[str]:
    """Rows of the table: epochs of either side in turn, compiled before."""
    sides = {"torch": theirs(store, hidden)}
    sides |= {
        f"jser, {m} together": ours(store, m, hidden, precision, resident)
        for m in members
    }
    compiling_s = {}
    for name, epoch in sides.items():
        if name != "torch":  # An epoch that does not count.
            compiling_s[name], _ = seconds_of(epoch)
            print(f"{name}: compiled in {compiling_s[name]:.0f} s", flush=True)
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, epoch in sides.items():
            taken[name].append(seconds_of(epoch))
    N, rows = len(store.corpus.table.utterances), []
    for name, epoch in sides.items():
        m = 1 if name == "torch" else int(name.split()[1])
        wall_s, cpu_s = np.median(taken[name], axis=0)
        pairs = zip(taken["torch"], taken[name], strict=True)
        ratio = m * np.median([np.divide(a, b) for a, b in pairs], axis=0)
        waited = getattr(epoch, "data_wait_s", None)
        share = "-" if waited is None else f"{waited / taken[name][-1][0]:.1%}"
        rows.append(
            f"| {hidden} | {N} | {name} | {m * N / wall_s:.1f} |"
            f" {1e3 * cpu_s / (m * N):.0f} | **{ratio[0]:.2f}** | {ratio[1]:.2f} |"
            f" {share} | {compiling_s.get(name, 0):.0f} |"
        )
        print(rows[-1], flush=True)
    return rows


def page(rows: Sequence[str], store: Store) -> str:
    """The results as Markdown."""
    split, buckets = store.corpus.train(), store.corpus.buckets
    load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    real = {s: int(n.sum()) for s, n in split.length.items()}
    lines = [
        "# An epoch, loader and all\n",
        f"Made by `{' '.join(['python -m benchmarks.epoch', *sys.argv[1:]])}`; its"
        " docstring says what races."
        " Utterances count once a member that is trained on them. Data wait is the"
        " share of the epoch in which no step ran for want of a batch, at most.\n",
        "| hidden | utterances | side | utterances/s | CPU ms/utterance |"
        " ratio to torch | ratio of CPU time | data wait |"
        " first epoch, with compilation, s |",
        "|---|---|---|---|---|---|---|---|---|",
        *rows,
        "",
        feeding(store),
        "",
        f"Frames: {real['speech'] / len(split):.0f} of speech and"
        f" {real['text'] / len(split):.0f} of text an utterance; padded lengths"
        f" {', '.join(map(str, buckets.frames['speech']))}.",
        f"{jax.devices()[0].device_kind}: jax {jax.__version__}, torch"
        f" {torch.__version__}, Python"
        f" {platform.python_version()}, {platform.machine()}, {cores} cores,"
        f" {torch.get_num_threads()} threads in PyTorch; load {load:.1f} at the end, so"
        f" other work {'ran' if load > cores + 1 else 'hardly ran'} beside.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Parses flags, races, writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--utterances", type=int, default=256)
    parser.add_argument("--hidden", type=int, nargs="+", default=[512])
    parser.add_argument("--members", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--precision", default="float32", help="ours")
    parser.add_argument("--resident", action="store_true", help="frames stay there")
    parser.add_argument("--buckets", type=int, help="padded lengths, by default 6")
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--out", type=pathlib.Path, default=RESULTS)
    a = parser.parse_args()
    if a.quick:
        a.utterances, a.hidden, a.members, a.repeats = 64, [16], [1, 2], 1
    flags.FLAGS.mark_as_parsed()  # grain reads absl flags.
    with tempfile.TemporaryDirectory() as home:
        store = make_store(pathlib.Path(home), a.utterances, a.buckets)
        rows = [
            row
            for H in a.hidden
            for row in race(store, H, a.members, a.repeats, a.precision, a.resident)
        ]
        found = page(rows, store)
    pages.save(found, a.out)


if __name__ == "__main__":
    main()
