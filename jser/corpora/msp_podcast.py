"""MSP-Podcast (Lotfian and Busso, 2019), the corpus of the paper."""

from collections import Counter, defaultdict
import pathlib

from absl import logging

from jser import emotions, files
from jser.corpora import csv_rows, tables
from jser.corpora.draft import Draft, is_hidden

_SPLITS = {
    "Train": "train",
    "Development": "dev",
    "Test1": "test1",
    "Test2": "test2",
    "Test3": "test3",
}
_COLUMNS = (
    *("FileName", "EmoClass", "EmoAct", "EmoVal", "EmoDom"),
    *("SpkrID", "Gender", "Split_Set"),
)
_LABELS = tuple(emotions.MSP_PODCAST.values())


def read(source: pathlib.Path) -> Draft:
    """Reads `Labels/labels_consensus.csv` and what lies beside it.

    Rows without a majority (X) and those of another emotion (O) are counted as
    excluded. `Labels/labels_detailed.csv`, where there is one, gives the annotators'
    votes; `Transcripts/<name>.txt` the words. Sounds named `MSP-PODCAST_test3_*` that
    no label file knows become the unlabelled split test3; others are excluded.

    Raises:
      ValueError: if the label file lacks a column, or a code or split is unknown.
    """
    path = source / "Labels" / "labels_consensus.csv"
    if not path.exists():
        raise ValueError(f"{path}: not there; --source is the corpus's top folder.")
    votes = _votes(source / "Labels")
    audio_root = source / "Audios"
    texts = source / "Transcripts"
    rows, excluded, known = [], Counter(), set()
    for cells in csv_rows.read_csv(path, required=_COLUMNS):
        name, code = cells["FileName"], cells["EmoClass"]
        known.add(name)
        if reason := emotions.MSP_PODCAST_EXCLUDED.get(code):
            excluded[reason] += 1
            continue
        if code not in emotions.MSP_PODCAST:
            raise ValueError(f"{path}: {name}: unknown EmoClass {code!r}.")
        if cells["Split_Set"] not in _SPLITS:
            raise ValueError(f"{path}: {name}: unknown split {cells['Split_Set']!r}.")
        u = tables.parse(
            {
                "utt_id": name.removesuffix(".wav"),
                "file": name,
                "emotion": emotions.MSP_PODCAST[code],
                "speaker": _known(cells["SpkrID"]),
                "gender": _known(cells["Gender"]).lower(),
                "split": _SPLITS[cells["Split_Set"]],
                "arousal": cells["EmoAct"],
                "valence": cells["EmoVal"],
                "dominance": cells["EmoDom"],
                "votes": votes.get(name, ""),
                **_transcript(texts, name),
            },
            str(path),
        )
        rows.append(u)
    for sound in sorted(audio_root.glob("*.wav")):
        if sound.name in known or is_hidden(sound):
            continue
        if not sound.name.startswith("MSP-PODCAST_test3_"):
            excluded[f"sound file without a row in {path.name}"] += 1
            continue
        cells = {"utt_id": sound.stem, "file": sound.name, "split": "test3"}
        cells |= _transcript(texts, sound.name)
        rows.append(tables.parse(cells, str(path)))
    return Draft(rows=rows, audio_root=audio_root, labels=_LABELS, excluded=excluded)


def _known(cell: str) -> str:
    return "" if cell.lower() == "unknown" else cell


def _transcript(folder: pathlib.Path, name: str) -> dict[str, str]:
    path = folder / f"{name.removesuffix('.wav')}.txt"
    if not path.exists():
        return {}
    text = files.read_text(path).strip()
    return {"transcript": text, "transcript_source": "corpus"}


def _votes(labels: pathlib.Path) -> dict[str, str]:
    """The votes for the eight emotions, by file name; others have no class here."""
    path = labels / "labels_detailed.csv"
    if (labels / "labels.txt").exists():
        votes = (
            f"the votes are {path.name}'s" if path.exists() else "there are no votes"
        )
        logging.warning("%s: not read; %s.", labels / "labels.txt", votes)
    if not path.exists():
        return {}
    count, others = defaultdict(Counter), Counter()
    for cells in csv_rows.read_csv(path, required=("FileName", "EmoClass_Major")):
        emotion = cells["EmoClass_Major"].lower()
        if emotion in _LABELS:
            count[cells["FileName"]][emotion] += 1
        else:
            others[emotion] += 1
    if others:
        some = ", ".join(repr(e) for e, _ in others.most_common(3))
        logging.info("%s: %d votes left out, as %s.", path, others.total(), some)
    return {
        name: " ".join(f"{e}:{votes[e]}" for e in _LABELS if votes[e])
        for name, votes in count.items()
    }
