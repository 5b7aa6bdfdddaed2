"""Serves a model to this machine's browsers and programs: a page and an HTTP API.

  jser serve --model my-model

Ctrl-C ends it. Whatever is sent to it is kept nowhere.
"""

from jser.commands.verb_flags import VerbFlags

FLAGS = VerbFlags()
_MODEL = FLAGS.string("model", "emodb-functionals", "As `jser recognize` takes it.")
_HOST = FLAGS.string("host", "127.0.0.1", "Address to listen at; others need --token.")
_PORT = FLAGS.integer("port", 8000, "Port to listen at; 0 for any that is free.")
_HOSTS = FLAGS.strings(
    "hosts", "Names by which it may be called besides localhost: voice.example.org."
)
_TOKEN = FLAGS.optional("token", "What programs must show: Authorization: Bearer ...")
_MAX_MB = FLAGS.integer("max_mb", 32, "Size of a file at most.", lower_bound=1)
_MAX_MINUTES = FLAGS.integer("max_minutes", 30, "Length at most.", lower_bound=1)


def main() -> None:
    try:
        from jser.web import server
    except ModuleNotFoundError as e:
        if e.name not in ("starlette", "uvicorn"):
            raise
        raise ValueError('jser serve needs more: pip install "jser[serve]"') from None
    from jser.recognizer.recognizer import Recognizer
    from jser.web.sounds import Limits

    server.serve(
        Recognizer.load(_MODEL.value),
        host=_HOST.value,
        port=_PORT.value,
        hosts=tuple(_HOSTS.value),
        token=_TOKEN.value,
        limits=Limits(
            body_bytes=_MAX_MB.value << 20, sound_s=_MAX_MINUTES.value * 60.0
        ),
    )
