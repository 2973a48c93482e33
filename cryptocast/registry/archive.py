"""A fit with its versions as one file, to be carried to another store; and what a file must be to be let in.

A plain ZIP whose members are stored, not compressed, so that no few bytes become many. The index holds the scores and
calibrations and names every member with its length and hash; what it does not name, names twice or names wrongly is
refused before anything is kept. The manifest's own hash is the identity of the fit, and a seal holds the hash of the
index, so nothing changes under way unnoticed.

That is against damage. Whoever forges an archive can count its hashes anew, so the scores it brings are foreign: they
are shown, and weigh nothing.
"""

import io
import stat
import struct
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec import Meta

from cryptocast.config import COIN_PATTERN
from cryptocast.errors import RegistryError
from cryptocast.evaluation.answers import Unanswered
from cryptocast.evaluation.records import HoldOut, Record
from cryptocast.evaluation.stored import read_stored
from cryptocast.registry.manifest import (
    Artefact,
    CoinCalibration,
    FitManifest,
    canonical_json,
    sha256_hex,
)
from cryptocast.registry.version import NewVersion, Version

INDEX: Final = "index.json"
SEAL: Final = "index.sha256"
MANIFEST: Final = "manifest.json"
FOLDER: Final = "artefacts/"
MAX_BYTES: Final = 2**30
MAX_INDEX_BYTES: Final = 16 * 2**20
MAX_MEMBERS: Final = 1000
MAX_ENTRY_BYTES: Final = 200  # of a member in the directory: 46 and its name
EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the same version gives the same bytes
# The record at the end of a ZIP: signature, number of this disk and of the directory's, members here and in all, length
# and place of the directory, length of a comment. Before it a large archive has a locator of another such record.
END: Final = struct.Struct("<4s4H2LH")
END_SIGN: Final = b"PK\x05\x06"
LOCATOR_SIGN: Final = b"PK\x06\x07"
LOCATOR_BYTES: Final = 20
TAIL_BYTES: Final = LOCATOR_BYTES + END.size


class PackedVersion(Record, frozen=True, kw_only=True):
    """One coin's version, with the number that it had where it came from."""

    coin: Annotated[str, Meta(pattern=COIN_PATTERN)]
    number: Annotated[int, Meta(ge=1)]
    created_at: Annotated[datetime, Meta(tz=True)]
    calibration: CoinCalibration
    hold_out: HoldOut


class Index(Record, frozen=True, kw_only=True):
    """What is in the archive."""

    # Archives of schema 1 have no seal; they are taken in as well, since no archive's scores weigh anything.
    schema: Literal["cryptocast.archive/1", "cryptocast.archive/2"] = "cryptocast.archive/2"
    fit_id: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    manifest_bytes: Annotated[int, Meta(ge=2, le=MAX_INDEX_BYTES)]
    artefacts: Annotated[tuple[Artefact, ...], Meta(max_length=MAX_MEMBERS)]
    versions: Annotated[tuple[PackedVersion, ...], Meta(min_length=1, max_length=MAX_MEMBERS)]


@dataclass(frozen=True, slots=True)
class Archive:
    """What an archive held, every hash checked; the hold-outs of its versions are foreign."""

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
    text = canonical_json(index)
    members = {INDEX: text, SEAL: sha256_hex(text).encode(), MANIFEST: manifest}
    members |= {FOLDER + artefact.name: files[artefact.name] for artefact in first.manifest.artefacts}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as target:
        for name, data in members.items():
            info = zipfile.ZipInfo(name, EPOCH)
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            target.writestr(info, data)
    return buffer.getvalue()


