"""Says which emotion sounds have: files, folders, or - for a sound from a pipe.

  jser recognize my.wav
  jser recognize calls/ --model my-model -f csv > calls.csv
  ffmpeg -i film.mkv -f wav - | jser recognize -

Recordings of a room, a language or a microphone that the model does not know:

  jser recognize calls/ --adapt calls/ --profile office.npz
"""

import pathlib
import sys
import typing

from jser.commands.shared_flags import WeightsFlag
from jser.commands.verb_flags import VerbFlags

if typing.TYPE_CHECKING:
    from jser.recognizer.answers import File
    from jser.recognizer.recognizer import Recognizer

_MOST_PIPED_BYTES = 1 << 31
FLAGS = VerbFlags()
_FILES = FLAGS.arguments("files", "Sound files, folders of them, or -.")
_MODEL = FLAGS.optional(
    "model", "A folder, <owner>/<name> of the hub, or one that comes along.", "m"
)
_REVISION = FLAGS.optional("revision", "Of a model on the hub.")
_FORMAT = FLAGS.choice(
    "format",
    ["text", "json", "csv", "rttm", "srt", "textgrid", "audacity"],
    "text, json (a line each) or csv; the others are for --timeline.",
    "f",
)
_OUT = FLAGS.optional("out", "Folder for a file each; those there are left.", "o")
_TIMELINE = FLAGS.switch("timeline", "What is felt when, by windows of 4 s.")
_SEGMENTS = FLAGS.optional(
    "segments", "With --timeline: pauses, or an .rttm that says who speaks when."
)
_TRANSCRIPT = FLAGS.optional("transcript", "What was said, for models that read it.")
_TRANSCRIBER = FLAGS.optional(
    "transcriber", "A Whisper checkpoint that hears it, where it is not given."
)
_COVERAGE = FLAGS.string("coverage", "0.9", "How often candidates hold the truth.")
_ADAPT = FLAGS.optional("adapt", "Folder of recordings as they will come, unlabelled.")
_PROFILE = FLAGS.optional("profile", "What --adapt learned: read, or with it written.")
_WEIGHTS = WeightsFlag(FLAGS)


def main() -> None:
    from jser.recognizer import answers
    from jser.recognizer.recognizer import Recognizer

    how = _FORMAT.value or "text"
    _refuse_format(how)
    sounds, out = _sounds(), pathlib.Path(_OUT.value) if _OUT.value else None
    ending = answers.ending(how, timeline=_TIMELINE.value)
    if out:
        sounds = answers.without_done(sounds, out, ending)
    load = {
        "revision": _REVISION.value,
        "weights": _WEIGHTS.value,
        "transcriber": _TRANSCRIBER.value,
    }
    recognizer = Recognizer.load(*filter(None, [_MODEL.value]), **load)
    profile = _profile(recognizer)
    if _TIMELINE.value:
        segments = _SEGMENTS.value
        failed = answers.write_timelines(
            recognizer, sounds, how, out, segments=segments, profile=profile
        )
    else:
        made = recognizer.many(
            [sound for _, sound in sounds],
            transcripts=[_TRANSCRIPT.value] * len(sounds),
            coverage=_coverage(),
            profile=profile,
        )
        names = [name for name, _ in sounds]
        failed = answers.write(zip(names, made, strict=True), len(names), how, out)
    if failed:
        sys.exit(f"error: {failed} of {len(sounds)} sounds could not be used")


def _refuse_format(how: str) -> None:
    """Raises ValueError where flags do not go together."""
    if _SEGMENTS.value and not _TIMELINE.value:
        raise ValueError("--segments: they are of a --timeline.")
    if how not in ("text", "json", "csv") and not _TIMELINE.value:
        raise ValueError(f"-f {how}: it is of a --timeline.")
    if _OUT.value and how in ("text", "csv") and not _TIMELINE.value and _FORMAT.value:
        raise ValueError("-o writes a .json of each; -f text and csv are printed.")


def _sounds() -> list[tuple[str, "File"]]:
    """What was given, by the name to show."""
    from jser.corpora.draft import sound_files

    if not _FILES.value:
        raise ValueError("give sound files, a folder of them, or - for a pipe.")
    sounds: list[tuple[str, File]] = []
    for given in _FILES.value:
        if given == "-":
            sounds.append(("-", _piped()))
        elif (path := pathlib.Path(given)).is_dir():
            sounds += [(str(p), p) for p in sound_files(path)]
        else:
            sounds.append((given, path))
    return sounds


def _piped() -> bytes:
    data = sys.stdin.buffer.read(_MOST_PIPED_BYTES + 1)
    if len(data) > _MOST_PIPED_BYTES:
        raise ValueError("-: more than 2 GiB; write it to a file, and give that.")
    return data


def _coverage() -> float:
    try:
        return float(_COVERAGE.value)
    except ValueError:
        raise ValueError(f"--coverage={_COVERAGE.value}: it reads as 0.9.") from None


def _profile(recognizer: "Recognizer") -> str | None:
    """The profile to use, learned or read."""
    from jser.recognizer.profiles import Profile

    if not (_ADAPT.value or _PROFILE.value):
        return None
    path = pathlib.Path(_PROFILE.value) if _PROFILE.value else None
    if _ADAPT.value:
        name = path.stem if path else pathlib.Path(_ADAPT.value).resolve().name
        learned = recognizer.adapt(pathlib.Path(_ADAPT.value), name)
        if path:
            learned.save(path)
        return name
    assert path is not None
    profile = Profile.load(path)
    recognizer.use(profile)
    return profile.name
