"""Emotions whose names look like several spellings of one."""

from collections.abc import Iterable
import unicodedata

from jser import emotions


def merges(names: Iterable[str]) -> dict[str, str]:
    """What to merge so that "angry", "Angry" and "ANG" are one: each name's better one.

    Names are alike but for case, and for being cut to three letters or more of a name
    of `emotions.CANONICAL`. Names that stand alone are not in the result.
    """
    groups: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        groups.setdefault(_meant(name), []).append(name)
    return {
        name: meant
        for meant, group in groups.items()
        for name in group
        if len(group) > 1 and name != meant
    }


def _meant(name: str) -> str:
    plain = unicodedata.normalize("NFC", name).casefold()
    full = [e for e in emotions.CANONICAL if len(plain) >= 3 and e.startswith(plain)]
    return full[0] if len(full) == 1 else plain
