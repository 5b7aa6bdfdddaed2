"""Serving at an address, until Ctrl-C or SIGTERM."""

import contextlib
import socket
from urllib import parse

import uvicorn

from jser import processes
from jser.recognizer.recognizer import Recognizer
from jser.web import app
from jser.web.guard import LOOPBACK, Guard
from jser.web.sounds import Limits

_GRACE_S = int(processes.GRACE_S) - 1  # For answers that are on their way.


def serve(
    model: Recognizer,
    *,
    host: str,
    port: int,
    hosts: tuple[str, ...] = (),
    token: str | None = None,
    profile: str | None = None,
    limits: Limits | None = None,
) -> None:
    """Serves a model, and says on stdout where.

    Args:
      model: What hears the sounds.
      host: The address to listen at.
      port: 0 for any that is free.
      hosts: Names by which the server may be called, besides `host` and localhost.
      token: What requests must bear.
      profile: Name of statistics that the model uses (`Recognizer.use`).
      limits: What they may take.

    Raises:
      ValueError: if the port is taken, or an address other than loopback has no token.
    """
    if host not in LOOPBACK and not token:
        raise ValueError(f"--host={host}: others can reach it; give a --token.")
    names = tuple(dict.fromkeys([*LOOPBACK, host, *hosts]))
    application = app.create(
        model, hosts=names, token=token, profile=profile, limits=limits
    )
    with listener(host, port) as listening:
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{listening.getsockname()[1]}/"
        key = f"#token={parse.quote(token, safe='')}" if token else ""
        print(f"{model.name}: {url}{key}", flush=True)
        with processes.finishing(), contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config(application)).run(sockets=[listening])


def config(application: Guard) -> uvicorn.Config:
    """How uvicorn is to serve: in pure Python, and without a word of its own."""
    return uvicorn.Config(
        application,
        http="h11",
        loop="asyncio",
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_S,
    )


def listener(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
      ValueError: if the port is taken, or the address is none of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as e:
        told = f"--host={host} --port={port}: {e.strerror or e}."
        raise ValueError(f"{told} --port=0 takes any that is free.") from e
