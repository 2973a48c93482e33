"""A fit with its versions as one file, to be carried to another store; and what a file must be to be let in.

A plain ZIP whose members are stored, not compressed, so that no few bytes become many. The index names every member
with its length and hash; what it does not name, names twice or names wrongly is refused before anything is kept. The
manifest's own hash is the identity of the fit, so a fit cannot change under way.
"""

import io
import stat
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec import Meta

from cryptocast.errors import RegistryError
from cryptocast.evaluation.records import HoldOut, Record
from cryptocast.registry.manifest import (
    COIN_PATTERN,
    Artefact,
    CoinCalibration,
    FitManifest,
    canonical_json,
    sha256_hex,
)
from cryptocast.registry.version import NewVersion, Version

__all__ = ["MAX_BYTES", "Archive", "pack", "read_archive", "unpack"]

INDEX: Final = "index.json"
MANIFEST: Final = "manifest.json"
FOLDER: Final = "artefacts/"
MAX_BYTES: Final = 2**30
MAX_INDEX_BYTES: Final = 16 * 2**20
MAX_MEMBERS: Final = 1000
EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the same version gives the same bytes


class PackedVersion(Record, frozen=True, kw_only=True):
    """One coin's version, with the number that it had where it came from."""

    coin: Annotated[str, Meta(pattern=COIN_PATTERN)]
    number: Annotated[int, Meta(ge=1)]
    created_at: Annotated[datetime, Meta(tz=True)]
    calibration: CoinCalibration
    hold_out: HoldOut


class Index(Record, frozen=True, kw_only=True):
    """What is in the archive."""

    schema: Literal["cryptocast.archive/1"] = "cryptocast.archive/1"
    fit_id: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    manifest_bytes: Annotated[int, Meta(ge=2, le=MAX_INDEX_BYTES)]
    artefacts: Annotated[tuple[Artefact, ...], Meta(max_length=MAX_MEMBERS)]
    versions: Annotated[tuple[PackedVersion, ...], Meta(min_length=1, max_length=MAX_MEMBERS)]


@dataclass(frozen=True, slots=True)
class Archive:
    """What an archive held, every hash checked."""

    fit_id: str
    manifest: FitManifest
    files: dict[str, bytes]
    versions: tuple[NewVersion, ...]


def pack(versions: Sequence[Version], files: dict[str, bytes]) -> bytes:
    """The archive of versions of one fit. Raises ValueError if they are of several, or none."""
    if len({version.fit_id for version in versions}) != 1:
        raise ValueError(f"expected versions of one fit, got {[version.name for version in versions]}")
    first = versions[0]
    manifest = canonical_json(first.manifest)
    index = Index(
        fit_id=first.fit_id,
        manifest_bytes=len(manifest),
        artefacts=first.manifest.artefacts,
        versions=tuple(
            PackedVersion(
                coin=version.key.coin,
                number=version.number,
                created_at=version.created_at,
                calibration=version.calibration,
                hold_out=version.hold_out,
            )
            for version in versions
        ),
    )
    members = {INDEX: canonical_json(index), MANIFEST: manifest}
    members |= {FOLDER + artefact.name: files[artefact.name] for artefact in first.manifest.artefacts}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as target:
        for name, data in members.items():
            info = zipfile.ZipInfo(name, EPOCH)
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            target.writestr(info, data)
    return buffer.getvalue()


def read_archive(path: Path) -> bytes:
    """The bytes of an archive. RegistryError if it is no plain file of at most MAX_BYTES."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise RegistryError(f"{path} is no plain file. Name an archive that cryptocast registry export wrote.")
        if status.st_size > MAX_BYTES:
            raise RegistryError(f"{path} has {status.st_size:,} bytes, more than the {MAX_BYTES:,} of any archive.")
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise RegistryError(f"The archive {path} cannot be read: {error.strerror or error}.") from error


def unpack(data: bytes, origin: str) -> Archive:
    """What is in an archive. Nothing is written, and no byte of it is run.

    Raises RegistryError that names `origin` and what is wrong: members with other names (also such as ../x), links,
    folders, names that come twice, compressed, encrypted, too large or cut members, other hashes, other versions.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as source:
            return _unpacked(source, len(data))
    except RegistryError as error:
        raise RegistryError(f"The archive {origin} is refused: {error}") from error
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, ValueError) as error:
        told = " ".join(str(error).split())[:200]
        raise RegistryError(f"The archive {origin} is refused: it is no archive of ours ({told}).") from error


def _unpacked(source: zipfile.ZipFile, size: int) -> Archive:
    members = _members(source.infolist(), size)
    index = _decoded(_read(source, members, INDEX, MAX_INDEX_BYTES), Index, INDEX)
    expected = {INDEX, MANIFEST, *(FOLDER + artefact.name for artefact in index.artefacts)}
    if set(members) != expected:
        odd = sorted(set(members) ^ expected)
        raise RegistryError(f"its members are not those that its index names: {odd[0][:100]!a}.")
    text = _read(source, members, MANIFEST, index.manifest_bytes)
    if sha256_hex(text) != index.fit_id:
        raise RegistryError("its manifest does not match the hash that names the fit.")
    manifest = _decoded(text, FitManifest, MANIFEST)
    if manifest.artefacts != index.artefacts or canonical_json(manifest) != text:
        raise RegistryError("its manifest and its index name different artefacts.")
    files = {}
    for artefact in manifest.artefacts:
        content = _read(source, members, FOLDER + artefact.name, artefact.size)
        if len(content) != artefact.size or sha256_hex(content) != artefact.sha256:
            raise RegistryError(f"{artefact.name} does not match its length and hash.")
        files[artefact.name] = content
    versions = tuple(NewVersion(v.coin, v.calibration, v.hold_out) for v in index.versions)
    return Archive(index.fit_id, manifest, files, versions)


def _members(infos: Sequence[zipfile.ZipInfo], size: int) -> dict[str, zipfile.ZipInfo]:
    """The members by name, if each is a plain stored file and all together are no more than the archive itself."""
    if len(infos) > MAX_MEMBERS + 2:
        raise RegistryError(f"it has {len(infos)} members, more than {MAX_MEMBERS + 2}.")
    found: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        name = info.filename
        mode = info.external_attr >> 16
        if name in found:
            raise RegistryError(f"{name[:100]!a} comes twice.")
        if info.is_dir() or (mode and not stat.S_ISREG(mode)):
            raise RegistryError(f"{name[:100]!a} is no plain file but a link or a folder.")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise RegistryError(f"{name[:100]!a} is compressed, and members are stored as they are.")
        if info.flag_bits & 0x1:
            raise RegistryError(f"{name[:100]!a} is encrypted.")
        found[name] = info
    if sum(info.file_size for info in found.values()) > size:
        raise RegistryError("its members overlap: together they are larger than the archive.")
    return found


def _read(source: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], name: str, limit: int) -> bytes:
    if name not in members:
        raise RegistryError(f"it lacks {name[:100]!a}.")
    if members[name].file_size > limit:
        raise RegistryError(f"{name[:100]!a} has {members[name].file_size:,} bytes, expected at most {limit:,}.")
    with source.open(members[name]) as member:
        return member.read(limit + 1)


R = TypeVar("R", bound=Record)


def _decoded(data: bytes, kind: type[R], name: str) -> R:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RegistryError(f"{name} cannot be read: {error}.") from error
