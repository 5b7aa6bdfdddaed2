"""Recognitions as people and programs read them: a table, JSON lines, CSV."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
import csv
import io
import json
import pathlib
import sys
from typing import Any

from tqdm import tqdm

from jser import audio, console, files
from jser.recognizer import formats, sound_notes
from jser.recognizer.recognition import Recognition, in_words
from jser.recognizer.recognizer import Recognizer

Answer = Recognition | audio.AudioError
File = pathlib.Path | bytes  # A sound file, or what it would hold.
MadeBy = Mapping[str, str | float]  # What decides an answer, by the words for it.
_ENDING = ".json"
_MADE_BY = ".made_by"  # In a folder of answers: of each ending, what decided them.
_BAR = 24  # Characters of a probability of 1.


def write(
    answers: Iterable[tuple[str, Answer]],
    count: int,
    how: str,
    out: pathlib.Path | None,
) -> int:
    """Prints answers as they come, or writes each into a folder.

    Args:
      answers: By the names of the sounds.
      count: How many there are to come.
      how: "text", "json" or "csv".
      out: Folder for a .json of each, in place of printing.

    Returns:
      How many sounds could not be used; why is said on stderr.
    """
    failed, told = 0, defaultdict[str, list[str]](list)
    progress = tqdm(total=count, unit="sound", disable=count == 1 and out is None)
    for n, (name, answer) in enumerate(answers):
        progress.update()
        if isinstance(answer, audio.AudioError):
            failed += 1
            tqdm.write(f"error: {answer}", file=sys.stderr)
            continue
        for note in answer.warnings:
            told[note].append(name)
        if out is not None:
            path = _path(out, name, _ENDING)
            files.write_atomically(path, answer.to_json(indent=2) + "\n")
            continue
        text = _FORMATS[how](name, answer, first=n == failed, alone=count == 1)
        tqdm.write(text, file=sys.stdout, end="")
    progress.close()
    if how == "text":
        for note, names in told.items():
            of_all = count == 1 or 1 < len(names) == count - failed
            for of in [""] if of_all else [f"{name}: " for name in names]:
                print(f"note: {of}{note}", file=sys.stderr)
    return failed


def write_timelines(
    recognizer: Recognizer,
    sounds: Sequence[tuple[str, File]],
    how: str,
    out: pathlib.Path | None,
    *,
    segments: str | None,
    profile: str | None,
) -> int:
    """Prints a timeline of each sound, or writes each into a folder.

    Args:
      recognizer: The model.
      sounds: By their names.
      how: One of `formats.FORMATS`.
      out: Folder for a file of each, in place of printing.
      segments: None for windows, "pauses", or an RTTM's path.
      profile: As `Recognizer.timeline`.

    Returns:
      How many sounds could not be used; why is said on stderr.
    """
    failed, first, several = 0, True, len(sounds) > 1
    for name, sound in tqdm(sounds, unit="sound", disable=not several):
        parts: Any = segments
        try:
            if segments not in (None, "pauses"):
                # Of several sounds, each has the lines of its own name.
                own = pathlib.PurePath(name).stem if several else ""
                parts = formats.read_rttm(pathlib.Path(segments), own)
            with audio.Stream(_opened(sound)) as opened:
                made = recognizer.timeline(opened, segments=parts, profile=profile)
                notes = sound_notes.of_timeline(opened.notes, made)
                seconds = opened.samples / audio.SAMPLE_RATE_HZ
            text = formats.write(how, made, file=name, duration_s=seconds)
        except ValueError as e:
            failed += 1
            told = f"{e}" if isinstance(e, audio.AudioError) else f"{name}: {e}"
            tqdm.write(f"error: {told}", file=sys.stderr)
            continue
        for note in notes:
            tqdm.write(f"note: {name}: {note}", file=sys.stderr)
        if out is not None:
            ends = ending(how, timeline=True)
            files.write_atomically(_path(out, name, ends), text)
            continue
        if several:
            text = formats.among_others(how, text, name, first=first)
            first = first and not text
        tqdm.write(text, file=sys.stdout, end="")
    for caution in recognizer.cautions(profile):
        print(f"note: {caution}", file=sys.stderr)
    return failed


def _opened(sound: File) -> pathlib.Path | io.BytesIO:
    return io.BytesIO(sound) if isinstance(sound, bytes) else sound


def ending(how: str, *, timeline: bool) -> str:
    """How names of written files end."""
    return f".timeline{formats.FORMATS[how][0]}" if timeline else _ENDING


def without_done(
    sounds: Sequence[tuple[str, File]], out: pathlib.Path, ends: str, made_by: MadeBy
) -> list[tuple[str, File]]:
    """The sounds that have no answer in the folder yet.

    Args:
      sounds: By their names.
      out: The folder; it is made, and keeps what decides its answers.
      ends: How the answers' names end (`ending`).
      made_by: What decides them.

    Raises:
      ValueError: if two would be written to one file, or something else decided the
        answers that are there.
    """
    paths = [_path(out, name, ends) for name, _ in sounds]
    if twice := [path for path, count in Counter(paths).items() if count > 1]:
        raise ValueError(f"{twice[0]}: two sounds have that name.")
    pairs = zip(sounds, paths, strict=True)
    left = [sound for sound, path in pairs if not path.exists()]
    there = len(sounds) - len(left)
    _refuse_others(out, ends, made_by, there=bool(there))
    if there:
        given = console.counted(len(sounds), "sound")
        print(f"{out} has {there} of {given} already", file=sys.stderr)
    return left


def _refuse_others(
    out: pathlib.Path, ends: str, made_by: MadeBy, *, there: bool
) -> None:
    """Raises ValueError where other answers are; else keeps what decides these."""
    path, remedy = out / _MADE_BY, "Give another folder, or delete this one."
    record: dict[str, Any] = {"schema": 1}
    if path.is_file():
        record = files.read_record(path, (), remedy)
    with files.reading(path, remedy):
        kept = dict(record.get(ends, {} if there else made_by))
    if kept != made_by:
        was = _decided(kept) or "a model that is not known"
        raise ValueError(
            f"{out}: answers by {was} are there, and these would be by"
            f" {_decided(made_by)}. {remedy}"
        )
    files.write_json(path, record | {ends: made_by})


def _decided(by: MadeBy) -> str:
    return ", ".join(f"{what} {value}" for what, value in by.items())


def _path(out: pathlib.Path, name: str, ends: str) -> pathlib.Path:
    """Where an answer lies: by the sound's path, its root and any .. left out."""
    parts = [p for p in pathlib.PurePath(name).parts if p not in ("/", "..", ".")]
    return out.joinpath(*parts[:-1], f"{parts[-1] if parts else name}{ends}")


