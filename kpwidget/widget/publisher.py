"""The thread that tells the browser what has changed."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from typing import TYPE_CHECKING

from .wire import words

if TYPE_CHECKING:
    from .board import Board

logger = logging.getLogger(__name__)

#: Idle time before a poster is made, before neighbours are encoded and before what takes longer
#: than an edit may is looked at, in seconds.
_POSTER_AFTER = 2.0
_PREFETCH_AFTER = 0.3
_CHECK_AFTER = 0.5
#: How often the journal is looked into for what others have done, in seconds.
_LOOK_EVERY = 3.0
#: Idle time before a labels file is saved by itself, in seconds.
_SAVE_AFTER = 10.0


class Publisher:
    """The thread that tells the browser what has changed; it ends with its board."""

    def __init__(self, board: Board) -> None:
        self._board = weakref.ref(board)
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_stopped = False
        self._poster_at: float | None = None
        self._prefetch_at: float | None = None
        self._check_at: float | None = None
        self._look_at: float | None = None
        self._save_at: float | None = None
        self._again_at: float | None = None

    def start(self) -> None:
        """Start the thread, once the first view has said hello."""
        with self._lock:
            if self._thread is None and not self._is_stopped:
                self._thread = threading.Thread(
                    target=self._run, name="kpwidget-publisher", daemon=True
                )
                self._thread.start()
        self._wake.set()

    def stop(self) -> None:
        """End the thread."""
        self._is_stopped = True
        self._wake.set()

    def wake(self) -> None:
        """Have what has changed told soon. Before the first view there is only the scene."""
        if self._thread is None:
            board = self._board()
            if board is not None:
                board._publish()
        self._wake.set()

    def nudge(self) -> None:
        """Have it told soon if there is a view, from a thread that may hold any lock."""
        self._wake.set()

    def plan_again(self, seconds: float) -> None:
        """Publish once more after a while: something could not be read."""
        self._again_at = time.monotonic() + seconds

    def plan_poster(self) -> None:
        """Have the poster made when nothing has changed for a while."""
        self._poster_at = time.monotonic() + _POSTER_AFTER

    def plan_prefetch(self) -> None:
        """Have the neighbours encoded when the image has been shown."""
        self._prefetch_at = time.monotonic() + _PREFETCH_AFTER

    def plan_check(self) -> None:
        """Have pace and labels looked at when nothing has changed for a while."""
        self._check_at = time.monotonic() + _CHECK_AFTER

    def plan_save(self) -> None:
        """Have the labels file saved when nothing has changed for a while."""
        self._save_at = time.monotonic() + _SAVE_AFTER

    def _due(self) -> float | None:
        planned = (
            self._poster_at,
            self._prefetch_at,
            self._check_at,
            self._look_at,
            self._save_at,
            self._again_at,
        )
        times = [at for at in planned if at is not None]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _run(self) -> None:
        has_failed = False
        while not self._is_stopped:
            self._wake.wait(self._due())
            self._wake.clear()
            board = self._board()
            if board is None or self._is_stopped:
                return
            try:
                if self._again_at is not None and time.monotonic() >= self._again_at:
                    self._again_at = None
                board._publish()
                now = time.monotonic()
                if self._prefetch_at is not None and now >= self._prefetch_at:
                    self._prefetch_at = None
                    board._prefetch()
                if self._check_at is not None and now >= self._check_at:
                    self._check_at = None
                    board._check()
                if self._save_at is not None and now >= self._save_at:
                    self._save_at = None
                    board._autosave()
                if board.dataset.recorder is None:
                    self._look_at = None
                elif self._look_at is None or now >= self._look_at:
                    self._look_at = now + _LOOK_EVERY
                    board._look_for_others()
                if self._poster_at is not None and now >= self._poster_at:
                    self._poster_at = None
                    board._pictures.submit(("poster", 0), board._make_poster, is_urgent=False)
                has_failed = False
            except Exception as error:
                # The thread must live on: without it nothing is acknowledged any more.
                logger.exception("publishing to the browser failed")
                board._outgoing.append(
                    {"kind": "notice", "level": "error", "text": f"Internal error: {words(error)}"}
                )
                if not has_failed:  # told at once; but a failure that stays is not tried for ever
                    self._wake.set()
                has_failed = True
            del board
