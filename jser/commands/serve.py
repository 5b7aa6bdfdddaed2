"""Serves a model on this machine: a page for browsers, and an HTTP API.

  jser serve
  jser serve --model my-model --port 8080

Ctrl-C ends it. No sound that is sent to it is kept. Needs: pip install "jser[serve]"
"""

import pathlib

from jser.commands.shared_flags import WeightsFlag
from jser.commands.verb_flags import VerbFlags

FLAGS = VerbFlags()
_MODEL = FLAGS.optional(
    "model", "A folder, <owner>/<name> of the hub, or one that comes along."
)
_REVISION = FLAGS.optional("revision", "Of a model on the hub.")
_PROFILE = FLAGS.optional("profile", "What `jser recognize --adapt` has learned.")
_WEIGHTS = WeightsFlag(FLAGS)
_HOST = FLAGS.string("host", "127.0.0.1", "Address to listen at; others need --token.")
_PORT = FLAGS.integer("port", 8000, "Port to listen at; 0 for any that is free.")
_HOSTS = FLAGS.strings("hosts", "More names by which it may be called: a.example.org.")
_TOKEN = FLAGS.optional("token", "What requests must bear: Authorization: Bearer ...")
_MAX_MB = FLAGS.integer("max_mb", 32, "Size of a file at most.", lower_bound=1)
_MAX_MINUTES = FLAGS.integer("max_minutes", 30, "Length at most.", lower_bound=1)


def main() -> None:
    try:
        from jser.web import server
    except ModuleNotFoundError as e:
        if e.name not in ("starlette", "uvicorn"):
            raise
        raise ValueError('serve: pip install "jser[serve]" brings what lacks.') from e
    from jser.recognizer.profiles import Profile
    from jser.recognizer.recognizer import Recognizer
    from jser.web.sounds import Limits

    load = {"revision": _REVISION.value, "weights": _WEIGHTS.value}
    model = Recognizer.load(*filter(None, [_MODEL.value]), **load)
    profile = Profile.load(pathlib.Path(_PROFILE.value)) if _PROFILE.value else None
    if profile:
        model.use(profile)
    server.serve(
        model,
        host=_HOST.value,
        port=_PORT.value,
        hosts=tuple(_HOSTS.value),
        token=_TOKEN.value,
        profile=profile and profile.name,
        limits=Limits(
            body_bytes=_MAX_MB.value << 20, sound_s=60.0 * _MAX_MINUTES.value
        ),
    )
