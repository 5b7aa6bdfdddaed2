"""RAVDESS (Livingstone and Russo, 2018): names such as 03-01-06-01-02-01-12.wav."""

from collections import Counter
import pathlib
import re

from jser import emotions
from jser.corpora.draft import Draft, sound_files
from jser.corpora.utterances import Utterance

_NAME = re.compile(r"(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)")
_STATEMENTS = {
    "01": "Kids are talking by the door",
    "02": "Dogs are sitting by the door",
}


def read(source: pathlib.Path) -> Draft:
    """Reads the spoken utterances of the 24 actors; songs are counted as excluded.

    Raises:
      ValueError: if a sound file is not named as the corpus names them.
    """
    rows, excluded = [], Counter()
    for path in sound_files(source):
        name = _NAME.fullmatch(path.stem)
        if not name or name[3] not in emotions.RAVDESS or name[5] not in _STATEMENTS:
            raise ValueError(
                f"{path}: not a RAVDESS name such as 03-01-06-01-02-01-12."
            )
        _, channel, emotion, _, statement, _, actor = name.groups()
        if channel == "02":
            excluded["sung"] += 1
            continue
        rows.append(
            Utterance(
                utt_id=path.stem,
                file=path.relative_to(source).as_posix(),
                emotion=emotions.RAVDESS[emotion],
                speaker=actor,
                gender="male" if int(actor) % 2 else "female",
                transcript=_STATEMENTS[statement],
                transcript_source="corpus",
            )
        )
    return Draft(rows=rows, audio_root=source, excluded=excluded)
