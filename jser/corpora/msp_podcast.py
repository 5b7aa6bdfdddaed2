"""MSP-Podcast (Lotfian and Busso, 2019), the corpus of the paper."""

from collections import Counter, defaultdict
import pathlib
import re

from absl import logging

from jser import emotions, files
from jser.corpora import csv_rows, ratings, utterances
from jser.corpora.draft import NO_VOTE, Draft, is_hidden
from jser.corpora.ratings import Rating

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
_ATTRIBUTE = re.compile(r"\s*[AVD]:")


def read(source: pathlib.Path, *, keep_no_agreement: bool = False) -> Draft:
    """Reads `Labels/labels_consensus.csv` and what lies beside it.

    Rows without a majority (X) and those of another emotion (O) are counted as
    excluded. `Labels/labels_detailed.csv`, where there is one, gives the annotators'
    votes; `Transcripts/<name>.txt` the words. Sounds named `MSP-PODCAST_test3_*` that
    no label file knows become the unlabelled split test3; others are excluded.

    Args:
      source: The corpus's top folder.
      keep_no_agreement: Keeps what each worker said, and rows of X and O that have a
        vote for one of the eight emotions, without an emotion.

    Raises:
      ValueError: if the label file lacks a column, or a code or split is unknown; if
        rows are to be kept and there is no `labels_detailed.csv`.
    """
    path = source / "Labels" / "labels_consensus.csv"
    if not path.exists():
        raise ValueError(f"{path}: not there; --source is the corpus's top folder.")
    said = _ratings(source / "Labels", needed=keep_no_agreement)
    audio_root = source / "Audios"
    texts = source / "Transcripts"
    rows, excluded, known = [], Counter(), set()
    for cells in csv_rows.read_csv(path, required=_COLUMNS):
        name, code = cells["FileName"], cells["EmoClass"]
        known.add(name)
        heard = said.get(name, [])
        votes = ratings.primary_votes(heard, _LABELS)
        if reason := emotions.MSP_PODCAST_EXCLUDED.get(code):
            if not (keep_no_agreement and votes):
                excluded[f"{reason}{NO_VOTE if keep_no_agreement else ''}"] += 1
                continue
        elif code not in emotions.MSP_PODCAST:
            raise ValueError(f"{path}: {name}: unknown EmoClass {code!r}.")
        if cells["Split_Set"] not in _SPLITS:
            raise ValueError(f"{path}: {name}: unknown split {cells['Split_Set']!r}.")
        u = utterances.parse(
            {
                "utt_id": name.removesuffix(".wav"),
                "file": name,
                "emotion": emotions.MSP_PODCAST.get(code, ""),
                "speaker": _known(cells["SpkrID"]),
                "gender": _known(cells["Gender"]).lower(),
                "split": _SPLITS[cells["Split_Set"]],
                "arousal": cells["EmoAct"],
                "valence": cells["EmoVal"],
                "dominance": cells["EmoDom"],
                "votes": votes,
                "ratings": ratings.text(heard) if keep_no_agreement else "",
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
        rows.append(utterances.parse(cells, str(path)))
    return Draft(rows=rows, audio_root=audio_root, labels=_LABELS, excluded=excluded)


def _known(cell: str) -> str:
    return "" if cell.lower() == "unknown" else cell


def _transcript(folder: pathlib.Path, name: str) -> dict[str, str]:
    path = folder / f"{name.removesuffix('.wav')}.txt"
    if not path.exists():
        return {}
    text = files.read_text(path).strip()
    return {"transcript": text, "transcript_source": "corpus"}


def _ratings(labels: pathlib.Path, *, needed: bool) -> dict[str, list[Rating]]:
    """What each worker said of the eight emotions, by file name.

    Others have no class here: the log counts them.
    """
    path = labels / "labels_detailed.csv"
    if (labels / "labels.txt").exists():
        votes = (
            f"the votes are {path.name}'s" if path.exists() else "there are no votes"
        )
        logging.warning("%s: not read; %s.", labels / "labels.txt", votes)
    if not path.exists():
        if needed:
            raise ValueError(
                f"{path}: not there, and --keep_no_agreement needs what each worker"
                " said. Put it beside labels_consensus.csv, or leave the flag out."
            )
        return {}
    said, primary, secondary = defaultdict(list), Counter(), Counter()
    for cells in csv_rows.read_csv(path, required=("FileName",)):
        rating = _rating(cells, path)
        said[cells["FileName"]].append(rating)
        primary[rating.primary] += rating.primary not in _LABELS
        secondary.update(e for e in rating.secondary if e not in _LABELS)
    _tell(path, "votes", primary)
    if needed:
        _tell(path, "secondary emotions", secondary)
    return {name: ratings.within(heard, _LABELS) for name, heard in said.items()}


def _rating(cells: dict[str, str], path: pathlib.Path) -> Rating:
    """A row of `labels_detailed.csv`, in either of its layouts; see docs/table.md."""
    if "EmoClass_Major" in cells:
        primary, secondary = cells["EmoClass_Major"], cells.get("EmoClass_Second", "")
    elif "EmoDetail" in cells:
        # WORKER00000057; Happy; Happy,Amused; A:5.000000; V:6.000000; D:4.000000;
        _, *said = cells["EmoDetail"].split(";")
        said = [part for part in said if not _ATTRIBUTE.match(part)] or [""]
        primary, secondary = said[0], ",".join(said[1:])
    else:
        raise ValueError(
            f"{path}: no column EmoClass_Major, nor EmoDetail; the header is"
            f" {', '.join(cells)}."
        )
    words = (word.strip().lower() for word in secondary.split(","))
    return Rating(primary.strip().lower(), tuple(word for word in words if word))


def _tell(path: pathlib.Path, what: str, others: Counter[str]) -> None:
    if others := +others:
        some = ", ".join(repr(e) for e, _ in others.most_common(3))
        logging.info("%s: %d %s left out, as %s.", path, others.total(), what, some)
