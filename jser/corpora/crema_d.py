"""CREMA-D (Cao et al., 2014): names such as 1001_DFA_ANG_XX.wav."""

import pathlib
import re

from jser import emotions
from jser.corpora import csv_rows
from jser.corpora.draft import Draft, sound_files
from jser.corpora.tables import Utterance

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


def read(source: pathlib.Path) -> Draft:
    """Reads the 91 actors' utterances below `source`.

    Genders come from `VideoDemographics.csv` where the corpus has it.

    Raises:
      ValueError: if a sound file is not named as the corpus names them.
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
    return Draft(rows=rows, audio_root=source)
