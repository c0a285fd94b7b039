"""A TCP proxy that adds latency, and cuts connections, between the browser and the server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from types import TracebackType

CHUNK = 1 << 16
START_SECONDS = 10.0


class Proxy:
    """Forward a local port to another one, in order, with a settable one-way delay.

    Runs in a thread of its own, so it works while the test waits for something else.

    Parameters
    ----------
    target_port : int
        Port on 127.0.0.1 to forward to.
    delay : float
        Seconds that each byte is held back, each way.
    """

    def __init__(self, target_port: int, delay: float = 0.0) -> None:
        self.target_port = target_port
        self.port = 0
        #: Bytes forwarded so far from the browser to the server.
        self.bytes_up = 0
        #: Bytes forwarded so far from the server to the browser.
        self.bytes_down = 0
        self._is_cut = False
        self._is_mute = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._started = threading.Event()
        self._failure: Exception | None = None
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="kpwidget-proxy", daemon=True)
        self._delay = 0.0
        self.delay = delay

    @property
    def delay(self) -> float:
        """Seconds that each byte is held back, each way; may be set at any time."""
        return self._delay

    @delay.setter
    def delay(self, seconds: float) -> None:
        if not 0 <= seconds < 60:
            raise ValueError(f"delay is {seconds!r}, expected seconds in [0, 60)")
        self._delay = float(seconds)

    @property
    def url(self) -> str:
        """Base address of the proxied server, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def n_connections(self) -> int:
        """Connections from the browser that are open now."""
        return len(self._writers) // 2

    def __enter__(self) -> Proxy:
        self._thread.start()
        if not self._started.wait(START_SECONDS):
            raise RuntimeError(f"the proxy did not start within {START_SECONDS:.0f} s")
        if self._failure is not None:
            raise RuntimeError("the proxy did not start") from self._failure
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._call(self._stop.set)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        """Break all connections; new ones are refused until `restore`."""
        self._call(self._cut)

    def mute(self) -> None:
        """Drop what the server sends, until `cut`; what the browser sends still arrives."""
        self._call(self._mute)

    def restore(self) -> None:
        """Let connections through again."""
        self._call(self._restore)

    def _call(self, function: Callable[[], None]) -> None:
        """Run a function in the proxy's thread and wait until it has."""
        done = threading.Event()

        def call() -> None:
            try:
                function()
            finally:
                done.set()

        self._loop.call_soon_threadsafe(call)
        if not done.wait(START_SECONDS):
            raise RuntimeError(f"the proxy's thread did not answer in {START_SECONDS:.0f} s")

    def _mute(self) -> None:
        self._is_mute = True

    def _cut(self) -> None:
        self._is_cut = True
        self._is_mute = False
        for writer in self._writers:
            writer.transport.abort()

    def _restore(self) -> None:
        self._is_cut = False

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        except Exception as error:  # told by __enter__
            self._failure = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=CHUNK)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stop.wait()
        server.close()
        self._cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        ends = [writer]
        self._writers.add(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection(
                "127.0.0.1", self.target_port, limit=CHUNK
            )
            ends.append(far_writer)
            self._writers.add(far_writer)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, far_writer, self._count_up))
                group.create_task(self._pump(far_reader, writer, self._count_down))
        except* OSError:
            # An end went away; the other is told so below, as it would be without a proxy.
            pass
        finally:
            for end in ends:
                end.close()
                self._writers.discard(end)

    def _count_up(self, count: int) -> None:
        self.bytes_up += count

    def _count_down(self, count: int) -> None:
        self.bytes_down += count

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        count: Callable[[int], None],
    ) -> None:
        """Copy one direction: each chunk waits for its own time, and none overtakes another."""
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def read() -> None:
            data = b"."
            while data:
                try:
                    data = await reader.read(CHUNK)
                except OSError:  # broken, not ended: nothing more comes either way
                    data = b""
                queue.put_nowait((self._loop.time() + self._delay, data))

        async with asyncio.TaskGroup() as group:
            group.create_task(read())
            while True:
                due, data = await queue.get()
                await asyncio.sleep(max(0.0, due - self._loop.time()))
                if not data:
                    break
                if self._is_mute and count == self._count_down:
                    continue
                count(len(data))
                writer.write(data)
                await writer.drain()
        if writer.can_write_eof() and not writer.is_closing():
            writer.write_eof()
