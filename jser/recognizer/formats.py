"""Timelines as other programs read them, and the RTTM that diarisers write."""

from collections.abc import Callable, Sequence
import csv
import io
import json
import math
import pathlib

from jser import files
from jser.recognizer.recognition import Segment, in_words

OF_ONE = frozenset({"srt", "textgrid", "audacity"})  # A file holds one recording.
# Types of lines that say nothing of who speaks when.
_RTTM_OTHERS = frozenset(
    {
        *("SEGMENT", "NOSCORE", "NO_RT_METADATA", "LEXEME", "NON-LEX", "NON-SPEECH"),
        *("FILLER", "EDIT", "IP", "SU", "CB", "A/P", "SPKR-INFO"),
    }
)
_RTTM_SPEAKER = "SPEAKER <file> <channel> <start> <duration> <NA> <NA> <speaker> <NA>"
_RTTM_FIELDS = (9, 10)  # The last came with later versions.


def write(
    how: str, segments: Sequence[Segment], *, file: str, duration_s: float
) -> str:
    """A timeline in one of `FORMATS`.

    Args:
      how: Name of the format.
      segments: In the order of time; those of silence (`live.stream`) are left out.
      file: Name of the recording.
      duration_s: Of the recording.

    Returns:
      The content of a file.

    Raises:
      ValueError: if there is no such format, or it cannot hold the segments.
    """
    if how not in FORMATS:
        raise ValueError(f"no format {how!r}; there are {', '.join(FORMATS)}.")
    return FORMATS[how][1]([s for s in segments if s.label], file, duration_s)


def among_others(how: str, text: str, file: str, *, first: bool) -> str:
    """What `write` made, as it is printed with that of other recordings.

    Args:
      how: Name of a format that is not in `OF_ONE`.
      text: What was made.
      file: Name of the recording.
      first: Whether nothing was printed before.

    Returns:
      The text under its recording's name; of csv the rows, the first with the header.
    """
    if how == "text":
        return f"{file}:\n{text}"
    if how == "csv":
        rows = text.partition("\n")[2]
        return text if first and rows else rows
    return text


def read_rttm(
    path: pathlib.Path, recording: str = ""
) -> list[tuple[float, float, str]]:
    """Who speaks when, from the SPEAKER lines of an RTTM.

    Args:
      path: Of the RTTM.
      recording: Whose lines to take, by their second field. "" where the file has those
        of one alone.

    Returns:
      Start and end in seconds, and speaker, in the order of the file.

    Raises:
      ValueError: naming the file and line, if a line is not as RTTM has it; or if there
        are several recordings, or none of that name.
    """
    found: dict[str, list[tuple[float, float, str]]] = {}
    for number, line in enumerate(files.read_text(path).splitlines(), 1):
        fields = line.split()
        if not fields or fields[0].startswith(";;") or fields[0] in _RTTM_OTHERS:
            continue
        try:
            name, segment = _rttm_speaker(fields)
        except ValueError as e:
            raise ValueError(f"{path}: line {number}: {e}") from e
        found.setdefault(name, []).append(segment)
    names = ", ".join(sorted(found)) or "none"
    if recording or len(found) != 1:
        if recording not in found:
            wanted = f"no recording {recording!r}" if recording else "name a recording"
            raise ValueError(f"{path}: {wanted}; it has lines of {names}.")
        return found[recording]
    return next(iter(found.values()))


def _rttm_speaker(fields: Sequence[str]) -> tuple[str, tuple[float, float, str]]:
    """The recording, and start, end and speaker, of a line."""
    if fields[0] != "SPEAKER":
        raise ValueError(f"{fields[0]!r} is no type of RTTM; expected {_RTTM_SPEAKER}")
    if len(fields) not in _RTTM_FIELDS:
        raise ValueError(
            f"{len(fields)} fields, not 9 or 10; expected {_RTTM_SPEAKER}, and no"
            " name with a space in it"
        )
    try:
        start, duration = float(fields[3]), float(fields[4])
    except ValueError:
        start = duration = math.nan
    if not (0 <= start < math.inf and 0 <= duration < math.inf):
        raise ValueError(
            f"start {fields[3]} and duration {fields[4]} are to be seconds from 0 up"
        )
    return fields[1], (start, start + duration, fields[7])


def _text(segments: Sequence[Segment], file: str, duration_s: float) -> str:
    width = max((len(s.label) for s in segments), default=0)
    lines = []
    for s in segments:
        who = f"  {_line(s.speaker)}" if s.speaker else ""
        span = f"{_clock(s.start_s, '.')} - {_clock(s.end_s, '.')}"
        rated = f"  {in_words(s.attributes)}" if s.attributes else ""
        lines.append(f"{span}  {s.label:{width}} {_score(s)}{who}{rated}\n")
    return "".join(lines)


def _json(segments: Sequence[Segment], file: str, duration_s: float) -> str:
    whole = {
        "file": file,
        "duration_s": duration_s,
        "segments": [s.to_dict() for s in segments],
    }
    return json.dumps(whole, ensure_ascii=False, allow_nan=False) + "\n"


