"""Who may ask the server, and what every answer tells a browser.

A page anywhere on the web can have a browser send requests to a server on localhost,
under a name of its own that it lets point there (DNS rebinding). So the name that was
asked for must be one of ours, and a page that asks must have come from here.
"""

import collections
import hmac
import re
import time

from starlette import datastructures, responses, types

LOOPBACK = ("localhost", "127.0.0.1", "::1")
_HOST = re.compile(r"(\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>[\w.-]+))(:\d+)?", re.ASCII)
_OPEN = ("/", "/page.css", "/page.js", "/health", "/openapi.json")  # Without a token.
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
        " img-src data:; media-src blob:; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class Guard:
    """ASGI middleware: checks Host, Origin and token, sets headers, counts answers.

    Attributes:
      answers: How many, by path ("other" for all that are not routes) and status.
      seconds: From request to answer, summed by path.
    """

    def __init__(
        self,
        app: types.ASGIApp,
        *,
        paths: tuple[str, ...],
        hosts: tuple[str, ...],
        token: str | None,
    ):
        self._app, self._paths, self._hosts, self._token = app, paths, hosts, token
        self.answers: collections.Counter[tuple[str, int]] = collections.Counter()
        self.seconds: dict[str, float] = collections.defaultdict(float)

    async def __call__(
        self, scope: types.Scope, receive: types.Receive, send: types.Send
    ) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        path = scope["path"] if scope["path"] in self._paths else "other"
        begun = time.perf_counter()

        async def counted(message: types.Message) -> None:
            if message["type"] == "http.response.start":
                datastructures.MutableHeaders(scope=message).update(_HEADERS)
                self.answers[path, message["status"]] += 1
                self.seconds[path] += time.perf_counter() - begun
            await send(message)

        refusal = self._refusal(path, datastructures.Headers(scope=scope))
        await (refusal or self._app)(scope, receive, counted)

    def _refusal(
        self, path: str, headers: datastructures.Headers
    ) -> responses.Response | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if _name(host) not in self._hosts:
            allowed = ", ".join(self._hosts)
            return refuse(403, f"Host {host!r} is none of {allowed}; see --hosts.")
        if origin is not None and origin.partition("://")[2] != host:
            return refuse(403, f"Origin {origin!r}: only pages from here may ask.")
        if self._token and path not in _OPEN:
            given = headers.get("authorization", "").encode()
            if not hmac.compare_digest(given, f"Bearer {self._token}".encode()):
                how = {"WWW-Authenticate": "Bearer"}
                return refuse(401, "Authorization must be `Bearer <token>`.", how)
        return None


def refuse(
    status: int, error: str, headers: dict[str, str] | None = None
) -> responses.JSONResponse:
    """An answer that says in one line why there is none."""
    return responses.JSONResponse({"error": error}, status, headers)


def _name(host: str) -> str:
    """`::1` of `[::1]:8000`; "" where it cannot be read."""
    read = _HOST.fullmatch(host.lower())
    return (read["v6"] or read["name"]) if read else ""
