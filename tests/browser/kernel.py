"""A second client of a notebook's kernel, for the test to look into it from outside."""

from __future__ import annotations

import ast
import json
import time
from pathlib import Path
from typing import Any, Literal

import zmq
from jupyter_client.blocking.client import BlockingKernelClient

Where = Literal["beside", "main"]

#: numpy arrays and scalars, and sets, come back as JSON can hold them; others raise.
_TO_JSON = (
    "lambda o: o.tolist() if hasattr(o, 'tolist')"
    " else sorted(o) if isinstance(o, (set, frozenset))"
    " else __import__('json').JSONEncoder().default(o)"
)


class KernelError(RuntimeError):
    """What the test asked the kernel to do raised there."""


class KernelTimeoutError(TimeoutError):
    """The kernel did not answer in time."""


class KernelClient:
    """Evaluate expressions in a running kernel without the browser's help.

    Asked ``"beside"``, the expression runs in a subshell thread of the kernel: also while a cell
    runs in the main thread, as long as that cell lets other threads run. Asked on ``"main"``, or in
    a kernel without subshells, it waits for its turn behind the running cell.

    Parameters
    ----------
    connection_file : Path
        The kernel's connection file.
    """

    def __init__(self, connection_file: Path) -> None:
        # Only its sockets and its session: its blocking calls run an event loop of their own, and
        # Playwright's runs already in this thread.
        self._client = BlockingKernelClient()
        self._client.load_connection_file(str(connection_file))
        self._session = self._client.session
        self._shell: zmq.Socket[bytes] = self._client.connect_shell()
        self._control: zmq.Socket[bytes] = self._client.connect_control()
        self._has_subshells: bool | None = None
        self._subshell: str | None = None

    def _request(
        self,
        socket: zmq.Socket[bytes],
        msg_type: str,
        content: dict[str, Any],
        timeout: float,
        subshell: str | None = None,
    ) -> dict[str, Any]:
        message = self._session.msg(msg_type, content)
        if subshell is not None:
            message["header"]["subshell_id"] = subshell
        self._session.send(socket, message)
        msg_id = message["header"]["msg_id"]
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0 and socket.poll(int(1000 * left) + 1):
            _, reply = self._session.recv(socket, zmq.NOBLOCK)
            # An earlier request that timed out may have been answered since: not ours.
            if reply is not None and reply["parent_header"].get("msg_id") == msg_id:
                answer: dict[str, Any] = reply["content"]
                return answer
        raise KernelTimeoutError(f"the kernel did not answer {msg_type} within {timeout:g} s")

    @property
    def session_id(self) -> str:
        """The session that this client's messages carry in their header."""
        return str(self._session.session)

    @property
    def has_subshells(self) -> bool:
        """Whether the kernel offers subshells (asked once)."""
        if self._has_subshells is None:
            info = self._request(self._control, "kernel_info_request", {}, 30.0)
            self._has_subshells = "kernel subshells" in info.get("supported_features", [])
        return self._has_subshells

    def _place(self, on: Where, timeout: float) -> str | None:
        if on == "main" or not self.has_subshells:
            return None
        if self._subshell is None:
            reply = self._request(self._control, "create_subshell_request", {}, timeout)
            self._subshell = str(reply["subshell_id"])
        return self._subshell

    def _execute(
        self, code: str, expressions: dict[str, str], timeout: float, on: Where
    ) -> dict[str, Any]:
        content = {
            "code": code,
            "silent": True,
            "store_history": False,
            "user_expressions": expressions,
            "allow_stdin": False,
            "stop_on_error": False,
        }
        place = self._place(on, timeout)
        try:
            reply = self._request(self._shell, "execute_request", content, timeout, place)
        except KernelTimeoutError:
            raise KernelTimeoutError(
                f"the kernel did not evaluate within {timeout:g} s, asked on {on!r}: "
                f"{code or next(iter(expressions.values()))}"
            ) from None
        if reply["status"] != "ok":
            raise KernelError(_explain(code, reply))
        return reply

    def evaluate(self, expression: str, timeout: float = 30.0, on: Where = "beside") -> Any:
        """Value of a Python expression in the user's namespace, passed through JSON.

        numpy arrays come back as nested lists, NaN as NaN, tuples as lists.

        Raises
        ------
        KernelError
            If the expression raises, or its value is not JSON.
        KernelTimeoutError
            If there is no answer in time.
        """
        wrapped = f"__import__('json').dumps((\n{expression}\n), default={_TO_JSON})"
        reply = self._execute("", {"value": wrapped}, timeout, on)
        value = reply["user_expressions"]["value"]
        if value["status"] != "ok":
            raise KernelError(_explain(expression, value))
        return json.loads(ast.literal_eval(value["data"]["text/plain"]))

    def execute(self, code: str, timeout: float = 30.0, on: Where = "main") -> None:
        """Run Python code in the user's namespace, outside any cell.

        Raises
        ------
        KernelError
            If the code raises.
        KernelTimeoutError
            If it is not done in time.
        """
        self._execute(code, {}, timeout, on)

    def forget_subshell(self) -> None:
        """Ask for a new subshell next time; the kernel was restarted."""
        self._subshell = None

    def close(self) -> None:
        """Close the sockets; the kernel runs on."""
        for socket in (self._shell, self._control):
            socket.close(linger=0)
        self._client.stop_channels()


def _explain(code: str, error: dict[str, Any]) -> str:
    trace = "\n".join(error.get("traceback", []))
    return (
        f"{error.get('ename')}: {error.get('evalue')}\nin the kernel, evaluating: {code}\n{trace}"
    )
