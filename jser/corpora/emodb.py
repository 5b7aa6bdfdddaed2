"""EMO-DB (Burkhardt et al., 2005): everything is in the file names, such as 03a01Wa."""

import pathlib
import re

from jser import emotions
from jser.corpora.draft import Draft, sound_files
from jser.corpora.utterances import Utterance

_NAME = re.compile(r"(?P<speaker>\d\d)(?P<sentence>[ab]\d\d)(?P<emotion>[A-Z])[a-z]")
_MALE = ("03", "10", "11", "12", "15")
_SENTENCES = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen.",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes"
    " besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}


def read(source: pathlib.Path) -> Draft:
    """Reads the ten speakers' recordings anywhere below `source`.

    Raises:
      ValueError: if a sound file is not named as the corpus names them.
    """
    rows = []
    for path in sound_files(source):
        name = _NAME.fullmatch(path.stem)
        if (
            not name
            or name["emotion"] not in emotions.EMODB
            or name["sentence"] not in _SENTENCES
        ):
            raise ValueError(f"{path}: not an EMO-DB name such as 03a01Wa.")
        rows.append(
            Utterance(
                utt_id=path.stem,
                file=path.relative_to(source).as_posix(),
                emotion=emotions.EMODB[name["emotion"]],
                speaker=name["speaker"],
                gender="male" if name["speaker"] in _MALE else "female",
                transcript=_SENTENCES[name["sentence"]],
                transcript_source="corpus",
            )
        )
    return Draft(rows=rows, audio_root=source)
