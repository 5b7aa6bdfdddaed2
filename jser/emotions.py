"""The emotions, their order, and the codes by which corpora name them.

A corpus has a *label set*: the ordered tuple of its emotions. The order is the order
of the logits everywhere, on disk and in every table of results.
"""

from collections.abc import Iterable

NEUTRAL = "neutral"

# The paper's eight, in the paper's order; further ones follow, so that the label set
# of MSP-Podcast is the first eight and every other corpus is ordered alike.
CANONICAL = (
    "angry",
    "sad",
    "happy",
    "surprise",
    "fear",
    "disgust",
    "contempt",
    NEUTRAL,
    "bored",
    "calm",
    "excited",
    "frustrated",
)

MSP_PODCAST = {
    "A": "angry",
    "S": "sad",
    "H": "happy",
    "U": "surprise",
    "F": "fear",
    "D": "disgust",
    "C": "contempt",
    "N": NEUTRAL,
}
MSP_PODCAST_EXCLUDED = {"X": "no agreement (X)", "O": "other (O)"}

EMODB = {
    "W": "angry",
    "L": "bored",
    "E": "disgust",
    "A": "fear",
    "F": "happy",
    "T": "sad",
    "N": NEUTRAL,
}

RAVDESS = {
    "01": NEUTRAL,
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fear",
    "07": "disgust",
    "08": "surprise",
}

CREMA_D = {
    "ANG": "angry",
    "DIS": "disgust",
    "FEA": "fear",
    "HAP": "happy",
    "NEU": NEUTRAL,
    "SAD": "sad",
}

IEMOCAP = {
    "ang": "angry",
    "sad": "sad",
    "hap": "happy",
    "sur": "surprise",
    "fea": "fear",
    "dis": "disgust",
    "neu": NEUTRAL,
    "exc": "excited",
    "fru": "frustrated",
}
IEMOCAP_EXCLUDED = {"xxx": "no agreement (xxx)", "oth": "other (oth)"}


def label_set(emotions: Iterable[str]) -> tuple[str, ...]:
    """The distinct names in order: canonical ones first, then by alphabet."""
    names = set(emotions)
    known = tuple(e for e in CANONICAL if e in names)
    return known + tuple(sorted(names - set(CANONICAL)))
