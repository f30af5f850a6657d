"""The process that builds, seen from the one that asked: it may die, and the next build has a new one."""

import fcntl
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

from mmedge.errors import EngineError
from mmedge_export.engines.build_process import LOG

__all__ = ["Worker"]

PREFIX = "mmedge-build-"
YOUNG_S = 60.0  # not locked yet, perhaps


class Worker:
    """Builds one engine after the other in a child process; a context manager.

    Args:
        timeout_s: After that a build is given up.

    Attributes:
        home: A folder for jobs. One that a killed command left is cleared away by the next one.
    """

    def __init__(self, *, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._child: subprocess.Popen[str] | None = None
        self._words: IO[str] | None = None
        _clear_away()
        self._folder = tempfile.TemporaryDirectory(prefix=PREFIX)  # no file of the user's is a library here
        self.home = Path(self._folder.name)
        self._alive = os.open(self.home, os.O_RDONLY)
        fcntl.flock(self._alive, fcntl.LOCK_EX)  # until this process ends, however it does

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        self._folder.cleanup()
        os.close(self._alive)

    def build(self, folder: Path) -> int:
        """Do the job in a folder.

        Returns:
            0 if the process lived, else how it ended: its exit status, negative for a signal. Its last words are then
            in the log of the job.

        Raises:
            EngineError: It took too long.
        """
        child = self._running()
        assert child.stdin is not None  # both were asked for
        assert child.stdout is not None
        try:
            child.stdin.write(f"{folder}\n")
            child.stdin.flush()
        except BrokenPipeError:  # it died between two jobs
            return self._died(folder)
        ready, _, _ = select.select([child.stdout], [], [], self._timeout_s)
        if not ready:
            self._end()
            raise EngineError(f"a build took more than {self._timeout_s:.0f} s and was given up; try a lower --level")
        return 0 if child.stdout.readline() else self._died(folder)

    def _running(self) -> "subprocess.Popen[str]":
        if self._child is None:
            self._words = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 - as long as the child
            command = [sys.executable, "-m", "mmedge_export.engines.build_process"]
            self._child = subprocess.Popen(
                command,
                cwd=self.home,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._words,
                text=True,
            )
        return self._child

    def _died(self, folder: Path) -> int:
        assert self._child is not None  # who died was there
        assert self._words is not None
        status = self._child.wait()
        self._words.seek(0)
        last = (self._words.read().strip().splitlines() or ["it said nothing"])[-1]
        self._end()
        with (folder / LOG).open("a", encoding="utf-8") as log:
            log.write(f"ERROR\t{last}\n")
        return status or 1

    def _end(self) -> None:
        child, words = self._child, self._words
        self._child = self._words = None
        if child is None or words is None:
            return
        child.kill()
        child.communicate()
        words.close()


def _clear_away() -> None:
    """Remove the folders of this user's commands that were killed: nobody holds them any more."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            facts = os.fstat(folder)
            if facts.st_uid == os.getuid() and time.time() - facts.st_mtime > YOUNG_S:  # noqa: TID251 - of a file
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
        except BlockingIOError:
            continue  # its command is alive
        finally:
            os.close(folder)
