"""The server's application: a model behind HTTP, and a page to try it."""

from collections.abc import AsyncIterator
import contextlib
import json
import pathlib
from typing import Any

from starlette import applications, exceptions, requests, responses, routing

import jser
from jser.recognizer.recognizer import Recognizer
from jser.web.guard import LOOPBACK, Guard, refuse
from jser.web.sounds import Limits, Sounds

_HERE = pathlib.Path(__file__).parent
_PAGE = {"/": "html", "/page.css": "css", "/page.js": "javascript"}
_TRANSCRIPT = 4_000  # Characters at most; a URL has room for them.
# Of each number that can be asked for: what it is by default, and the bounds.
_NUMBERS = {
    "coverage": (0.9, 0.01, 0.999),
    "window_s": (4.0, 0.5, 30.0),
    "hop_s": (1.0, 0.25, 30.0),
}


def create(
    model: Recognizer,
    *,
    hosts: tuple[str, ...] = LOOPBACK,
    token: str | None = None,
    profile: str | None = None,
    limits: Limits | None = None,
) -> Guard:
    """The ASGI application that serves a model.

    Args:
      model: What hears the sounds.
      hosts: Names by which the server may be called.
      token: What requests must bear, but for the page and `/health`; None for nothing.
      profile: Name of statistics that the model uses (`Recognizer.use`).
      limits: What requests may take.
    """
    limits = limits or Limits()
    sounds = Sounds(limits)

    async def recognize(request: requests.Request) -> responses.Response:
        asked = _asked(request, "transcript", "coverage")
        ask = lambda sound: model(sound, profile=profile, **asked).to_dict()
        return responses.JSONResponse(await sounds.hear(request, ask))

    async def timeline(request: requests.Request) -> responses.Response:
        asked = _asked(request, "window_s", "hop_s")
        ask = lambda sound: model.timeline(sound, profile=profile, **asked)
        segments = [s.to_dict() for s in await sounds.hear(request, ask)]
        return responses.JSONResponse({"segments": segments})

    async def metrics(request: requests.Request) -> responses.Response:
        return responses.PlainTextResponse(_metrics(guard, sounds))

    @contextlib.asynccontextmanager
    async def lifespan(_: applications.Starlette) -> AsyncIterator[None]:
        yield
        sounds.close()

    still = {
        "/openapi.json": _document(has_token=bool(token)),
        "/health": {"status": "ok"},
        "/model": _about(model, limits),
    }
    routes = [
        *(_always(path, _file(path)) for path in _PAGE),
        *(_always(path, responses.JSONResponse(told)) for path, told in still.items()),
        routing.Route("/metrics", metrics),
        routing.Route("/recognize", recognize, methods=["POST"]),
        routing.Route("/timeline", timeline, methods=["POST"]),
    ]
    app = applications.Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={exceptions.HTTPException: _refused, Exception: _failed},
    )
    paths = tuple(route.path for route in routes)
    guard = Guard(app, paths=paths, hosts=hosts, token=token)
    return guard


def _always(path: str, answer: responses.Response) -> routing.Route:
    """A route that gives the same answer to all."""

    async def endpoint(request: requests.Request) -> responses.Response:
        return answer

    return routing.Route(path, endpoint)


def _file(path: str) -> responses.Response:
    """A file of the page."""
    name = path.strip("/") or "page.html"
    text = (_HERE / name).read_text(encoding="utf-8")
    return responses.Response(text, media_type=f"text/{_PAGE[path]}")


def _document(*, has_token: bool) -> dict[str, Any]:
    """What is served, as OpenAPI says it."""
    document = json.loads((_HERE / "openapi.json").read_text(encoding="utf-8"))
    document["info"]["version"] = jser.__version__
    if has_token:
        document["security"] = [{"token": []}]
    return document


def _about(model: Recognizer, limits: Limits) -> dict[str, Any]:
    """What is served at /model."""
    return {
        **model.about,
        "name": model.name,
        "labels": list(model.labels),
        "card": model.card,
        "limits": {"body_bytes": limits.body_bytes, "sound_s": limits.sound_s},
    }


def _asked(request: requests.Request, *names: str) -> dict[str, Any]:
    """What a query says.

    Raises:
      HTTPException: if it cannot be read, is out of bounds, or not one of `names`.
    """
    asked: dict[str, Any] = {n: _NUMBERS[n][0] for n in names if n in _NUMBERS}
    for name, value in request.query_params.multi_items():
        if name not in names:
            told = f"{name}: there is no such parameter, only {', '.join(names)}."
            raise exceptions.HTTPException(400, told)
        if name in _NUMBERS:
            asked[name] = _number(name, value)
        elif len(value) > _TRANSCRIPT:
            told = f"{name}: at most {_TRANSCRIPT} characters are read."
            raise exceptions.HTTPException(400, told)
        else:
            asked[name] = value
    return asked


def _number(name: str, value: str) -> float:
    _, least, most = _NUMBERS[name]
    with contextlib.suppress(ValueError):
        if least <= float(value) <= most:
            return float(value)
    told = f"{name}: {value[:20]!r} is no number from {least:g} to {most:g}."
    raise exceptions.HTTPException(400, told)


def _metrics(guard: Guard, sounds: Sounds) -> str:
    """In Prometheus' text format."""
    lines = ["# TYPE jser_answers_total counter"]
    for (path, status), n in sorted(guard.answers.items()):
        lines.append(f'jser_answers_total{{path="{path}",status="{status}"}} {n}')
    lines.append("# TYPE jser_answer_seconds_total counter")
    for path, seconds in sorted(guard.seconds.items()):
        lines.append(f'jser_answer_seconds_total{{path="{path}"}} {seconds:.6f}')
    lines += ["# TYPE jser_sound_seconds_total counter"]
    lines += [f"jser_sound_seconds_total {sounds.heard_s:.3f}"]
    lines += ["# TYPE jser_sounds_held gauge", f"jser_sounds_held {sounds.held}"]
    return "\n".join(lines) + "\n"


def _refused(request: requests.Request, e: Exception) -> responses.Response:
    assert isinstance(e, exceptions.HTTPException)
    return refuse(e.status_code, e.detail, dict(e.headers or {}))


def _failed(request: requests.Request, e: Exception) -> responses.Response:
    """After it Starlette raises the error again, and uvicorn logs it."""
    return refuse(500, "The server failed at this; its log says how.")
