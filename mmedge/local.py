"""What mmedge keeps for this user on this machine, outside of bundles: ``~/.cache/mmedge``.

All of it can be removed: engines are then built again, and nothing counts as measured.
"""

import hashlib
import hmac
import os
import secrets
import tempfile
from pathlib import Path

__all__ = ["cache_folder", "is_sealed", "read_if_there", "seal", "write_atomic"]

SEAL_KEY = "seal.key"
SEAL_KEY_BYTES = 32
MAX_CACHE_BYTES = 1 << 30


def cache_folder() -> Path:
    """Where it is; the folder need not exist."""
    return Path.home() / ".cache" / "mmedge"


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file that is whole or not there, whatever happens meanwhile and whoever else writes it.

    Raises:
        OSError: It cannot be written; what was there is there still.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.chmod(0o644)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def read_if_there(path: Path) -> bytes:
    """The bytes of a file of reasonable size, or none."""
    try:
        return path.read_bytes() if path.stat().st_size <= MAX_CACHE_BYTES else b""
    except OSError:
        return b""


def seal(content: bytes) -> str:
    """A mark that only this user on this machine can make: HMAC-SHA-256 with a key that is made once.

    Raises:
        OSError: The key cannot be stored.

    Source: RFC 2104.
    """
    return _mark(content, _key() or _new_key())


def is_sealed(content: bytes, mark: str) -> bool:
    """Whether :func:`seal` gave this mark for this content, here."""
    key = _key()
    return bool(key) and hmac.compare_digest(_mark(content, key).encode(), mark.encode())


def _mark(content: bytes, key: bytes) -> str:
    return hmac.new(key, content, hashlib.sha256).hexdigest()


def _key() -> bytes:
    key = read_if_there(cache_folder() / SEAL_KEY)
    return key if len(key) == SEAL_KEY_BYTES else b""


def _new_key() -> bytes:
    path = cache_folder() / SEAL_KEY
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, name = tempfile.mkstemp(dir=path.parent)  # only its owner can read it
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(SEAL_KEY_BYTES))
        if path.exists():  # of another length, so it is no key
            draft.replace(path)
        else:
            os.link(draft, path)  # fails where another process was faster: its key holds
    except FileExistsError:
        pass
    finally:
        draft.unlink(missing_ok=True)
    return _key()