def _text(name: str, answer: Recognition, *, first: bool, alone: bool) -> str:
    if not alone:
        p = answer.scores.get(answer.label, max(answer.scores.values()))
        others = ", ".join(c for c in answer.candidates if c != answer.label)
        perhaps = f"  or {others}" if others else ""
        bar = "█" * round(10 * p)
        rated = f"  {in_words(answer.attributes)}" if answer.attributes else ""
        return f"{answer.label:10} {p:4.2f} {bar:10} {name}{perhaps}{rated}\n"
    width = max(map(len, answer.scores))
    lines = [f"{name}: {answer.label}, of {answer.duration_s:.1f} s"]
    for label, p in answer.scores.items():
        kept = " *" if label in answer.candidates else ""
        lines.append(f"  {label:{width}} {p:5.3f} {'█' * round(_BAR * p)}{kept}")
    lines.append(f"  * what cannot be ruled out at {answer.coverage:.0%}")
    if answer.attributes:
        lines.append(f"  {in_words(answer.attributes)}")
    return "\n".join(lines) + "\n"


def _json(name: str, answer: Recognition, *, first: bool, alone: bool) -> str:
    return json.dumps(answer.to_dict() | {"file": name}, ensure_ascii=False) + "\n"


def _csv(name: str, answer: Recognition, *, first: bool, alone: bool) -> str:
    """A line, the first with a header; emotions by alphabet, so that all are alike."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    labels = sorted(answer.scores)
    if first:
        about = ("file", "label", "candidates", "duration_s", "warnings")
        table.writerow([*about, *(f"p_{x}" for x in labels), *answer.attributes])
    table.writerow(
        [
            *(name, answer.label, " ".join(answer.candidates)),
            *(f"{answer.duration_s:.3f}", "; ".join(answer.warnings)),
            *(f"{answer.scores[x]:.6f}" for x in labels),
            *(f"{x:.4f}" for x in answer.attributes.values()),
        ]
    )
    return out.getvalue()


_FORMATS = {"text": _text, "json": _json, "csv": _csv}
