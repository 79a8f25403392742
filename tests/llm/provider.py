"""A provider of language models for tests: a real HTTP server on loopback that speaks OpenAI's and Anthropic's wire
formats, so that litellm's own client talks to it. Its answers come from a script.

    with Provider(script) as provider:
        … llm=openai_compatible llm.api_base=provider.openai
        … llm=anthropic llm.api_base=provider.anthropic
"""

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What the server does with one request."""

    text: str = ""
    """The answer, with status 200; else the error's message."""
    status: int = 200
    """HTTP status."""
    kind: str = "api_error"
    """The type of an error, as the providers name it."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Additional headers, e.g. Retry-After."""
    wait_s: float = 0.0
    """Time before the answer, seconds."""
    finish: str = "stop"
    """The reason why the answer ended, as OpenAI names it."""
    cut: bool = False
    """Whether the connection breaks in the middle of the answer."""
    body: Any = None
    """The whole body, in place of one made from the text: JSON, or bytes that need not be JSON."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """Keys of the body that replace those made from the text, e.g. `usage`."""


@dataclass(frozen=True)
class Asked:
    """One request."""

    path: str
    headers: Mapping[str, str]
    """Names are in lower case."""
    body: dict[str, Any]
    at: float

    @property
    def turns(self) -> list[tuple[str, str]]:
        """Roles and texts of the conversation, the system's first, in either format."""
        system = [{"role": "system", "content": self.body["system"]}] if "system" in self.body else []
        texts = [{"role": "user", "content": text} for text in self.body.get("input", ())]
        return [(turn["role"], _text(turn["content"])) for turn in [*system, *self.body.get("messages", texts)]]

    @property
    def text(self) -> str:
        return "\n".join(text for _, text in self.turns)

    @property
    def question(self) -> str:
        """The last turn."""
        return self.turns[-1][1]


Script = Callable[[Asked], Answer]


class Provider:
    """Serves until the block ends."""

    def __init__(self, script: Script) -> None:
        self.asked: list[Asked] = []
        self.answered = 0
        """Answers that were sent completely, for which a provider charges."""
        self._script = script
        self._lock = threading.Lock()
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_POST(self) -> None:
                provider._serve(self)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    @property
    def anthropic(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def openai(self) -> str:
        return f"{self.anthropic}/v1"

    def __enter__(self) -> "Provider":
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        asked = Asked(handler.path, {name.lower(): value for name, value in handler.headers.items()}, body, time.time())
        with self._lock:
            shared = max((common(asked.text, other.text) for other in self.asked), default=0)
            self.asked.append(asked)
            answer = self._script(asked)
        time.sleep(answer.wait_s)
        ways = {"/messages": _anthropic, "/embeddings": _embeddings}
        speaks = next((way for end, way in ways.items() if handler.path.endswith(end)), _openai)
        made = {**speaks(asked, answer, shared), **answer.more} if answer.body is None else answer.body
        data = made if isinstance(made, bytes) else json.dumps(made).encode()
        try:
            handler.send_response(answer.status)
            for name, value in {
                "Content-Type": "application/json",
                "Content-Length": len(data),
                "Connection": "close",  # so that no client keeps a socket open
                **answer.headers,
            }.items():
                handler.send_header(name, str(value))
            handler.end_headers()
            handler.wfile.write(data[: len(data) // 2] if answer.cut else data)
        except (BrokenPipeError, ConnectionResetError):
            return  # the client was killed, or has given up
        if answer.cut:
            handler.close_connection = True
        elif answer.status == 200:
            with self._lock:
                self.answered += 1


def common(one: str, two: str) -> int:
    """Length of the common prefix."""
    return next((at for at, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def _openai(asked: Asked, answer: Answer, shared: int) -> dict[str, Any]:
    if answer.status != 200:
        return {"error": {"message": answer.text, "type": answer.kind, "param": None, "code": answer.kind}}
    counted = {"prompt_tokens": len(asked.text) // 4, "completion_tokens": len(answer.text) // 4}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": asked.body["model"],
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": answer.text}, "finish_reason": answer.finish}
        ],
        "usage": {
            **counted,
            "total_tokens": sum(counted.values()),
            "prompt_tokens_details": {"cached_tokens": shared // 4},
        },
    }


def _embeddings(asked: Asked, answer: Answer, shared: int) -> dict[str, Any]:
    """OpenAI's vectors: the answer's text is a list of them."""
    if answer.status != 200:
        return _openai(asked, answer, shared)
    rows = [{"object": "embedding", "index": at, "embedding": row} for at, row in enumerate(json.loads(answer.text))]
    counted = {"prompt_tokens": len(asked.text) // 4, "total_tokens": len(asked.text) // 4}
    return {"object": "list", "data": rows, "model": asked.body["model"], "usage": counted}


def _anthropic(asked: Asked, answer: Answer, shared: int) -> dict[str, Any]:
    if answer.status != 200:
        return {"type": "error", "error": {"type": answer.kind, "message": answer.text}}
    reasons = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal"}
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": asked.body["model"],
        "content": [{"type": "text", "text": answer.text}] if answer.text else [],
        "stop_reason": reasons[answer.finish],
        "usage": {
            "input_tokens": (len(asked.text) - shared) // 4,
            "cache_read_input_tokens": shared // 4,
            "cache_creation_input_tokens": 0,
            "output_tokens": len(answer.text) // 4,
        },
    }
