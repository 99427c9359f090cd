"""Ctrl-C, SIGTERM and a closed terminal as requests: the loops finish their step, save, and leave."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Interrupted(Exception):  # noqa: N818, it is no error
    """A loop has stopped because signal `number` asked for it; what was to be saved is saved."""

    def __init__(self, number: int):
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number

    @property
    def exit_code(self) -> int:
        """What a process that this signal ended exits with: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.number


class StopRequest:
    """Within a `with` block, the first signal is noted for `check`; a second one acts as it always does.

    Signals that were ignored before (SIGHUP under nohup) stay so. Outside of the main thread it notes nothing.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        """Begin to note signals."""
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Leave signals to what they did before."""
        self._restore()

    def check(self) -> None:
        """Raise `Interrupted` if a signal has come."""
        if self.number is not None:
            raise Interrupted(self.number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        self._restore()
        # Not print: the signal may have come in the middle of one.
        text = f"\n{signal.Signals(number).name}: stopping after this step; once more stops at once\n"
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, text.encode())

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
