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
    from jser.recognizer.recognizer import Recognizer, Sound

FLAGS = VerbFlags()
_FILES = FLAGS.arguments("files", "Sound files, folders of them, or -.")
_MODEL = FLAGS.optional(
    "model", "A folder, <owner>/<name> of the hub, or one that comes along.", "m"
)
_REVISION = FLAGS.optional("revision", "Of a model on the hub.")
_FORMAT = FLAGS.choice(
    "format", ["text", "json", "csv"], "text, json (a line each) or csv.", "f"
)
_OUT = FLAGS.optional("out", "Folder for a .json each; those there are left.", "o")
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

    sounds = _sounds()
    if _OUT.value:
        sounds = answers.without_done(sounds, pathlib.Path(_OUT.value))
    load = {
        "revision": _REVISION.value,
        "weights": _WEIGHTS.value,
        "transcriber": _TRANSCRIBER.value,
    }
    recognizer = Recognizer.load(*filter(None, [_MODEL.value]), **load)
    profile = _profile(recognizer)
    made = recognizer.many(
        [sound for _, sound in sounds],
        transcripts=[_TRANSCRIPT.value] * len(sounds),
        coverage=_coverage(),
        profile=profile,
    )
    names = [name for name, _ in sounds]
    how = _FORMAT.value or "text"
    out = pathlib.Path(_OUT.value) if _OUT.value else None
    failed = answers.write(zip(names, made, strict=True), len(names), how, out)
    if failed:
        sys.exit(f"error: {failed} of {len(names)} sounds could not be used")


def _sounds() -> list[tuple[str, "Sound"]]:
    """What was given, by the name to show."""
    from jser.corpora.draft import sound_files

    if not _FILES.value:
        raise ValueError("give sound files, a folder of them, or - for a pipe.")
    sounds: list[tuple[str, Sound]] = []
    for given in _FILES.value:
        if given == "-":
            sounds.append(("-", sys.stdin.buffer.read()))
        elif (path := pathlib.Path(given)).is_dir():
            sounds += [(str(p), p) for p in sound_files(path)]
        else:
            sounds.append((given, path))
    return sounds


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
