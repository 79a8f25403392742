"""Pages of runs in progress, from a small server on this machine: `python -m pipeline view [RUN]`.

Only users with the token may read and act: the server listens on 127.0.0.1, every request requires the token (first in the
address, then in a cookie that other sites cannot send), and requests with another host name are refused, which prevents DNS
rebinding. The only actions on a run are the commands of `Door.act`.
"""

import hashlib
import hmac
import json
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, quote

import uvicorn
from markupsafe import Markup, escape
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from analysis.details import HERE, TEMPLATES, thinned
from analysis.load import load
from analysis.report import html
from analysis.rows import curve_rows
from pipeline.errors import GroundworkError
from pipeline.store.paths import TryPaths

ACTIONS = ("pause", "resume", "pin", "ban", "clear", "propose")
"""Actions that a user may take."""
_COOKIE = "groundwork"
_POLICY = "; ".join(
    (
        *("default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "img-src 'self' data:"),
        *("form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"),
    )
)
_CURVES = 12
"""Most curves drawn at the same time."""


class Door(Protocol):
    """The interface of the pages to the pipeline."""

    def runs(self) -> Sequence[Mapping[str, str]]:
        """Name, state and summary line of every run, newest first."""

    def folder(self, run: str) -> Path:
        """The folder of the run with this name. Raises `BadInput`."""

    def state(self, run: str) -> Mapping[str, Any]:
        """Content of the page of a run: `page`, `costs`, `waiting`, `learning`, `holder`, `finished`, `paused`. Raises
        `BadInput`."""

    def running(self, run: str) -> Sequence[tuple[str, TryPaths]]:
        """Name and try of the running trials."""

    def command(self, run: str, what: str, candidate: str, text: str) -> str:
        """The equivalent command line of an action."""

    def act(self, run: str, what: str, candidate: str, text: str) -> str:
        """Run an action; returns what its command prints. Raises `GroundworkError`."""


def serve(door: Door, token: str, listening: socket.socket) -> None:
    """Serve until interrupted."""
    config = uvicorn.Config(application(door, token), log_level="warning", access_log=False)
    uvicorn.Server(config).run(sockets=[listening])


def application(door: Door, token: str) -> Starlette:
    """The pages as an ASGI application."""
    pages = _Pages(door, token)
    routes = [
        Route("/", pages.list_runs),
        Route("/run/{run:path}/part", pages.part),
        Route("/run/{run:path}/curves", pages.curves),
        Route("/run/{run:path}/report", pages.report),
        Route("/run/{run:path}/confirm", pages.confirm),
        Route("/run/{run:path}/act", pages.act, methods=["POST"]),
        Route("/run/{run:path}", pages.run),
        Mount("/static", StaticFiles(directory=HERE / "static")),
    ]
    handlers = {GroundworkError: _refused}
    guard = Middleware(BaseHTTPMiddleware, dispatch=_guard(token))
    return Starlette(routes=routes, middleware=[guard], exception_handlers=handlers)


def _guard(token: str) -> Callable[[Request, Callable[[Request], Awaitable[Response]]], Awaitable[Response]]:
    async def dispatch(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        if request.url.hostname not in ("127.0.0.1", "localhost"):
            return PlainTextResponse("open this page as http://127.0.0.1 or http://localhost", 400)
        given = request.query_params.get("token", "")
        if given and _same(given, token):
            answer: Response = RedirectResponse(request.url.path, 303)
            answer.set_cookie(_COOKIE, token, httponly=True, samesite="strict")
        elif _same(request.cookies.get(_COOKIE, ""), token):
            answer = await call_next(request)
            answer.headers.setdefault("Content-Security-Policy", _POLICY)
        else:
            answer = PlainTextResponse("open the address that `python -m pipeline view` printed, with its token", 403)
        answer.headers["Cache-Control"] = "no-store"
        answer.headers["X-Content-Type-Options"] = "nosniff"
        answer.headers["Referrer-Policy"] = "no-referrer"
        return answer

    return dispatch


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(), token.encode())


def _refused(request: Request, error: Exception) -> Response:
    return _page("live_done.html", title="Refused", run="", said=str(error), failed=True, status=400)


def _page(template: str, status: int = 200, **values: Any) -> HTMLResponse:
    return HTMLResponse(TEMPLATES.get_template(template).render(**values), status)


class _Pages:
    """Request handlers. Most are plain functions, which Starlette runs in threads, so that reading a run does not block
    other requests."""

    def __init__(self, door: Door, token: str) -> None:
        self._door, self._token = door, token
        self._reports: dict[str, tuple[str, str]] = {}

    def list_runs(self, request: Request) -> Response:
        """The list of all runs."""
        return _page("live_runs.html", title="Runs", run="", runs=self._door.runs())

    def run(self, request: Request) -> Response:
        """The page of one run with its actions."""
        run = request.path_params["run"]
        state = self._door.state(run)
        return _page("live_run.html", title=run, run=run, digest=_digest(state), **state)

    def part(self, request: Request) -> Response:
        """The part of the page that changes; an empty answer (204) if the browser already has this version."""
        run = request.path_params["run"]
        state = self._door.state(run)
        digest = _digest(state)
        if request.query_params.get("seen") == digest:
            return Response(status_code=204)
        return _page("live_part.html", run=run, digest=digest, **state)

    def curves(self, request: Request) -> Response:
        """Curves of the running trials as JSON."""
        found = []
        for name, paths in self._door.running(request.path_params["run"])[:_CURVES]:
            rows = list(curve_rows(paths))
            points = thinned([(row["step"], row["value"]) for row in rows if row["metric"] == rows[0]["metric"]])
            if points:
                steps, values = zip(*points, strict=True)
                found.append({"name": name, "metric": rows[0]["metric"], "steps": steps, "values": values})
        return JSONResponse(found)

    def report(self, request: Request) -> Response:
        """The same page as `python -m pipeline report`, regenerated if the run has changed. It contains its own policy."""
        run = request.path_params["run"]
        state = self._door.state(run)
        digest = _digest({**state, "page": {**state["page"], "times": ""}})
        known = self._reports.get(run)
        if known is None or known[0] != digest:
            head = str(Markup('<a href="/run/{}">Live</a>').format(escape(quote(run))))
            known = (digest, html(load(self._door.folder(run)), head))
            self._reports = {run: known}
        return HTMLResponse(known[1], headers={"Content-Security-Policy": "frame-ancestors 'none'"})

    def confirm(self, request: Request) -> Response:
        """A page that asks for confirmation of an action."""
        run, given = request.path_params["run"], request.query_params
        what, candidate, text = given.get("what", ""), given.get("candidate", "").strip(), given.get("text", "")
        if what not in ACTIONS:
            return _page("live_done.html", status=400, title=run, run=run, said="choose an action", failed=True)
        question = f"{what.capitalize()} {candidate or run}?" if what != "clear" else f"Remove the mark of {candidate}?"
        command = self._door.command(run, what, candidate, text)
        given_back = {"what": what, "candidate": candidate, "text": text, "command": command, "question": question}
        return _page("live_confirm.html", 200, title=run, run=run, key=self._token, **given_back)

    async def act(self, request: Request) -> Response:
        """Run the action that was confirmed on the page with the key."""
        run, body = request.path_params["run"], (await request.body()).decode(errors="replace")
        given = {name: values[-1] for name, values in parse_qs(body, keep_blank_values=True).items()}
        if not _same(given.get("key", ""), self._token) or given.get("what") not in ACTIONS:
            return _page("live_done.html", status=403, title=run, run=run, said="confirm it on the page", failed=True)
        try:
            said = self._door.act(run, given["what"], given.get("candidate", ""), given.get("text", ""))
        except GroundworkError as error:
            return _page("live_done.html", status=400, title=run, run=run, said=str(error), failed=True)
        return _page("live_done.html", title=run, run=run, said=said, failed=False)


def _digest(state: Mapping[str, Any]) -> str:
    """A hash of the content of a page."""
    return hashlib.sha256(json.dumps(state, sort_keys=True, default=str).encode()).hexdigest()[:16]