def read_archive(path: Path) -> bytes:
    """The bytes of an archive. RegistryError if it is no plain file of MAX_BYTES at most, or ends like none."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise RegistryError(f"{path} is not a plain file. Name an archive written by cryptocast registry export.")
        if status.st_size > MAX_BYTES:
            raise RegistryError(f"{path} has {status.st_size:,} bytes, more than the {MAX_BYTES:,} of any archive.")
        with path.open("rb") as file:
            file.seek(-min(TAIL_BYTES, status.st_size), io.SEEK_END)
            _check_end(file.read(TAIL_BYTES), status.st_size, str(path))
            file.seek(0)
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise RegistryError(f"The archive {path} cannot be read: {error.strerror or error}.") from error


def unpack(data: bytes, origin: str) -> Archive:
    """What is in an archive. Nothing is written, and no byte of it is run.

    Raises RegistryError that names `origin` and what is wrong: members with other names (also such as ../x), links,
    folders, names that come twice, compressed, encrypted, too large or cut members, other hashes, other versions.
    """
    _check_end(data[-TAIL_BYTES:], len(data), origin)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as source:
            return _unpacked(source, len(data))
    except RegistryError as error:
        raise RegistryError(f"The archive {origin} is refused: {error}") from error
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, ValueError) as error:
        cause = " ".join(str(error).split())[:200]
        raise RegistryError(f"The archive {origin} is refused: it is not a cryptocast archive ({cause}).") from error


def _check_end(tail: bytes, size: int, origin: str) -> None:
    """Refuse an archive by what its last record says, before its directory is read: that may be as long as the file.

    tail: the last TAIL_BYTES, or all where there are fewer. Archives of ours have no comment and are too small to need
    the records of large ones.
    """
    refusal = f"The archive {origin} is refused: "
    if len(tail) < END.size or tail[-END.size :][:4] != END_SIGN:
        raise RegistryError(
            refusal + "it is not a cryptocast archive, or it was cut short: it does not end like a ZIP."
        )
    _, disk, first, here, members, length, place, comment = END.unpack(tail[-END.size :])
    if (disk, first, comment) != (0, 0, 0) or here != members or tail[:4] == LOCATOR_SIGN:
        raise RegistryError(refusal + "it is not a cryptocast archive: it ends like a large or divided ZIP.")
    if members > MAX_MEMBERS + 3:
        raise RegistryError(refusal + f"it has {members:,} members, more than {MAX_MEMBERS + 3:,}.")
    if length > members * MAX_ENTRY_BYTES or place + length + END.size != size:
        raise RegistryError(refusal + f"its directory has {length:,} bytes, which {members:,} members do not need.")


def _unpacked(source: zipfile.ZipFile, size: int) -> Archive:
    members = _members(source.infolist(), size)
    text = _read(source, members, INDEX, MAX_INDEX_BYTES)
    index = _decoded(text, Index, INDEX)
    sealed = {SEAL} if index.schema == "cryptocast.archive/2" else set()
    expected = {INDEX, MANIFEST, *sealed, *(FOLDER + artefact.name for artefact in index.artefacts)}
    if set(members) != expected:
        odd = sorted(set(members) ^ expected)
        raise RegistryError(f"its members are not those that its index names: {odd[0][:100]!a}.")
    if sealed and _read(source, members, SEAL, 64) != sha256_hex(text).encode():
        raise RegistryError("its index, with the scores and calibrations in it, does not match the hash beside it.")
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
    versions = tuple(NewVersion(v.coin, _calibration(v.calibration), _foreign(v.hold_out)) for v in index.versions)
    return Archive(index.fit_id, manifest, files, versions)


class _State(msgspec.Struct, frozen=True):
    """What is read of the state of a calibration: horizons that the baseline answers, and why."""

    baseline_at: Mapping[Annotated[str, Meta(pattern=r"^[1-9][0-9]{0,5}\Z")], str] = {}


def _calibration(calibration: CoinCalibration) -> CoinCalibration:
    try:
        msgspec.convert(calibration.state, _State)
    except msgspec.ValidationError as error:
        raise RegistryError(f"the calibration of {calibration.coin} cannot be read: {error}.") from error
    return calibration


def _printable(value: object) -> bool:
    """Whether no text in it could steer a terminal or break a line."""
    if isinstance(value, str):
        return value.isprintable()
    if isinstance(value, dict):
        return all(_printable(key) and _printable(inner) for key, inner in value.items())
    return not isinstance(value, list) or all(_printable(inner) for inner in value)


def _foreign(hold_out: HoldOut) -> HoldOut:
    """The hold-out, with none of the answers that somebody else came to: nothing in them was made here."""
    scores = []
    for score in hold_out.horizons:
        reason = Unanswered.BASELINE_ANSWERS if score.by_baseline else Unanswered.FOREIGN
        scores.append(msgspec.structs.replace(score, answers=(), unanswered=reason, cause=None))
    return msgspec.structs.replace(hold_out, horizons=tuple(scores), pooled=(), foreign=True)


def _members(infos: Sequence[zipfile.ZipInfo], size: int) -> dict[str, zipfile.ZipInfo]:
    """The members by name, if each is a plain stored file and all together are no more than the archive itself."""
    if len(infos) > MAX_MEMBERS + 3:  # the directory may hold more than the record at the end says
        raise RegistryError(f"it has {len(infos)} members, more than {MAX_MEMBERS + 3}.")
    members: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        name = info.filename
        mode = info.external_attr >> 16
        if name in members:
            raise RegistryError(f"{name[:100]!a} comes twice.")
        if info.is_dir() or (mode and not stat.S_ISREG(mode)):
            raise RegistryError(f"{name[:100]!a} is a link or a folder, not a plain file.")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise RegistryError(f"{name[:100]!a} is compressed, and members are stored as they are.")
        if info.flag_bits & 0x1:
            raise RegistryError(f"{name[:100]!a} is encrypted.")
        members[name] = info
    if sum(info.file_size for info in members.values()) > size:
        raise RegistryError("its members overlap: together they are larger than the archive.")
    return members


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
        if not _printable(msgspec.json.decode(data)):
            raise RegistryError(f"{name} has text that cannot be printed on a line.")
        return read_stored(data, kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RegistryError(f"{name} cannot be read: {error}.") from error
