"""A folder with one subfolder per emotion, the layout of many small corpora."""

import pathlib

from absl import logging

from jser.corpora.draft import Draft, is_hidden, sound_files
from jser.corpora.utterances import Utterance


def read(source: pathlib.Path) -> Draft:
    """Reads `<emotion>/**/<sound file>`; speakers and words are not known.

    The log names the subfolders without a sound, which become no emotion.

    Raises:
      ValueError: if a sound file lies beside the subfolders.
    """
    rows = []
    for path in sound_files(source):
        file = path.relative_to(source)
        if len(file.parts) < 2:
            raise ValueError(
                f"{path}: lies in no emotion's subfolder of {source}. Make a folder for"
                " each emotion, or write a CSV (--corpus csv)."
            )
        rows.append(
            Utterance(
                utt_id=file.with_suffix("").as_posix(),
                file=file.as_posix(),
                emotion=file.parts[0],
            )
        )
    emotions = {u.emotion for u in rows}
    folders = {p.name for p in source.iterdir() if p.is_dir() and not is_hidden(p)}
    if silent := sorted(folders - emotions):
        logging.warning("%s: no sound files in %s.", source, ", ".join(silent))
    return Draft(rows=rows, audio_root=source)
