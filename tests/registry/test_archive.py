"""Archives that carry versions between stores, and a corpus of files that must not get in."""

import io
import pickle
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptocast.errors import RegistryError
from cryptocast.evaluation.answers import Unanswered
from cryptocast.registry import Registry, sha256_hex
from cryptocast.registry import archive as archives
from cryptocast.registry.archive import pack, read_archive, unpack
from cryptocast.registry.manifest import canonical_json
from tests.registry.registry_fits import FILES, NOW, register


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    registry = Registry.open(tmp_path_factory.mktemp("store"))
    return pack(register(registry, coins=("bitcoin", "ethereum")), FILES)


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as source:
        return {name: source.read(name) for name in source.namelist()}


def zipped(content: dict[str, bytes], *, mode: int = stat.S_IFREG | 0o644, method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        for name, data in content.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            target.writestr(info, data, compress_type=method)
    return buffer.getvalue()


def changed(data: bytes, **replaced: bytes | None) -> bytes:
    content = members(data)
    for key, value in replaced.items():
        name = {
            "index": "index.json",
            "seal": "index.sha256",
            "manifest": "manifest.json",
            "model": "artefacts/model-1.txt",
        }[key]
        if value is None:
            del content[name]
        else:
            content[name] = value
    return zipped(content)


def more(data: bytes, name: str, content: bytes = b"x") -> bytes:
    return zipped({**members(data), name: content})


def index_with(data: bytes, old: bytes, new: bytes) -> bytes:
    """A changed index under a seal that was counted anew: only what it says is wrong."""
    text = members(data)["index.json"]
    assert old in text
    return sealed(data, text.replace(old, new))


def sealed(data: bytes, index: bytes) -> bytes:
    return changed(data, index=index, seal=sha256_hex(index).encode())


def doctored(data: bytes, old: bytes, new: bytes) -> bytes:
    """A changed index under the seal of the one before."""
    text = members(data)["index.json"]
    assert old in text
    return changed(data, index=text.replace(old, new))


def manifest_with(data: bytes, old: bytes, new: bytes) -> bytes:
    """A changed manifest with the index made to fit: only what the two say of each other is wrong."""
    text = members(data)["manifest.json"]
    assert old in text
    forged = text.replace(old, new)
    index = msgspec.json.decode(members(data)["index.json"])
    index |= {"fit_id": sha256_hex(forged), "manifest_bytes": len(forged)}
    return sealed(changed(data, manifest=forged), canonical_json(index))


def twice(data: bytes) -> bytes:
    buffer = io.BytesIO(data)
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(buffer, "a") as target:
        target.writestr("manifest.json", b"{}")
    return buffer.getvalue()


def bomb(_: bytes) -> bytes:
    return zipped({"index.json": b" " * 50_000_000}, method=zipfile.ZIP_DEFLATED)


def lying_size(data: bytes) -> bytes:
    """The directory says that the index is 4 GiB long."""
    at = data.rindex(b"PK\x01\x02", 0, data.index(b"index.json", data.index(b"PK\x01\x02")))
    return data[: at + 20] + struct.pack("<II", 0xFFFFFFF0, 0xFFFFFFF0) + data[at + 28 :]


def with_end(data: bytes, place: int, form: str, value: int) -> bytes:
    """Another number in the record at the end."""
    end = bytearray(data[-22:])
    struct.pack_into(form, end, place, value)
    return data[:-22] + bytes(end)


def crowded(count: int) -> bytes:
    """An archive of that many empty members, and a last record that tells of three."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        for number in range(count):
            target.writestr(zipfile.ZipInfo(f"{number}"), b"")
    return with_end(with_end(buffer.getvalue(), 8, "<H", 3), 10, "<H", 3)


def large(data: bytes) -> bytes:
    """The record of large archives before the last one."""
    end = data[-22:]
    (length, place) = struct.unpack("<2L", end[12:20])
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 5, 5, length, place)
    return data[:-22] + record + struct.pack("<4sLQL", b"PK\x06\x07", 0, len(data) - 22, 1) + end


def encrypted(data: bytes) -> bytes:
    at = data.index(b"PK\x01\x02")
    return data[: at + 8] + b"\x01\x00" + data[at + 10 :]


CORPUS: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda _: b"",
    "text": lambda _: b"not an archive",
    "a pickle under our name": lambda _: pickle.dumps({"model": [1, 2, 3]}),
    "a truncated archive": lambda d: d[: len(d) // 2],
    "a cut directory": lambda d: d[:-10],
    "an empty archive": lambda _: zipped({}),
    "a name that climbs out": lambda d: more(d, "../evil.txt"),
    "an absolute name": lambda d: more(d, "/etc/passwd"),
    "a name with a drive": lambda d: more(d, "C:\\evil.txt"),
    "a name that climbs inside": lambda d: more(d, "artefacts/../../evil"),
    "a stranger": lambda d: more(d, "readme.txt"),
    "a folder": lambda d: more(d, "artefacts/", b""),
    "links": lambda d: zipped(members(d), mode=stat.S_IFLNK | 0o777),
    "devices": lambda d: zipped(members(d), mode=stat.S_IFCHR | 0o777),
    "compressed members": lambda d: zipped(members(d), method=zipfile.ZIP_DEFLATED),
    "a bomb": bomb,
    "a member that comes twice": twice,
    "sizes that lie": lying_size,
    "encryption": encrypted,
    "no index": lambda d: changed(d, index=None),
    "no manifest": lambda d: changed(d, manifest=None),
    "a missing artefact": lambda d: changed(d, model=None),
    "another artefact": lambda d: changed(d, model=b"tree\n" * 99 + b"free\n"),
    "a pickle as artefact": lambda d: changed(d, model=pickle.dumps([1])),
    "a shorter artefact": lambda d: changed(d, model=b"tree\n"),
    "an index that is no JSON": lambda d: changed(d, index=b"\x80\x04K\x01."),
    "an index nested too deep": lambda d: changed(d, index=b"[" * 200_000),
    "an index of another schema": lambda d: index_with(d, b"cryptocast.archive/2", b"cryptocast.archive/9"),
    "an index with more to say": lambda d: index_with(d, b'"fit_id"', b'"run":"rm","fit_id"'),
    "an index of another fit": lambda d: index_with(d, b'"fit_id":"', b'"fit_id":"0'),
    "a version of a strange coin": lambda d: index_with(d, b'"coin":"ethereum"', b'"coin":"../ethereum"'),
    "a size out of bounds": lambda d: index_with(d, b'"size":500', b'"size":99999999999'),
    "scores that were changed": lambda d: doctored(d, b'"baseline":0.01', b'"baseline":0.51'),
    "a calibration that was changed": lambda d: doctored(d, b"-0.1", b"-0.9"),
    "a date that was changed": lambda d: doctored(d, b'"created_at":"2025', b'"created_at":"2024'),
    "words that steer a terminal": lambda d: index_with(d, b'"cause":null', b'"cause":"\\u001b[31m"'),
    "words on two lines": lambda d: index_with(d, b'"cause":null', b'"cause":"a\\nb"'),
    "a calibration of something else": lambda d: index_with(d, b'"count":40', b'"baseline_at":{"x":"y"}'),
    "a calibration that is a list": lambda d: index_with(d, b'"count":40', b'"baseline_at":[1]'),
    "no seal": lambda d: changed(d, seal=None),
    "a seal of something else": lambda d: changed(d, seal=b"0" * 64),
    "a seal that goes on": lambda d: changed(d, seal=members(d)["index.sha256"] + b"0"),
    "a hundred thousand members": lambda d: with_end(with_end(d, 8, "<H", 65535), 10, "<H", 65535),
    "more members than the last record tells": lambda _: crowded(2000),
    "members that the last record counts twice": lambda d: with_end(d, 10, "<H", 6),
    "a directory somewhere else": lambda d: with_end(d, 16, "<L", 0),
    "one of several disks": lambda d: with_end(d, 4, "<H", 1),
    "a comment": lambda d: with_end(d, 20, "<H", 4) + b"PK\x05\x06",
    "the record of a large archive": large,
    "a manifest that was changed": lambda d: changed(d, manifest=members(d)["manifest.json"].replace(b"2000", b"2001")),
    "a manifest that names a path": lambda d: manifest_with(d, b"model-1.txt", b"../../x.txt"),
    "a manifest of other artefacts": lambda d: manifest_with(d, b"model-1.txt", b"model-2.txt"),
    "a manifest that is not canonical": lambda d: manifest_with(d, b'"seed":7', b'"seed": 7'),
}


@pytest.mark.parametrize("case", CORPUS)
def test_a_file_that_is_not_exactly_what_it_says_is_refused(packed: bytes, case: str) -> None:
    with pytest.raises(RegistryError, match=r"^The archive evil\.zip is refused: ") as caught:
        unpack(CORPUS[case](packed), "evil.zip")
    assert str(caught.value).isprintable()


def test_the_corpus_is_large_enough() -> None:
    assert len(CORPUS) >= 20


def test_what_was_packed_comes_back_and_the_same_version_gives_the_same_bytes(packed: bytes, tmp_path: Path) -> None:
    found = unpack(packed, "a.zip")
    assert found.files == FILES
    assert [version.coin for version in found.versions] == ["bitcoin", "ethereum"]
    registry = Registry.open(tmp_path)
    versions = registry.register(found.manifest, found.files, found.versions, now=NOW, who="eve")
    assert versions[0].fit_id == found.fit_id
    again = [pack(versions, registry.load_files(found.fit_id)) for _ in range(2)]
    assert again[0] == again[1]
    assert unpack(again[0], "b.zip") == found
    assert registry.verify() == ()


def test_scores_from_an_archive_are_foreign_and_their_answers_are_not_repeated(packed: bytes) -> None:
    for version in unpack(packed, "a.zip").versions:
        assert version.hold_out.foreign
        assert {(score.answers, score.unanswered) for score in version.hold_out.horizons} == {((), Unanswered.FOREIGN)}
        assert version.hold_out.horizons[0].skill == {"baseline": 0.01}


def test_an_archive_of_the_first_schema_has_no_seal_and_is_taken_in(packed: bytes) -> None:
    first = members(packed)["index.json"].replace(b"cryptocast.archive/2", b"cryptocast.archive/1")
    assert unpack(changed(packed, index=first, seal=None), "a.zip") == unpack(packed, "b.zip")


@pytest.mark.parametrize("data", [crowded(2000), zipped({str(number): b"" for number in range(2000)})])
def test_an_archive_of_too_many_members_is_refused_before_its_directory_is_read(
    data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zipfile, "ZipFile", None)
    path = tmp_path / "many.zip"
    path.write_bytes(data)
    with pytest.raises(RegistryError, match=r"many\.zip is refused: it(s directory)? has [0-9,]+ (members|bytes)"):
        read_archive(path)
    with pytest.raises(RegistryError, match=r"many\.zip is refused"):
        unpack(data, "many.zip")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_flipped_byte_is_refused_or_changes_nothing(packed: bytes, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(packed) - 1))
    flipped = packed[:place] + bytes([packed[place] ^ data.draw(st.integers(1, 255))]) + packed[place + 1 :]
    try:
        found = unpack(flipped, "a.zip")
    except RegistryError:
        return
    assert found == unpack(packed, "a.zip")


def test_a_file_that_is_too_large_or_no_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_BYTES", 10)
    (tmp_path / "big.zip").write_bytes(b"x" * 11)
    for path, why in (
        (tmp_path / "big.zip", "more than the 10"),
        (tmp_path, "not a plain file"),
        (tmp_path / "a", "cannot"),
    ):
        with pytest.raises(RegistryError, match=why):
            read_archive(path)
