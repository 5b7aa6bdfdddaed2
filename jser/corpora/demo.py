"""The demo corpus: synthetic speech, made on the spot, whose truth is known.

Nothing in it is real: `voice.py` babbles, and emotion is a table of shifts in pitch,
rate, level and voice quality, drawn with enough spread that classes overlap. Words
betray the emotion in part. Both streams carry signal that the other lacks, so two of
them must beat each alone; that makes it a test corpus too.
"""

import csv
import dataclasses
import io
import pathlib
import sys

import numpy as np
import soundfile
from tqdm import tqdm

from jser import emotions, files
from jser.corpora import csv_table, voice
from jser.corpora.draft import Draft

SPEAKERS = 12
UTTERANCES_PER_EMOTION = 5  # Of each speaker.
_TABLE = "synthetic.csv"

# Shifts from the speaker's own manner: pitch in semitones, pitch range as a factor,
# final movement in semitones, rate as a factor, level in dB, corner of the glottal
# low-pass in octaves, breath, jitter.
_EMOTION = {
    "angry": (4.0, 1.4, -2.0, 1.12, 6.0, 1.2, 0.00, 0.010),
    "sad": (-3.0, 0.5, -1.0, 0.80, -6.0, -1.0, 0.15, 0.005),
    "happy": (5.0, 1.6, 1.0, 1.08, 3.0, 0.5, 0.02, 0.000),
    "surprise": (6.0, 1.9, 6.0, 1.00, 2.0, 0.0, 0.05, 0.000),
    "fear": (6.0, 0.8, 1.0, 1.25, -2.0, -0.4, 0.14, 0.030),
    "disgust": (-2.0, 0.9, -3.0, 0.85, 0.0, -0.3, 0.03, 0.020),
    "contempt": (-1.0, 0.7, -3.0, 0.95, -1.0, 0.4, 0.00, 0.000),
    emotions.NEUTRAL: (0.0, 1.0, 0.0, 1.00, 0.0, 0.0, 0.00, 0.000),
}
_SPREAD = (1.6, 0.20, 1.5, 0.07, 2.0, 0.40, 0.03, 0.004)

_PHRASES = {
    "angry": ("stop doing that", "this is unfair", "leave me alone", "how dare you"),
    "sad": ("i miss her", "it hurts so much", "we lost it all", "nobody came"),
    "happy": ("what a lovely day", "i love it", "we did it", "so much fun"),
    "surprise": ("oh really", "i had no idea", "is that true", "out of nowhere"),
    "fear": ("please help", "something is there", "i am scared", "we must run"),
    "disgust": ("that smells awful", "so gross", "take it away", "it makes me sick"),
    "contempt": ("as if he could", "how very clever", "typical of them", "who cares"),
    emotions.NEUTRAL: ("at ten past nine", "as planned", "on page two", "by the way"),
}
_SUBJECTS = ("the train", "my sister", "the letter", "our friend", "the man", "it")
_VERBS = ("came to", "was in", "went by", "is near", "stood at", "waits in")
_PLACES = ("the house", "the city", "the garden", "a small room", "the old school")
_OWN_PHRASE, _OTHER_PHRASE = 0.55, 0.12  # How often words tell, and how often they lie.


def make(folder: pathlib.Path, *, seed: int) -> None:
    """Synthesises the corpus into `folder`: wav files and, last, `synthetic.csv`."""
    rows = []
    plan = [
        (speaker, emotion, take)
        for speaker in range(SPEAKERS)
        for emotion in _EMOTION
        for take in range(UTTERANCES_PER_EMOTION)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    for speaker, emotion, take in tqdm(plan, desc="synthesising", unit="utterance"):
        name = f"s{speaker:02d}_{emotion}_{take}"
        text = _say(folder / f"{name}.wav", speaker, emotion, take, seed=seed)
        gender = "female" if speaker % 2 else "male"
        rows.append((f"{name}.wav", emotion, f"s{speaker:02d}", gender, text))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("file", "emotion", "speaker", "gender", "transcript"))
    writer.writerows(rows)
    files.write_atomically(folder / _TABLE, out.getvalue())


def read(source: pathlib.Path) -> Draft:
    """Reads the corpus that `make` left in `source`."""
    draft = csv_table.read(source / _TABLE)
    draft.labels = emotions.label_set(_EMOTION)
    return draft


def _say(
    path: pathlib.Path, speaker: int, emotion: str, take: int, *, seed: int
) -> str:
    """Synthesises an utterance; returns its words."""
    index = list(_EMOTION).index(emotion)
    rng = np.random.default_rng((seed, speaker, index, take))
    text = _words(emotion, rng)
    manner = _manner(speaker, emotion, seed, rng)
    plain_s = voice.plain_seconds(text)
    rate = float(np.clip(manner.rate, plain_s / 3.6, plain_s / 1.2))  # 1 to 4 s.
    samples = voice.speak(text, dataclasses.replace(manner, rate=rate), rng)
    soundfile.write(path, samples, voice.SAMPLE_RATE_HZ)
    return text


def _words(emotion: str, rng: np.random.Generator) -> str:
    text = " ".join(str(rng.choice(w)) for w in (_SUBJECTS, _VERBS, _PLACES))
    luck = rng.random()
    if luck < _OWN_PHRASE:
        told = emotion
    elif luck < _OWN_PHRASE + _OTHER_PHRASE:
        told = str(rng.choice([e for e in _EMOTION if e != emotion]))
    else:
        return text
    phrase = str(rng.choice(_PHRASES[told]))
    return f"{phrase} {text}" if rng.random() < 0.5 else f"{text} {phrase}"


def _manner(
    speaker: int, emotion: str, seed: int, rng: np.random.Generator
) -> voice.Manner:
    """The speaker's own manner, moved by the emotion and by chance."""
    own = np.random.default_rng((seed, speaker))
    female = speaker % 2
    f0_hz = (205.0 if female else 115.0) * own.uniform(0.88, 1.14)
    formant_scale = (1.15 if female else 1.0) * own.uniform(0.94, 1.06)
    tilt_hz, breath = 1500.0 * 2 ** own.uniform(-0.5, 0.5), own.uniform(0.02, 0.08)
    rate, level_db = own.uniform(0.92, 1.08), own.uniform(-29.0, -23.0)

    intensity = rng.uniform(0.4, 1.2)
    shift = np.array(_EMOTION[emotion])
    spread = np.array(_SPREAD) * rng.standard_normal(len(_SPREAD))
    factor = np.array([0, 1, 0, 1, 0, 0, 0, 0])  # These two are factors about one.
    pitch, width, final, fast, loud, tilt, air, jitter = (
        factor + intensity * (shift - factor) + spread
    )
    return voice.Manner(
        f0_hz=f0_hz * 2 ** (pitch / 12),
        f0_range_st=2.5 * max(0.2, width),
        final_st=final,
        rate=rate * max(0.5, fast),
        level_db=min(-14.0, level_db + loud),
        tilt_hz=tilt_hz * 2**tilt,
        breath=max(0.0, breath + air),
        jitter=max(0.0, 0.004 + jitter),
        formant_scale=formant_scale,
    )


def main() -> None:
    """Synthesises an angry utterance of a voice that is not in the corpus of seed 0.

    `python -m jser.corpora.demo FILE.wav` prints its words.
    """
    print(_say(pathlib.Path(sys.argv[1]), 0, "angry", 0, seed=1))


if __name__ == "__main__":
    main()
