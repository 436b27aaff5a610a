"""A hub on loopback: what `huggingface_hub` calls of its HTTP API, with faults on demand."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

_LFS = (".safetensors", ".bin", ".gguf", ".model")


def git_id(data: bytes) -> str:
    """Return what git calls a file."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def sha256(data: bytes) -> str:
    """Return the SHA-256 of bytes."""
    return hashlib.sha256(data).hexdigest()


@dataclass
class Repo:
    """A repository: files by commit, commits by revision."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=dict)
    license: str | None = "apache-2.0"
    private: bool = False
    gated: bool = False

    def commit(self, files: dict[str, bytes], revision: str = "main") -> str:
        """Add a commit and return it."""
        body = repr(sorted((n, sha256(d)) for n, d in files.items())).encode()
        commit = hashlib.sha1(body + revision.encode()).hexdigest()
        self.commits[commit] = files
        self.revisions[revision] = commit
        return commit


@dataclass
class Faults:
    """What goes wrong, by file name or part of a path."""

    bytes_per_second: float | None = None
    digests: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    bodies: dict[str, bytes] = field(default_factory=dict)
    cut_after: dict[str, int] = field(default_factory=dict)
    statuses: dict[str, list[int]] = field(default_factory=dict)
    extra_names: tuple[str, ...] = ()
    commit: str | None = None
    bare_listing: bool = False
    ignore_range: bool = False


# Pages by path: groups, then the body of the request, are what each handler is given.
_REPO = r"([^/]+/[^/]+)"
_ROUTES = (
    (r"/storage/([0-9a-f]+)/(.+)", "_send_file"),
    (r"/upload/([0-9a-f]+)", "_upload"),
    (r"/api/repos/create", "_create"),
    (r"/api/validate-yaml", "_validate"),
    (rf"/api/models/{_REPO}/preupload/[^/]+", "_preupload"),
    (rf"/{_REPO}\.git/info/lfs/objects/batch", "_batch"),
    (rf"/api/models/{_REPO}/commit/([^/]+)", "_commit"),
    (rf"/api/models/{_REPO}", "_info"),
    (rf"/api/models/{_REPO}/revision/(.+)", "_info"),
    (rf"/api/models/{_REPO}/tree/(.+)", "_tree"),
    (rf"/{_REPO}/resolve/([^/]+)/(.+)", "_resolve"),
)


class Hub:
    """The server, its repositories, its faults, and what it was asked."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.faults = Faults()
        self.uploads: dict[str, bytes] = {}
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.sent = 0
        self.token: str | None = None
        self._guard = threading.Lock()
        handler = type("Bound", (_Handler,), {"hub": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.port = self._server.server_address[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        # Another name of the same host, so that tokens must not follow a redirect to it.
        self.storage = f"http://localhost:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def add(self, repo: str, files: dict[str, bytes], revision: str = "main", **how: Any) -> str:
        """Add a commit to a repository, which is made if need be."""
        found = self.repos.setdefault(repo, Repo(**how))
        return found.commit(files, revision)

    def count(self, size: int) -> None:
        """Note bytes of files that went out."""
        with self._guard:
            self.sent += size

    def paths(self, part: str) -> list[str]:
        """Return the paths asked for that contain `part`."""
        return [path for _, path, _ in self.asked if part in path]

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Say nothing: clients of these tests leave in the middle of a sentence."""


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size) if size else b""
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append((self.command, self.path, dict(self.headers)))
        try:
            for part, statuses in self.hub.faults.statuses.items():
                if part in path and statuses:
                    return self._json(
                        {"error": "asked to fail"}, statuses.pop(0), {"Retry-After": "0"}
                    )
            self._route(path, body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _route(self, path: str, body: bytes) -> None:
        for pattern, name in _ROUTES:
            if found := re.fullmatch(pattern, path):
                return getattr(self, name)(*found.groups(), *([body] if body else []))
        return self._json({"error": "no such page"}, 404)

    def _repo(self, name: str, revision: str, *, listing: bool = False) -> tuple[Repo, str] | None:
        """Return a repository and commit, or answer as the hub does where there is none."""
        repo = self.hub.repos.get(name)
        held = (
            self.hub.token is not None
            and self.headers.get("Authorization") == f"Bearer {self.hub.token}"
        )
        if self.headers.get("Authorization") == "Bearer wrong":
            self._json({}, 401, {"X-Error-Message": "Invalid credentials in Authorization header"})
        elif repo is None or (repo.private and not held):
            self._json({}, 404 if held else 401, {"X-Error-Code": "RepoNotFound"})
        elif repo.gated and not held and not listing:
            self._json({}, 403 if held else 401, {"X-Error-Code": "GatedRepo"})
        else:
            commit = revision if revision in repo.commits else repo.revisions.get(revision)
            if commit is not None:
                return repo, commit
            self._json({}, 404, {"X-Error-Code": "RevisionNotFound"})
        return None

    def _digest(self, name: str, data: bytes) -> tuple[str, int, bool]:
        large = name.endswith(_LFS)
        digest = sha256(data) if large else git_id(data)
        faults = self.hub.faults
        return faults.digests.get(name, digest), faults.sizes.get(name, len(data)), large

    def _upload(self, digest: str, body: bytes) -> None:
        self.hub.uploads[digest] = body
        self._json({})

    def _validate(self, _: bytes) -> None:
        self._json({"errors": [], "warnings": []})

    def _info(self, name: str, revision: str = "main") -> None:
        found = self._repo(name, revision, listing=True)
        if found is None:
            return
        repo, commit = found
        siblings = []
        for file, data in repo.commits[commit].items():
            sibling: dict[str, Any] = {"rfilename": file}
            if "blobs" in parse_qs(urlsplit(self.path).query) and not self.hub.faults.bare_listing:
                digest, size, large = self._digest(file, data)
                sibling |= {"size": size, "blobId": "0" * 40 if large else digest}
                if large:
                    sibling["lfs"] = {"size": size, "sha256": digest, "pointerSize": 130}
            siblings.append(sibling)
        for extra in self.hub.faults.extra_names:
            siblings.append({"rfilename": extra, "size": 1, "blobId": "0" * 40})
        card = {"license": repo.license} if repo.license else {}
        self._json(
            {
                "id": name,
                "sha": self.hub.faults.commit or commit,
                "private": repo.private,
                "gated": "manual" if repo.gated else False,
                "siblings": siblings,
                "cardData": card,
                "tags": [],
            }
        )

    def _tree(self, name: str, revision: str) -> None:
        found = self._repo(name, revision, listing=True)
        if found is None:
            return
        entries = []
        for file, data in found[0].commits[found[1]].items():
            digest, size, large = self._digest(file, data)
            entry: dict[str, Any] = {"type": "file", "path": file, "size": size, "oid": digest}
            if large:
                entry |= {"oid": "0" * 40}
                entry["lfs"] = {"oid": digest, "size": size, "pointerSize": 130}
            entries.append(entry)
        self._json(entries)

    def _resolve(self, name: str, revision: str, file: str) -> None:
        found = self._repo(name, revision)
        if found is None:
            return
        data = found[0].commits[found[1]].get(file)
        if data is None:
            return self._json({}, 404, {"X-Error-Code": "EntryNotFound"})
        digest, size, large = self._digest(file, data)
        headers = {"X-Repo-Commit": found[1], "ETag": f'"{digest}"'}
        if not large:
            return self._send_bytes(data, headers, file)
        at = f"{self.hub.storage}/storage/{sha256(data)}/{file}"
        linked = {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(size), "Location": at}
        return self._json({}, 302, {**headers, **linked})

    def _send_file(self, digest: str, file: str) -> None:
        for repo in self.hub.repos.values():
            for files in repo.commits.values():
                for data in files.values():
                    if sha256(data) == digest:
                        return self._send_bytes(data, {"ETag": f'"{digest}"'}, file)
        return self._json({}, 404)

    def _send_bytes(self, data: bytes, headers: dict[str, str], file: str) -> None:
        faults = self.hub.faults
        data = faults.bodies.get(file, data)
        begin, stop, status = 0, len(data), 200
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted and not faults.ignore_range:
            begin, status = int(wanted[1]), 206
            if begin >= len(data):
                return self._json({}, 416, {"Content-Range": f"bytes */{len(data)}"})
            stop = min(stop, int(wanted[2]) + 1) if wanted[2] else stop
            headers = {**headers, "Content-Range": f"bytes {begin}-{stop - 1}/{len(data)}"}
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(stop - begin)}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            end = min(stop, begin + faults.cut_after.get(file, len(data)))
            self._pour(data[begin:end])
            self.close_connection = self.close_connection or end < stop

    def _pour(self, data: bytes) -> None:
        rate, step = self.hub.faults.bytes_per_second, 32 << 10
        for at in range(0, len(data), step):
            piece = data[at : at + step]
            self.wfile.write(piece)
            self.hub.count(len(piece))
            if rate:
                time.sleep(len(piece) / rate)

    def _create(self, body: bytes) -> None:
        wanted = json.loads(body)
        if (
            self.hub.token is None
            or self.headers.get("Authorization") != f"Bearer {self.hub.token}"
        ):
            return self._json(
                {}, 401, {"X-Error-Message": "Invalid credentials in Authorization header"}
            )
        name = (
            f"{wanted['organization']}/{wanted['name']}"
            if wanted.get("organization")
            else wanted["name"]
        )
        url = {"url": f"{self.hub.endpoint}/{name}", "name": name, "id": name}
        if name in self.hub.repos:
            return self._json(url, 409)
        private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
        self.hub.add(name, {".gitattributes": b""}, private=private)
        return self._json(url)

    def _preupload(self, _: str, body: bytes) -> None:
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(_LFS) else "regular",
                "shouldIgnore": False,
                "oid": None,
            }
            for file in json.loads(body)["files"]
        ]
        self._json({"files": files})

    def _batch(self, _: str, body: bytes) -> None:
        objects = []
        for thing in json.loads(body)["objects"]:
            href = f"{self.hub.endpoint}/upload/{thing['oid']}"
            objects.append({**thing, "actions": {"upload": {"href": href}}})
        self._json({"transfer": "basic", "objects": objects})

    def _commit(self, name: str, revision: str, body: bytes) -> None:
        found = self._repo(name, revision)
        if found is None:
            return
        files = dict(found[0].commits[found[1]])
        for line in body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                files[value["path"]] = self.hub.uploads[value["oid"]]
        commit = found[0].commit(files, revision)
        self._json(
            {
                "commitUrl": f"{self.hub.endpoint}/{name}/commit/{commit}",
                "commitOid": commit,
                "success": True,
            }
        )

    def _json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        for key, text in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(key, text)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


@contextmanager
def running_hub() -> Iterator[Hub]:
    """Yield a hub that serves until the block ends."""
    hub = Hub()
    try:
        yield hub
    finally:
        hub.close()
