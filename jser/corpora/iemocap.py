"""IEMOCAP (Busso et al., 2008), as `IEMOCAP_full_release`."""

from collections import Counter, defaultdict
import math
import pathlib
import re

from absl import logging

from jser import emotions
from jser.corpora import ratings, tables
from jser.corpora.draft import NO_VOTE, Draft
from jser.corpora.ratings import Rating
from jser.corpora.utterances import Utterance

# [6.2901 - 8.2357]	Ses01F_impro01_F000	neu	[2.5000, 2.5000, 2.5000]
_TURN = re.compile(
    r"\[[\d. -]+\]\s+"
    r"(?P<name>(?P<dialog>Ses(?P<session>\d\d)[FM]_\w+)_(?P<sex>[FM])\d+)\s+"
    r"(?P<emotion>\w+)\s+\[(?P<valence>[^],]+),(?P<arousal>[^],]+),"
    r"(?P<dominance>[^],]+)\]"
)
# Empty lines, comments, and what each annotator said: C-E2: Neutral; ()
_NO_TURN = re.compile(r"|%.*|[AC]-\w+:.*")
# A categorical evaluator; C-F1 and C-M1 are the speakers, who judge themselves.
_EVALUATOR = re.compile(r"C-E\w*:(?P<said>[^(]*)")
_WORDS = {
    "neutral state": emotions.NEUTRAL,
    "anger": "angry",
    "frustration": "frustrated",
    "happiness": "happy",
    "sadness": "sad",
}  # Excited, surprise, fear and disgust are called as here.
_TRANSCRIPT = re.compile(r"(?P<name>Ses\w+)[ \t]+\[[\d. -]+\]:[ \t]*(?P<text>.*)")


def read(source: pathlib.Path, *, keep_no_agreement: bool = False) -> Draft:
    """Reads the five sessions; each is a cross-validation fold, as is usual.

    Turns without agreement and those marked "other" are counted as excluded; so are
    label lines that cannot be read, and sound files of which no line tells.

    Args:
      source: The corpus's top folder.
      keep_no_agreement: Keeps what each evaluator said, and turns without agreement or
        of another emotion that have a vote for an emotion, without one. What speakers
        said of themselves (C-F1, C-M1) is no vote.

    Raises:
      ValueError: if there are no label files or one holds an unknown emotion.
    """
    label_files = sorted(source.glob("Session*/dialog/EmoEvaluation/Ses*.txt"))
    if not label_files:
        raise ValueError(f"{source}: no Session*/dialog/EmoEvaluation/Ses*.txt.")
    rows, excluded, named = [], Counter(), set()
    reasons, said = {}, defaultdict(list)
    for path in label_files:
        transcript = _transcripts(path)
        lines = path.read_text(encoding="latin-1").splitlines()
        name = ""  # Of the turn that evaluations belong to; an empty line ends it.
        for number, line in enumerate(map(str.strip, lines), 1):
            if _NO_TURN.fullmatch(line):
                name = name if line else ""
                if name and (evaluator := _EVALUATOR.match(line)):
                    said[name].append(_rating(evaluator["said"]))
                continue
            turn, name = _TURN.fullmatch(line), ""
            if not turn or not (u := _utterance(turn, path, transcript)):
                excluded["label line that cannot be read"] += 1
                logging.warning("%s: line %d left out: %r.", path, number, line)
                continue
            name = u.utt_id
            named.add(u.file)
            reason = emotions.IEMOCAP_EXCLUDED.get(turn["emotion"])
            if reason and not keep_no_agreement:
                excluded[reason] += 1
                continue
            rows.append(u)
            reasons[name] = reason
    found = source.glob("Session*/sentences/wav/Ses*/Ses*.wav")
    if unnamed := {p.relative_to(source).as_posix() for p in found} - named:
        excluded["sound file without a label line"] = len(unnamed)
    if keep_no_agreement:
        rows = ratings.add(rows, said, source)
        mute = [u for u in rows if not (u.emotion or u.votes)]
        excluded.update(f"{reasons[u.utt_id]}{NO_VOTE}" for u in mute)
        rows = [u for u in rows if u.emotion or u.votes]
    return Draft(rows=rows, audio_root=source, excluded=excluded)


def _rating(said: str) -> Rating:
    """What an evaluator said: "Frustration; Anger;", of which the first is primary."""
    words = [word.strip().lower() for word in said.split(";")]
    primary, *secondary = [_WORDS.get(word, word) for word in words if word] or [""]
    return Rating(primary, tuple(secondary))


def _utterance(
    turn: re.Match[str], path: pathlib.Path, transcript: dict[str, str]
) -> Utterance | None:
    """The turn of a line; None if its attributes are no numbers."""
    emotion, name = turn["emotion"], turn["name"]
    if emotion not in emotions.IEMOCAP | emotions.IEMOCAP_EXCLUDED:
        raise ValueError(f"{path}: unknown emotion {emotion!r}.")
    try:
        valence, arousal, dominance = (
            number if math.isfinite(number := float(turn[attribute])) else None
            for attribute in ("valence", "arousal", "dominance")
        )
    except ValueError:
        return None
    session = int(turn["session"])
    return Utterance(
        utt_id=name,
        file=f"Session{session}/sentences/wav/{turn['dialog']}/{name}.wav",
        emotion=emotions.IEMOCAP.get(emotion, ""),
        speaker=f"Ses{turn['session']}{turn['sex']}",
        gender={"M": "male", "F": "female"}[turn["sex"]],
        split=tables.CROSS_VALIDATED,
        fold=session - 1,
        transcript=transcript.get(name, ""),
        transcript_source="corpus" if name in transcript else "",
        valence=valence,
        arousal=arousal,
        dominance=dominance,
    )


def _transcripts(label_file: pathlib.Path) -> dict[str, str]:
    path = label_file.parents[1] / "transcriptions" / label_file.name
    if not path.exists():
        return {}
    lines = _TRANSCRIPT.finditer(path.read_text(encoding="latin-1"))
    return {line["name"]: line["text"] for line in lines}
