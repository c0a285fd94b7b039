"""The other end of an annotator: what a browser sends, and what comes to it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from kpwidget.widget import Annotator


class Browser:
    """The other end of an annotator: sends messages and keeps those that come.

    Everything that arrives must be JSON that a kernel can send, without NaN.
    """

    def __init__(self, annotator: Annotator, client: str = "c1") -> None:
        self.annotator = annotator
        self.client = client
        self.seq = 0
        self.messages: list[dict[str, Any]] = []
        self.buffers: list[list[bytes]] = []
        self.batches: list[list[Any]] = []
        self.batch_buffers: list[list[memoryview]] = []
        annotator.send = self._take  # type: ignore[method-assign]
        self.receive({"kind": "open"})
        annotator._painter._manager.send = self._take_batch

    def _take(self, content: Any, buffers: Any = None) -> None:
        json.dumps(content, allow_nan=False, ensure_ascii=False).encode()
        self.messages.append(content)
        self.buffers.append(list(buffers or []))

    def _take_batch(self, metadata: Any, buffers: Any = None) -> None:
        head, *rest = buffers
        self.batches.append(json.loads(bytes(head)))
        self.batch_buffers.append(rest)

    def receive(self, content: Any, buffers: Any = ()) -> None:
        """Hand a message to Python as a kernel does: through JSON."""
        self.annotator._handle_custom_msg(json.loads(json.dumps(content)), list(buffers))

    def edits(self, *edits: dict[str, Any], base: int = 0, client: str | None = None) -> None:
        self.receive(
            {"kind": "edits", "client": client or self.client, "base": base, "edits": list(edits)}
        )

    def do(self, **body: Any) -> int:
        """Send one edit with the next number; returns the number."""
        self.seq += 1
        self.edits({"seq": self.seq, **body})
        return self.seq

    def point(self, uid: str, keypoint: int, x: float, y: float, **more: Any) -> int:
        body = {
            "op": "point",
            "image": 0,
            "instance": uid,
            "keypoint": keypoint,
            "x": x,
            "y": y,
            "visibility": 2,
            "next": [0, uid, min(keypoint + 1, 3)],
        }
        return self.do(**{**body, **more})

    def hello(self, blank: bool = True, client: str | None = None) -> None:
        self.receive({"kind": "hello", "client": client or self.client, "blank": blank})

    def viewport(self, rev: int = 1, **more: Any) -> None:
        message = {
            "kind": "viewport",
            "client": self.client,
            "rev": rev,
            "image": 0,
            "viewport": [2.0, 5.0, 6.0],
            "dpr": 1.0,
            "w": 300.0,
            "h": 200.0,
        }
        self.receive({**message, **more})

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["kind"] == kind]

    @property
    def scene(self) -> dict[str, Any]:
        return dict(self.annotator.scene)

    @property
    def points(self) -> dict[str, list[float]]:
        return {one["uid"]: one["points"] for one in self.scene["instances"]}

    def rejections(self) -> list[tuple[int, str]]:
        return [(message["seq"], message["why"]) for message in self.of("rejected")]

    def acknowledged(self, client: str | None = None) -> int:
        wanted = client or self.client
        return max((m["seq"] for m in self.of("ack") if m["client"] == wanted), default=0)


def wait_for(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until something is so; fail when it does not become so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "what was waited for did not happen"
        time.sleep(0.005)
