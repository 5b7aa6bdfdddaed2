"""A folder with one subfolder per emotion, the layout of many small corpora."""

import pathlib

from jser.corpora.draft import Draft, sound_files
from jser.corpora.tables import Utterance


def read(source: pathlib.Path) -> Draft:
    """Reads `<emotion>/**/<sound file>`; speakers and words are not known.

    Raises:
      ValueError: if a sound file lies beside the subfolders.
    """
    rows = []
    for path in sound_files(source):
        file = path.relative_to(source)
        if len(file.parts) < 2:
            raise ValueError(f"{path}: lies in no emotion's subfolder of {source}.")
        rows.append(
            Utterance(
                utt_id=file.with_suffix("").as_posix(),
                file=file.as_posix(),
                emotion=file.parts[0],
            )
        )
    return Draft(rows=rows, audio_root=source)
