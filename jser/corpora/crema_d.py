"""CREMA-D (Cao et al., 2014): names such as 1001_DFA_ANG_XX.wav."""

import pathlib
import re

from jser import emotions
from jser.corpora import csv_rows, ratings
from jser.corpora.draft import Draft, sound_files
from jser.corpora.ratings import Rating
from jser.corpora.utterances import Utterance

_NAME = re.compile(r"(\d{4})_([A-Z]{3})_([A-Z]{3})_[A-Z]{1,2}")
_SENTENCES = {
    "IEO": "It's eleven o'clock.",
    "TIE": "That is exactly what happened.",
    "IOM": "I'm on my way to the meeting.",
    "IWW": "I wonder what this is about.",
    "TAI": "The airplane is almost full.",
    "MTI": "Maybe tomorrow it will be cold.",
    "IWL": "I would like a new alarm clock.",
    "ITH": "I think I have a doctor's appointment.",
    "DFA": "Don't forget a jacket.",
    "ITS": "I think I've seen this before.",
    "TSI": "The surface is slick.",
    "WSI": "We'll stop in a couple of minutes.",
}


def read(source: pathlib.Path, *, keep_no_agreement: bool = False) -> Draft:
    """Reads the 91 actors' utterances below `source`.

    Genders come from `VideoDemographics.csv` where the corpus has it.

    Args:
      source: The corpus's top folder.
      keep_no_agreement: Keeps what raters heard in the voice alone. The emotion is that
        acted, so that no utterance is without.

    Raises:
      ValueError: if a sound file is not named as the corpus names them; if the votes
        are to be kept and cannot be read.
    """
    gender = {}
    demographics = source / "VideoDemographics.csv"
    if demographics.exists():
        cells = csv_rows.read_csv(demographics, required=("ActorID", "Sex"))
        gender = {row["ActorID"]: row["Sex"].lower() for row in cells}
    rows = []
    for path in sound_files(source):
        name = _NAME.fullmatch(path.stem)
        if not name or name[3] not in emotions.CREMA_D or name[2] not in _SENTENCES:
            raise ValueError(f"{path}: not a CREMA-D name such as 1001_DFA_ANG_XX.")
        actor, sentence, emotion = name.groups()
        rows.append(
            Utterance(
                utt_id=path.stem,
                file=path.relative_to(source).as_posix(),
                emotion=emotions.CREMA_D[emotion],
                speaker=actor,
                gender=gender.get(actor, ""),
                transcript=_SENTENCES[sentence],
                transcript_source="corpus",
            )
        )
    if keep_no_agreement:
        rows = ratings.add(rows, _voice_ratings(source), source)
    return Draft(rows=rows, audio_root=source)


def _voice_ratings(source: pathlib.Path) -> dict[str, list[Rating]]:
    """What raters heard in the voice alone, by clip.

    The first column of `tabulatedVotes.csv`, which has no name, is 100000 times the
    query's type, 1 for the voice, plus the clip's number (`tabulateVotesV2.r`).
    """
    path = source / "processedResults" / "tabulatedVotes.csv"
    if not path.exists():
        raise ValueError(
            f"{path}: not there, and --keep_no_agreement needs the votes. Copy it from"
            " the corpus's repository, or leave the flag out."
        )
    codes = {code[0]: emotion for code, emotion in emotions.CREMA_D.items()}
    said = {}
    for row in csv_rows.read_csv(path, required=("fileName", *codes)):
        name = row["fileName"]
        try:
            query = int(row.get("", "")) // 100_000
            count = {emotion: int(row[code]) for code, emotion in codes.items()}
        except ValueError as e:
            raise ValueError(
                f"{path}: {name}: {e}. The first column, which has no name, and the"
                f" votes {', '.join(codes)} are whole numbers."
            ) from e
        if query == 1:
            said[name] = [Rating(e, ()) for e, n in count.items() for _ in range(n)]
    return said
