"""The server's application: a model behind HTTP, and a page to try it."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
import contextlib
import json
import pathlib
from typing import Any

from starlette import applications, exceptions, requests, responses, routing

import jser
from jser import audio
from jser.recognizer import sound_notes
from jser.recognizer.recognizer import Recognizer
from jser.recognizer.timeline import window_and_hop
from jser.web.guard import LOOPBACK, Guard, refuse
from jser.web.sounds import Limits, Sounds

_HERE = pathlib.Path(__file__).parent
_PAGE = {"/": "html", "/page.css": "css", "/page.js": "javascript"}
_TRANSCRIPT = 4_000  # Characters at most; a URL has room for them.
# Of each length that can be asked for: what it is by default, and the bounds.
_LENGTHS = {"window_s": (4.0, 0.5, 30.0), "hop_s": (1.0, 0.25, 30.0)}
Reader = Callable[[str], Any]  # Of a parameter; ValueError says what it may be.


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
    of_recognize = {"transcript": _transcript, "coverage": _one_of(model.coverages)}
    of_timeline = {n: _within(*bounds) for n, (_, *bounds) in _LENGTHS.items()}

    async def recognize(request: requests.Request) -> responses.Response:
        asked = _asked(request, of_recognize)
        ask = lambda sound: model(sound, profile=profile, **asked).to_dict()
        return responses.JSONResponse(await sounds.hear(request, ask))

    async def timeline(request: requests.Request) -> responses.Response:
        asked: dict[str, Any] = {n: length for n, (length, *_) in _LENGTHS.items()}
        asked |= _asked(request, of_timeline)
        with _refusing():
            window_and_hop(**asked)

        def ask(sound: audio.Stream) -> dict[str, Any]:
            segments = model.timeline(sound, profile=profile, **asked)
            warnings = sound_notes.of_timeline(sound.notes, segments)
            return {"segments": [s.to_dict() for s in segments], "warnings": warnings}

        return responses.JSONResponse(await sounds.hear(request, ask))

    async def metrics(request: requests.Request) -> responses.Response:
        return responses.PlainTextResponse(_metrics(guard, sounds))

    @contextlib.asynccontextmanager
    async def lifespan(_: applications.Starlette) -> AsyncIterator[None]:
        yield
        sounds.close()

    still = {
        "/openapi.json": _document(model, has_token=bool(token)),
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


def _document(model: Recognizer, *, has_token: bool) -> dict[str, Any]:
    """What is served, as OpenAPI says it."""
    document = json.loads((_HERE / "openapi.json").read_text(encoding="utf-8"))
    document["info"]["version"] = jser.__version__
    document["components"]["schemas"]["Coverage"]["enum"] = list(model.coverages)
    if has_token:
        document["security"] = [{"token": []}]
    return document


def _about(model: Recognizer, limits: Limits) -> dict[str, Any]:
    """What is served at /model."""
    return {
        **model.about,
        "name": model.name,
        "labels": list(model.labels),
        "reads_text": model.reads_text,
        "card": model.card,
        "limits": {"body_bytes": limits.body_bytes, "sound_s": limits.sound_s},
    }


def _asked(
    request: requests.Request, parameters: Mapping[str, Reader]
) -> dict[str, Any]:
    """What a query says.

    Raises:
      HTTPException: if it cannot be read, or is not one of `parameters`.
    """
    asked = {}
    for name, value in request.query_params.multi_items():
        if name not in parameters:
            told = f"{name}: there is no such parameter, only {', '.join(parameters)}."
            raise exceptions.HTTPException(400, told)
        with _refusing(f"{name}: "):
            asked[name] = parameters[name](value)
    return asked


@contextlib.contextmanager
def _refusing(of: str = "") -> Iterator[None]:
    """Turns a ValueError into the answer 400."""
    try:
        yield
    except ValueError as e:
        raise exceptions.HTTPException(400, f"{of}{e}") from e


def _transcript(value: str) -> str:
    if len(value) > _TRANSCRIPT:
        raise ValueError(f"at most {_TRANSCRIPT} characters are read.")
    return value


def _one_of(numbers: Sequence[float]) -> Reader:
    def read(value: str) -> float:
        with contextlib.suppress(ValueError):
            if float(value) in numbers:
                return float(value)
        allowed = ", ".join(map(str, numbers))
        raise ValueError(f"{value[:20]!r} is none of {allowed}.")

    return read


def _within(least: float, most: float) -> Reader:
    def read(value: str) -> float:
        with contextlib.suppress(ValueError):
            if least <= float(value) <= most:
                return float(value)
        raise ValueError(f"{value[:20]!r} is no number from {least:g} to {most:g}.")

    return read


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
