"""A hub of models that answers what huggingface_hub asks, on this machine."""

import base64
import contextlib
import hashlib
from http import server
import json
import re
import threading
from urllib import parse

from huggingface_hub import constants

Commit = dict[str, bytes]  # Files by path.


class Hub:
    """Repositories in memory.

    Attributes:
      commits: Of each repository, in order; a revision is `sha` of one, or main.
      writable: Whether it takes commits.
      private: Of each repository that was made by a request.
      url: Where it answers.
    """

    def __init__(self, url: str):
        self.url = url
        self.commits: dict[str, list[Commit]] = {}
        self.private: dict[str, bool] = {}
        self.writable = True

    def sha(self, name: str, number: int = -1) -> str:
        """Of a commit, 40 hex digits."""
        number %= len(self.commits[name])
        return hashlib.sha1(f"{name} {number}".encode()).hexdigest()

    def at(self, name: str, revision: str) -> tuple[str, Commit] | str:
        """A revision's digest and files, or the code of the error."""
        if name not in self.commits:
            return "RepoNotFound"
        shas = [self.sha(name, i) for i in range(len(self.commits[name]))]
        if revision == "main":
            revision = shas[-1]
        if revision not in shas:
            return "RevisionNotFound"
        return revision, self.commits[name][shas.index(revision)]

    def commit(self, name: str, lines: list[dict]) -> str:
        """Takes a commit as it is sent; returns its digest."""
        files = dict(self.commits[name][-1])
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        self.commits[name].append(files)
        return self.sha(name)


def _oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class _Answers(server.BaseHTTPRequestHandler):
    """What is asked of `hub`, which a subclass has."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = parse.unquote(parse.urlsplit(self.path).path)
        if asked := re.fullmatch(r"/api/models/(\w+/\w+)/(revision|tree)/(\w+)", path):
            name, what, revision = asked.groups()
            return self._of_revision(name, what, revision)
        if asked := re.fullmatch(r"/(\w+/\w+)/resolve/(\w+)/(.+)", path):
            return self._file(*asked.groups())
        return self._send({}, 404)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        path, hub = parse.unquote(parse.urlsplit(self.path).path), self.hub
        if path == "/api/validate-yaml":
            return self._send({"errors": [], "warnings": []})
        if not hub.writable:
            return self._send({"error": "no token"}, 401)
        lines = [json.loads(line) for line in body.splitlines()]
        if path == "/api/repos/create":
            name = f"{lines[0].get('organization', 'me')}/{lines[0]['name']}"
            hub.commits.setdefault(name, [{".gitattributes": b""}])
            hub.private[name] = "private" in lines[0].values()
            return self._send({"url": f"{hub.url}/{name}"})
        asked = re.fullmatch(r"/api/models/(\w+/\w+)/(preupload|commit)/(\w+)", path)
        if asked is None:
            return self._send({}, 404)
        name, what, _ = asked.groups()
        if what == "preupload":
            how = {"uploadMode": "regular", "shouldIgnore": False}
            files = [{"path": f["path"], **how} for f in lines[0]["files"]]
            return self._send({"files": files})
        sha = hub.commit(name, lines)
        url = f"{hub.url}/{name}/commit/{sha}"
        return self._send({"commitUrl": url, "commitOid": sha, "success": True})

    def _of_revision(self, name: str, what: str, revision: str) -> None:
        at = self.hub.at(name, revision)
        if isinstance(at, str):
            return self._send({"error": at}, 404, {"X-Error-Code": at})
        sha, files = at
        if what == "revision":
            siblings = [{"rfilename": path} for path in files]
            return self._send({"id": name, "sha": sha, "siblings": siblings})
        return self._send(
            [
                {"type": "file", "path": path, "size": len(x), "oid": _oid(x)}
                for path, x in files.items()
            ]
        )

    def _file(self, name: str, revision: str, path: str) -> None:
        at = self.hub.at(name, revision)
        if isinstance(at, str) or path not in at[1]:
            code = at if isinstance(at, str) else "EntryNotFound"
            return self._send({"error": code}, 404, {"X-Error-Code": code})
        sha, files = at
        marks = {"X-Repo-Commit": sha, "ETag": f'"{_oid(files[path])}"'}
        return self._send(files[path], 200, marks)

    def _send(self, answer, status: int = 200, marks: dict | None = None) -> None:
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in (marks or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format, *args) -> None:
        """Says nothing."""


@contextlib.contextmanager
def answering(monkeypatch, cache):
    """An empty hub that huggingface_hub asks in place of the real one.

    Args:
      monkeypatch: Of pytest.
      cache: Folder in place of the hub's cache.
    """
    with server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as http:
        url = f"http://127.0.0.1:{http.server_port}"
        http.RequestHandlerClass = type("Answers", (_Answers,), {"hub": Hub(url)})
        files = url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", files)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
        monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield http.RequestHandlerClass.hub
        http.shutdown()
