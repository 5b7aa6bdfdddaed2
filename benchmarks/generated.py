"""Generated corpora on disk: a table and the frames of its streams."""

from collections.abc import Callable, Sequence
import pathlib
import shutil

import numpy as np

from jser import files
from jser.corpora import tables
from jser.corpora.tables import Table
from jser.corpora.utterances import Utterance
from jser.emotions import MSP_PODCAST
from jser.features import shards, store, writer
from jser.features.spec import Spec
from jser.roots import Roots

CORPUS = "generated"
SPEAKS = 30  # Utterances of a speaker.
# By names that take any width: what made their frames is not asked for.
SPECS = {
    "speech": Spec(name="hubert", kind="speech", width=8, weights=CORPUS),
    "text": Spec(name="roberta", kind="text", width=8, weights=CORPUS),
}


def roots_of(home: pathlib.Path) -> Roots:
    """Where all that is generated lies."""
    return Roots(data=home / "data", features=home / "features", runs=home / "runs")


def make_table(home: pathlib.Path, count: int, *, seconds: float = 5.0) -> Table:
    """Writes a table: of ten speakers eight in train, in five folds, and two aside."""
    labels = tuple(MSP_PODCAST.values())
    rng = np.random.default_rng(0)
    emotion = rng.permutation(np.resize(labels, count)).tolist()
    rows = []
    for i in range(count):
        speaker = i // SPEAKS
        split = {8: "dev", 9: "test"}.get(speaker % 10, "train")
        rows.append(
            Utterance(
                utt_id=f"u{i:06}",
                file=f"s{speaker}/u{i:06}.wav",
                emotion=emotion[i],
                speaker=f"s{speaker}",
                gender=("female", "male")[speaker % 2],
                split=split,
                fold=speaker % 5 if split == "train" else None,
                transcript=f"utterance number {i}",
                seconds=seconds + i % 4,
                sha256=files.digest(str(i)),
            )
        )
    table = Table(utterances=tuple(rows), labels=labels, audio_root=".", source=CORPUS)
    return tables.write(table, roots_of(home).data / CORPUS)


def make_features(
    home: pathlib.Path,
    table: Table,
    spec: Spec,
    frames: Callable[[int], Sequence[np.ndarray]],
) -> None:
    """Writes a stream's dataset by the writer that extraction uses.

    Args:
      home: Where it is to lie, below `features`.
      table: Whose utterances.
      spec: Of the stream.
      frames: Gives those of so many utterances.
    """
    cut = shards.cut(table, spec, home / "parts")
    for shard in cut:
        shard.save([""] * len(shard.rows), list(frames(len(shard.rows))))
    folder = store.dataset_folder(roots_of(home).features, CORPUS, spec.name)
    writer.write(folder, spec, [s.path for s in cut], {})
    shutil.rmtree(home / "parts")
