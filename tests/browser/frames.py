"""What goes over a page's kernel websocket, decoded."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

from playwright.sync_api import Page

Direction = Literal["sent", "received"]


@dataclass(frozen=True)
class Frame:
    """One websocket frame.

    Attributes
    ----------
    direction : str
        ``"sent"`` by the page or ``"received"`` by it.
    time : float
        Seconds on the browser's clock.
    payload : bytes
        The frame's payload.
    """

    direction: Direction
    time: float
    payload: bytes
    is_text: bool

    @property
    def size(self) -> int:
        """Payload bytes."""
        return len(self.payload)

    @cached_property
    def message(self) -> dict[str, Any]:
        """Jupyter message: channel, header, parent_header, metadata, content, buffers (bytes).

        Raises
        ------
        ValueError
            If the frame is in neither of Jupyter's two websocket protocols.
        """
        if self.is_text:
            message: dict[str, Any] = json.loads(self.payload)
            return message | {"buffers": []}
        return decode_v1(self.payload)

    @property
    def msg_type(self) -> str:
        """Type of the Jupyter message, such as ``comm_msg``."""
        return str(self.message["header"]["msg_type"])

    @property
    def content(self) -> dict[str, Any]:
        """Content of the Jupyter message."""
        content: dict[str, Any] = self.message["content"]
        return content

    @property
    def subshell_id(self) -> str | None:
        """The kernel subshell the message asks for; None for the main shell."""
        value: str | None = self.message["header"].get("subshell_id")
        return value

    @property
    def custom(self) -> Any:
        """Content of a widget's custom message; None for any other message."""
        data = self.content.get("data") if self.msg_type == "comm_msg" else None
        if isinstance(data, dict) and data.get("method") == "custom":
            return data.get("content")
        return None


def decode_v1(payload: bytes) -> dict[str, Any]:
    """Jupyter message in a frame of the ``v1.kernel.websocket.jupyter.org`` protocol [1]_.

    Raises
    ------
    ValueError
        If the offsets do not fit the payload, or a part is not JSON.

    References
    ----------
    .. [1] https://jupyter-server.readthedocs.io/en/latest/developers/websocket-protocols.html
    """
    count = int.from_bytes(payload[:8], "little")
    if not 6 <= count <= len(payload) // 8 - 1:
        raise ValueError(
            f"websocket frame of {len(payload)} bytes names {count} offsets, expected at least 6 "
            "that fit: not the v1.kernel.websocket.jupyter.org protocol"
        )
    offsets = [int.from_bytes(payload[8 * (i + 1) : 8 * (i + 2)], "little") for i in range(count)]
    if offsets != sorted(offsets) or offsets[-1] != len(payload):
        raise ValueError(
            f"websocket frame of {len(payload)} bytes has offsets {offsets}, expected rising ones "
            "that end with the payload"
        )
    parts = [payload[a:b] for a, b in pairwise(offsets)]
    names = ("header", "parent_header", "metadata", "content")
    message: dict[str, Any] = {"channel": parts[0].decode()}
    message |= {name: json.loads(part) for name, part in zip(names, parts[1:5], strict=True)}
    return message | {"buffers": parts[5:]}


class FrameRecorder:
    """Record the frames of a page's kernel websockets, from before the page is opened."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._frames: list[Frame] = []
        self._kernel_sockets: set[str] = set()
        # The DevTools protocol has the browser's own times, which page.on("websocket") has not.
        self._session = page.context.new_cdp_session(page)
        self._session.on("Network.webSocketCreated", self._created)
        self._session.on("Network.webSocketFrameSent", lambda e: self._add("sent", e))
        self._session.on("Network.webSocketFrameReceived", lambda e: self._add("received", e))
        self._session.send("Network.enable")

    def _created(self, event: dict[str, Any]) -> None:
        if "/api/kernels/" in event["url"] and "/channels" in event["url"]:
            self._kernel_sockets.add(event["requestId"])

    def _add(self, direction: Direction, event: dict[str, Any]) -> None:
        opcode = event["response"]["opcode"]
        if event["requestId"] not in self._kernel_sockets or opcode not in (1, 2):
            return
        data: str = event["response"]["payloadData"]
        payload = data.encode() if opcode == 1 else base64.b64decode(data)
        self._frames.append(Frame(direction, event["timestamp"], payload, opcode == 1))

    def frames(
        self, direction: Direction | None = None, msg_type: str | None = None
    ) -> list[Frame]:
        """Frames recorded so far, in order."""
        self._page.evaluate("0")  # a round trip, so that what the browser told before is here
        return [
            frame
            for frame in self._frames
            if direction in (None, frame.direction) and msg_type in (None, frame.msg_type)
        ]

    def stop(self) -> None:
        """Record no more."""
        self._session.detach()

    def clear(self) -> None:
        """Forget the frames recorded so far."""
        self._page.evaluate("0")
        self._frames.clear()