def _csv(segments: Sequence[Segment], file: str, duration_s: float) -> str:
    """A row for each segment; emotions by alphabet, so that all files are alike."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    labels = sorted({label for s in segments for label in s.scores})
    about = ("file", "start_s", "end_s", "speaker", "label")
    rated = list(segments[0].attributes) if segments else []
    table.writerow([*about, *(f"p_{label}" for label in labels), *rated])
    for s in segments:
        scores = (f"{s.scores[x]:.6f}" if x in s.scores else "" for x in labels)
        times = (f"{s.start_s:.3f}", f"{s.end_s:.3f}")
        attributes = (f"{s.attributes[x]:.4f}" for x in rated)
        table.writerow([file, *times, s.speaker, s.label, *scores, *attributes])
    return out.getvalue()


def _rttm(segments: Sequence[Segment], file: str, duration_s: float) -> str:
    """The emotion is the subtype, and also the name where nobody knows the speaker."""
    name = "_".join(pathlib.PurePath(file).stem.split()) or "sound"
    lines = []
    for s in segments:
        for word in (s.speaker, s.label):
            if len(word.split()) > 1:
                raise ValueError(
                    f"RTTM cannot hold the space in {word!r}: take another format, or"
                    " name without spaces."
                )
        who = s.speaker or s.label
        times = f"{s.start_s:.3f} {s.end_s - s.start_s:.3f}"
        lines.append(
            f"SPEAKER {name} 1 {times} <NA> {s.label} {who} {_score(s, 4)} <NA>\n"
        )
    return "".join(lines)


def _srt(segments: Sequence[Segment], file: str, duration_s: float) -> str:
    blocks = []
    for number, s in enumerate(segments, 1):
        who = f"{_line(s.speaker)}: " if s.speaker else ""
        span = f"{_clock(s.start_s, ',')} --> {_clock(s.end_s, ',')}"
        rated = f"{in_words(s.attributes)}\n" if s.attributes else ""
        said = f"{who}{_line(s.label)} ({_score(s)})\n{rated}"
        blocks.append(f"{number}\n{span}\n{said}")
    return "\n".join(blocks)


def _textgrid(segments: Sequence[Segment], file: str, duration_s: float) -> str:
    """An interval tier for each speaker, or one that is called emotion."""
    end = max([duration_s, *(s.end_s for s in segments)])
    tiers = list(dict.fromkeys(s.speaker or "emotion" for s in segments)) or ["emotion"]
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {end:.6f}",
        "tiers? <exists>",
        f"size = {len(tiers)}",
        "item []:",
    ]
    for number, tier in enumerate(tiers, 1):
        own = [s for s in segments if (s.speaker or "emotion") == tier]
        intervals = _filled(own, end)
        lines += [
            f"    item [{number}]:",
            '        class = "IntervalTier"',
            f"        name = {_quoted(tier)}",
            "        xmin = 0",
            f"        xmax = {end:.6f}",
            f"        intervals: size = {len(intervals)}",
        ]
        for n, (start_s, end_s, label) in enumerate(intervals, 1):
            lines += [
                f"        intervals [{n}]:",
                f"            xmin = {start_s:.6f}",
                f"            xmax = {end_s:.6f}",
                f"            text = {_quoted(label)}",
            ]
    return "\n".join(lines) + "\n"


def _filled(segments: Sequence[Segment], end: float) -> list[tuple[float, float, str]]:
    """Intervals that touch, from 0 to the end; empty where there is no segment."""
    found, reached = [], 0.0
    for s in segments:
        if s.start_s < reached:
            raise ValueError(
                f"a tier of TextGrid cannot hold two segments at {s.start_s:g} s: take"
                " another format, or segments of one speaker that do not overlap."
            )
        if s.start_s > reached:
            found.append((reached, s.start_s, ""))
        found.append((s.start_s, s.end_s, s.label))
        reached = s.end_s
    return [*found, (reached, end, "")] if reached < end else found


def _audacity(segments: Sequence[Segment], file: str, duration_s: float) -> str:
    lines = []
    for s in segments:
        who = f"{_line(s.speaker)}: " if s.speaker else ""
        lines.append(f"{s.start_s:.6f}\t{s.end_s:.6f}\t{who}{_line(s.label)}\n")
    return "".join(lines)


def _score(segment: Segment, digits: int = 2) -> str:
    """The probability of the likeliest emotion."""
    return f"{max(segment.scores.values()):.{digits}f}"


def _clock(seconds: float, point: str) -> str:
    """Hours, minutes, seconds and thousandths: 01:02:03,004 with a comma."""
    whole, thousandths = divmod(round(1000 * seconds), 1000)
    minutes, s = divmod(whole, 60)
    hours, m = divmod(minutes, 60)
    return f"{hours:02d}:{m:02d}:{s:02d}{point}{thousandths:03d}"


def _line(text: str) -> str:
    """Text without tabs and line ends."""
    return " ".join(text.split())


def _quoted(text: str) -> str:
    doubled = _line(text).replace('"', '""')
    return f'"{doubled}"'


# By name: how files of it end, and what writes it.
FORMATS: dict[str, tuple[str, Callable[[Sequence[Segment], str, float], str]]] = {
    "text": (".txt", _text),
    "json": (".json", _json),
    "csv": (".csv", _csv),
    "rttm": (".rttm", _rttm),
    "srt": (".srt", _srt),
    "textgrid": (".TextGrid", _textgrid),
    "audacity": (".labels.txt", _audacity),
}
