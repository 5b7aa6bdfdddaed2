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

from jser import console
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
    _refuse_flags(how)
    _refuse_paths()
    coverage = _coverage()
    sounds, out = _sounds(), pathlib.Path(_OUT.value) if _OUT.value else None
    _refuse_several(how, len(sounds))
    load = {
        "revision": _REVISION.value,
        "weights": _WEIGHTS.value,
        "transcriber": _TRANSCRIBER.value,
    }
    recognizer = Recognizer.load(*filter(None, [_MODEL.value]), **load)
    _refuse_words(recognizer)
    profile = _profile(recognizer)
    if out:
        ending = answers.ending(how, timeline=_TIMELINE.value)
        made_by = _made_by(recognizer, coverage, profile)
        sounds = answers.without_done(sounds, out, ending, made_by)
    if _TIMELINE.value:
        segments = _SEGMENTS.value
        failed = answers.write_timelines(
            recognizer, sounds, how, out, segments=segments, profile=profile
        )
    else:
        made = recognizer.many(
            [sound for _, sound in sounds],
            transcripts=[_TRANSCRIPT.value] * len(sounds),
            coverage=coverage,
            profile=profile,
        )
        names = [name for name, _ in sounds]
        failed = answers.write(zip(names, made, strict=True), len(names), how, out)
    if failed:
        given = console.counted(len(sounds), "sound")
        sys.exit(f"error: {failed} of {given} could not be used")


def _refuse_flags(how: str) -> None:
    """Raises ValueError where flags do not go together."""
    if _TRANSCRIPT.value is not None and _TRANSCRIBER.value:
        raise ValueError("--transcriber: the --transcript is given; give one of them.")
    if _TIMELINE.value:
        if FLAGS.given("coverage"):
            raise ValueError("--coverage: a --timeline has no candidates.")
        if _TRANSCRIPT.value is not None:
            raise ValueError(
                "--transcript: it does not say what was said when, as a --timeline"
                " wants; a --transcriber hears it."
            )
        return
    if _SEGMENTS.value:
        raise ValueError("--segments: they are of a --timeline.")
    if how not in ("text", "json", "csv"):
        raise ValueError(f"-f {how}: it is of a --timeline.")
    if _OUT.value and how in ("text", "csv") and _FORMAT.value:
        raise ValueError("-o writes a .json of each; -f text and csv are printed.")


def _refuse_paths() -> None:
    """Raises ValueError where a path is not what its flag takes."""
    from jser.recognizer import formats

    if _ADAPT.value and not pathlib.Path(_ADAPT.value).is_dir():
        raise ValueError(
            f"--adapt {_ADAPT.value}: no such folder. Give one of recordings as they"
            " will come."
        )
    if _PROFILE.value and pathlib.Path(_PROFILE.value).is_dir():
        raise ValueError(
            f"--profile {_PROFILE.value}: a folder. Give a file: office.npz"
        )
    segments = _SEGMENTS.value or "pauses"
    if segments != "pauses" and not pathlib.Path(segments).is_file():
        raise ValueError(
            f"--segments {segments}: no such file. Give pauses, or the .rttm of a"
            " diariser."
        )
    out, endings = pathlib.Path(_OUT.value or "."), dict(formats.FORMATS.values())
    if out.is_file() or out.suffix in endings:
        raise ValueError(
            f"-o {out}: no folder. Give one, for a file each; what is printed goes to a"
            f" file by > {out}"
        )


def _refuse_several(how: str, count: int) -> None:
    """Raises ValueError where several sounds are given, and one alone can be."""
    from jser.recognizer import formats

    if count == 1:
        return
    if _TRANSCRIPT.value is not None:
        raise ValueError(
            f"--transcript: of one sound, and there are {count}; a --transcriber hears"
            " each."
        )
    if how in formats.OF_ONE and not _OUT.value:
        raise ValueError(
            f"-f {how}: a file of it holds one recording, and there are {count}. Give"
            " -o DIR for a file each."
        )


def _refuse_words(recognizer: "Recognizer") -> None:
    """Raises ValueError where words are not read, or are and lack."""
    given = [f for f in (_TRANSCRIPT, _TRANSCRIBER) if f.value is not None]
    if given and not recognizer.reads_text:
        raise ValueError(
            f"--{given[0].name}: {recognizer.name} reads no words; leave it out."
        )
    if recognizer.reads_text and not given:
        raise ValueError(
            f"{recognizer.name} reads words: give a --transcriber, which hears them"
            f"{'.' if _TIMELINE.value else ', or the --transcript.'}"
        )


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


def _made_by(
    recognizer: "Recognizer", coverage: float, profile: str | None
) -> dict[str, str | float]:
    """What decides the answers, but for the sound and what belongs to it."""
    made_by: dict[str, str | float] = {"model": recognizer.digest}
    if not _TIMELINE.value:
        made_by["coverage"] = coverage
    elif _SEGMENTS.value:
        made_by["segments"] = "pauses" if _SEGMENTS.value == "pauses" else "given"
    if _TRANSCRIBER.value:
        made_by["transcriber"] = _TRANSCRIBER.value
    if profile:
        learned = recognizer.profiles[profile].recordings
        made_by["profile"] = f"{profile} of {console.counted(learned, 'recording')}"
    return made_by


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
