"""The parent's side of the processes that are measured."""

import json
import subprocess
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from mmedge.errors import MmedgeError
from mmedge.records import to_plain
from mmedge_bench.setup import Setup

__all__ = ["Process"]

PATIENCE_S = 20.0


class Process:
    """One contestant in a process of its own.

    Args:
        name: Of the contestant.
        setup: How it is opened.
    """

    def __init__(self, name: str, setup: Setup) -> None:
        self._name = name
        self._child = subprocess.Popen(
            [sys.executable, "-m", "mmedge_bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._send({"name": name, "setup": to_plain(setup)})

    def ask(self, do: str, **arguments: Any) -> Any:
        """Let it do something and wait for what it says.

        Raises:
            MmedgeError: It cannot, or the process died; the text says why.
        """
        self._send({"do": do, **arguments})
        assert self._child.stdout is not None  # it was opened as a pipe
        line = self._child.stdout.readline()
        answer = json.loads(line) if line else {"error": self._last_words()}
        if isinstance(answer, Mapping) and "error" in answer:
            raise MmedgeError(f"{self._name}: {answer['error']}")
        return answer

    def close(self) -> None:
        """End the process."""
        try:
            self._child.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.communicate()

    def __enter__(self) -> "Process":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._child.kill()
        self.close()

    def _send(self, request: Mapping[str, Any]) -> None:
        assert self._child.stdin is not None  # it was opened as a pipe
        try:
            self._child.stdin.write(json.dumps(request) + "\n")
            self._child.stdin.flush()
        except BrokenPipeError:
            return  # what it said last is read by ask()

    def _last_words(self) -> str:
        assert self._child.stderr is not None  # it was opened as a pipe
        lines = self._child.stderr.read().strip().splitlines()
        return lines[-1] if lines else f"the process ended with status {self._child.wait()}"
