"""Puts a new folder in the place of an old one, so that at every moment one of them is whole under the name."""

import ctypes
import errno
import os
from pathlib import Path

__all__ = ["exchange"]

AT_FDCWD = -100
RENAME_EXCHANGE = 2
UNSUPPORTED = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP}


def exchange(one: Path, other: Path) -> bool:
    """Let two folders of one file system swap their names in a single step.

    Returns:
        False, and nothing was done, where the system or the file system cannot.

    Raises:
        OSError: It can, and would not.

    Source: renameat2(2), Linux 3.15 and glibc 2.28 or later.
    """
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code), str(other))
