"""A server at a free port of this machine, for as long as a test needs it."""

from collections.abc import Iterator
import contextlib
import threading
import time

import uvicorn

from jser.recognizer.recognizer import Recognizer
from jser.web import app, server
from jser.web.sounds import Limits


@contextlib.contextmanager
def served(
    model: Recognizer, *, limits: Limits | None = None, token: str | None = None
) -> Iterator[int]:
    """Serves a model from a thread; gives the port."""
    with server.listener("127.0.0.1", 0) as listener:
        application = app.create(model, limits=limits, token=token)
        running = uvicorn.Server(server.config(application))
        thread = threading.Thread(target=running.run, args=([listener],))
        thread.start()
        try:
            while not running.started:
                time.sleep(0.01)
            yield listener.getsockname()[1]
        finally:
            running.should_exit = True
            thread.join()
