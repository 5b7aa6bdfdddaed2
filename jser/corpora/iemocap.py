"""IEMOCAP (Busso et al., 2008), as `IEMOCAP_full_release`."""

from collections import Counter
import pathlib
import re

from jser import emotions
from jser.corpora import tables
from jser.corpora.draft import Draft
from jser.corpora.tables import Utterance

# [6.2901 - 8.2357]	Ses01F_impro01_F000	neu	[2.5000, 2.5000, 2.5000]
_LABEL = re.compile(
    r"\[[\d. -]+\]\t(?P<name>(?P<dialog>Ses(?P<session>\d\d)[FM]_\w+)_(?P<sex>[FM])\d+)"
    r"\t(?P<emotion>\w+)\t\[(?P<valence>[\d.]+), (?P<arousal>[\d.]+),"
    r" (?P<dominance>[\d.]+)\]"
)
_TRANSCRIPT = re.compile(r"(?P<name>Ses\w+) \[[\d. -]+\]: (?P<text>.*)")


def read(source: pathlib.Path) -> Draft:
    """Reads the five sessions; each is a cross-validation fold, as is usual.

    Turns without agreement and those marked "other" are counted as excluded.

    Raises:
      ValueError: if there are no label files or one holds an unknown emotion.
    """
    label_files = sorted(source.glob("Session*/dialog/EmoEvaluation/Ses*.txt"))
    if not label_files:
        raise ValueError(f"{source}: no Session*/dialog/EmoEvaluation/Ses*.txt.")
    rows, excluded = [], Counter()
    for path in label_files:
        transcript = _transcripts(path)
        for label in _LABEL.finditer(path.read_text(encoding="latin-1")):
            if reason := emotions.IEMOCAP_EXCLUDED.get(label["emotion"]):
                excluded[reason] += 1
                continue
            if label["emotion"] not in emotions.IEMOCAP:
                raise ValueError(f"{path}: unknown emotion {label['emotion']!r}.")
            session = int(label["session"])
            rows.append(
                Utterance(
                    utt_id=label["name"],
                    file=f"Session{session}/sentences/wav/{label['dialog']}"
                    f"/{label['name']}.wav",
                    emotion=emotions.IEMOCAP[label["emotion"]],
                    speaker=f"Ses{label['session']}{label['sex']}",
                    gender={"M": "male", "F": "female"}[label["sex"]],
                    split=tables.CROSS_VALIDATED,
                    fold=session - 1,
                    transcript=transcript.get(label["name"], ""),
                    transcript_source="corpus",
                    valence=float(label["valence"]),
                    arousal=float(label["arousal"]),
                    dominance=float(label["dominance"]),
                )
            )
    return Draft(rows=rows, audio_root=source, excluded=excluded)


def _transcripts(label_file: pathlib.Path) -> dict[str, str]:
    path = label_file.parents[1] / "transcriptions" / label_file.name
    if not path.exists():
        return {}
    lines = _TRANSCRIPT.finditer(path.read_text(encoding="latin-1"))
    return {line["name"]: line["text"] for line in lines}
