"""A bundle on disk: nothing of it is used before its hash was checked, and nothing outside its folder is read."""

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mmedge.errors import BundleError, InputError
from mmedge.golden import read_golden
from mmedge.manifest import FileRecord, Manifest, read_manifest
from mmedge.types import Array

__all__ = ["MANIFEST", "Bundle", "file_record", "open_bundle"]

MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 4 << 20
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A folder whose manifest was read and whose files were all found whole.

    Attributes:
        path: The folder.
        manifest: What it holds.
        sha256: Of the manifest, which has those of every file: two bundles with the same are the same. "" for a draft.
    """

    path: Path
    manifest: Manifest
    sha256: str = ""

    def read(self, name: str) -> bytes:
        """The bytes of one listed file, hashed again as they are read.

        Raises:
            BundleError: It changed since the bundle was opened.
        """
        record = self.manifest.files[name]
        content = (self.path / name).read_bytes()
        if len(content) != record.bytes or hashlib.sha256(content).hexdigest() != record.sha256:
            raise BundleError(_changed(self.path, name))
        return content

    def weights(self, graph: str) -> tuple[Path, ...]:
        """The listed file in which a graph of the bundle may keep its weights: its own name and ``.data``.

        It was hashed when the bundle was opened, and not read: it may be larger than the memory.
        """
        name = f"{graph}.data"
        return (self.path / name,) if name in self.manifest.files else ()

    def graph_sha256(self, graph: str) -> str:
        """A hash that covers a graph of the bundle and the weights that it may keep outside."""
        files = self.manifest.files
        outside = files.get(f"{graph}.data")
        if outside is None:
            return files[graph].sha256
        return hashlib.sha256(f"{files[graph].sha256} {outside.sha256}".encode()).hexdigest()

    @property
    def graphs(self) -> dict[str, str]:
        """That hash of every graph of every variant, by its file."""
        names = [name for variant in self.manifest.variants.values() for name in variant.files.values()]
        return {name: self.graph_sha256(name) for name in names}

    def read_golden(self) -> dict[str, Array]:
        """Recorded inputs and outputs, axis 0 the samples.

        Keys are ``sensor/PORT``, ``tensor/NAME``, ``output/NAME`` and ``tolerance/NAME``; all fit the manifest.

        Raises:
            BundleError: The file is not what it should be.
        """
        return read_golden(self.read(self.manifest.golden), self.manifest, str(self.path / self.manifest.golden))


def open_bundle(path: str | Path) -> Bundle:
    """Open a bundle and check every file that its manifest lists.

    Raises:
        InputError: What is given is no path.
        BundleError: It is not a bundle, a file is missing or changed, or a path leaves the folder.
        BundleVersionError: A newer mmedge wrote it.
    """
    if not isinstance(path, str | Path):
        raise InputError(f"a bundle is given by its path, not by {type(path).__name__}")
    folder = Path(path)
    manifest_path = folder / MANIFEST
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise BundleError(f"{folder} {what}; expected a bundle, the folder that mmedge export makes")
    if not manifest_path.is_file():
        raise BundleError(f"{folder} has no {MANIFEST}; expected a bundle, the folder that mmedge export makes")
    if not manifest_path.resolve().is_relative_to(folder.resolve()):
        raise BundleError(f"{manifest_path} is a link that leaves the folder; do not trust this bundle")
    if manifest_path.stat().st_size > MAX_MANIFEST_BYTES:
        raise BundleError(f"{manifest_path} is larger than {MAX_MANIFEST_BYTES >> 20} MiB; that is no manifest")
    try:
        text = manifest_path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BundleError(f"{manifest_path} is not text ({error}); export the bundle again") from error
    manifest = read_manifest(text, str(manifest_path))
    for name, record in manifest.files.items():
        _check_file(folder, name, record)
    return Bundle(path=folder, manifest=manifest, sha256=hashlib.sha256(text.encode()).hexdigest())


def file_record(path: Path) -> FileRecord:
    """Size and SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return FileRecord(bytes=path.stat().st_size, sha256=digest.hexdigest())


def _check_file(folder: Path, name: str, record: FileRecord) -> None:
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts or "\\" in name or "\0" in name or name == MANIFEST:
        raise BundleError(f"{folder / MANIFEST} lists {name!r}, which leaves the folder; do not trust this bundle")
    path = folder / relative
    if not path.is_file():
        raise BundleError(f"{path} is missing; copy the whole folder again")
    if not path.resolve().is_relative_to(folder.resolve()):
        raise BundleError(f"{path} is a link that leaves the folder; do not trust this bundle")
    if path.stat().st_size != record.bytes or file_record(path) != record:
        raise BundleError(_changed(folder, name))


def _changed(folder: Path, name: str) -> str:
    return f"{folder / name} is not the file that was exported (its SHA-256 differs); copy the bundle again"
