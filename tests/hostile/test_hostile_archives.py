"""Hostile archives and index files: path traversal, decompression bombs and code execution."""

from __future__ import annotations

import hashlib
import http.server
import io
import os
import pickle
import struct
import tarfile
import threading
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch

from lico_bench.data import download, fetch
from lico_bench.data.binary_files import MAX_VARIABLE_BYTES, read_mat, read_pickle
from lico_bench.data.regions import read_xml_boxes
from lico_bench.errors import BrokenFileError, LicoBenchError
from lico_bench.models.weight_files import read_state
from tests.data.user_cards import card_with_source


def tar_of(*members: tuple[tarfile.TarInfo, bytes], mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for info, content in members:
            info.size = len(content) if info.isreg() else 0
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


class Server(http.server.BaseHTTPRequestHandler):
    archive = b""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.archive)))
        self.end_headers()
        self.wfile.write(self.archive)

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def served(tmp_path):
    """Fetch an archive through the real code, from a server to a data root."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    # A short poll interval makes shutdown fast.
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    root = tmp_path / "data"
    root.mkdir()

    def get(archive: bytes, *, folder: str = "", url: str = "") -> Path:
        Server.archive = archive
        digest = hashlib.md5(archive, usedforsecurity=False).hexdigest()
        url = url or f"http://127.0.0.1:{server.server_port}/mine.tar"
        (root / "mine.toml").write_text(card_with_source(url, digest, folder=folder))
        fetch("mine", root)
        return root / "mine"

    get.root = root
    yield get
    server.shutdown()
    server.server_close()


GOOD = (member("train/left/a.txt"), b"fine")
BAD = {
    "a name with dots": member("../../canary/precious.txt"),
    "dots inside": member("train/../../../canary/precious.txt"),
    "an absolute name": member("/tmp/hostile_absolute.txt"),
    "a link out": member("train/link", tarfile.SYMTYPE, "../../../canary"),
    "a link inside": member("train/link", tarfile.SYMTYPE, "left"),
    "a hard link": member("train/hard", tarfile.LNKTYPE, "/etc/passwd"),
    "a device": member("train/zero", tarfile.CHRTYPE),
    "a pipe": member("train/pipe", tarfile.FIFOTYPE),
}


@pytest.mark.parametrize("what", BAD)
def test_archive_with_a_member_that_is_no_plain_file_inside_is_refused_whole(
    served, canary, only_changes, what
):
    with only_changes(served.root), pytest.raises(BrokenFileError, match="cannot be unpacked"):
        served(tar_of(GOOD, (BAD[what], b"bad")))
    left = [path.name for path in (served.root / "mine").rglob("*")]
    assert left == ["mine.tar"], "nothing of it is unpacked, not even what came first"


def test_archive_that_goes_through_its_own_link_is_refused(served, canary):
    link = (member("train/out", tarfile.SYMTYPE, str(canary)), b"")
    with pytest.raises(BrokenFileError, match="link or a device"):
        served(tar_of(link, (member("train/out/precious.txt"), b"mine now")))


def test_archive_that_grows_out_of_proportion_is_refused_before_it_is_written(served, monkeypatch):
    monkeypatch.setattr(download, "UNCHECKED_BYTES", 1_000_000)
    bomb = tar_of((member("train/left/zeros"), bytes(30_000_000)), mode="w:gz")
    assert len(bomb) < 100_000
    with pytest.raises(BrokenFileError, match="expected at most"):
        served(bomb)
    assert not (served.root / "mine" / "train").exists()


def test_archive_that_lies_about_a_member_is_a_broken_file(served):
    honest = bytearray(tar_of(GOOD))
    honest[124:136] = b"77777777777\0"  # 8 GB
    honest[148:156] = f"{sum(honest[:148]) + sum(honest[156:512]) + 8 * 32:06o}\0 ".encode()
    with pytest.raises(LicoBenchError, match=r"expected at most|unpack"):
        served(bytes(honest))


@pytest.mark.parametrize(
    "options", [{"folder": "../../canary"}, {"folder": "/tmp"}, {"url": "file:///etc/passwd"},
             {"url": "http://127.0.0.1:1/.."}],
)  # fmt: skip
def test_card_of_a_stranger_fetches_neither_out_of_the_folder_nor_from_this_machine(
    served, canary, only_changes, options
):
    with only_changes(served.root), pytest.raises(BrokenFileError, match="the card's source"):
        served(tar_of(GOOD), **options)
    assert not (served.root / "mine").exists()


class Executed:
    """A value whose pickle runs a command."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("nest", [lambda x: {"data": x}, lambda x: {"a": [{"b": (x,)}]}])
def test_pickle_that_runs_a_command_is_refused_at_every_depth(tmp_path, protocol, nest):
    (tmp_path / "batch").write_bytes(pickle.dumps(nest(Executed(tmp_path / "ran")), protocol))
    with pytest.raises(BrokenFileError, match=r"asks to load \w+\.system"):
        read_pickle(tmp_path / "batch")
    torch.save({"w": Executed(tmp_path / "ran")}, tmp_path / "w.pt")
    with pytest.raises(BrokenFileError, match="its code was not executed"):
        read_state(tmp_path / "w.pt")
    assert not (tmp_path / "ran").exists()


NAMED = {
    # An object array over foreign memory would interpret its content as addresses.
    "an array over foreign bytes": b"cnumpy\nndarray\n((I2\ntS'O'\nC\x10" + bytes(16) + b"tR.",
    "an object kind": b"cnumpy._core.numeric\n_frombuffer\n(C\x08" + b"x" * 8
    + b"cnumpy\ndtype\n(S'O'\ntR(I1\ntS'C'\ntR.",
    "fields in a kind": b"cnumpy\ndtype\n(S'u1'\ntR(I3\nS'|'\nN(S'a'\nt}I-1\nI-1\nI0\ntb.",
    "a change of what is loaded": b"cnumpy\ndtype\n}S'function'\nI1\nsb.",
    "a change of a slot of what is loaded": b"cnumpy\ndtype\n(N}S'function'\nI1\nstb.",
    "a shape below zero": b"cnumpy._core.numeric\n_frombuffer\n(C\x04abcd"
    + b"cnumpy\ndtype\n(S'u1'\ntR(I-2\nI-2\ntS'C'\ntR.",
    "a codec": b"c_codecs\nencode\n(S'x'\nS'zip'\ntR.",
    "a registered extension": b"\x80\x02\x82\x01.",
    "a foreign object": b"\x80\x02X\x01\x00\x00\x00aQ.",
    "a number of a value": b"\x80\x02]r\xff\xff\xff\x7f.",
    "a huge length": b"\x80\x04\x8e" + struct.pack("<Q", 2**50) + b"x.",
    "tuples in tuples": b"\x80\x02)" + b"\x85" * 200_000 + b".",
    "itself": b"\x80\x02]q\x00h\x00a.",
}  # fmt: skip


@pytest.mark.parametrize("what", NAMED)
def test_pickle_made_to_misuse_the_reader_is_refused(tmp_path, what):
    (tmp_path / "batch").write_bytes(NAMED[what])
    with pytest.raises(BrokenFileError, match=r"refused as an archive|dictionary .* got list"):
        read_pickle(tmp_path / "batch")


def test_list_that_refers_to_itself_twice_in_each_of_sixty_lists_is_no_bomb(tmp_path):
    doubled: list[object] = [1]
    for _ in range(60):
        doubled = [doubled, doubled]
    (tmp_path / "batch").write_bytes(pickle.dumps({"a": doubled}))
    assert list(read_pickle(tmp_path / "batch")) == ["a"]


def element(kind: int, content: bytes) -> bytes:
    return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)


def mat(*elements: bytes) -> bytes:
    return b"MATLAB 5.0".ljust(124) + struct.pack("<H", 0x100) + b"IM" + b"".join(elements)


def matrix(kind: int, shape: tuple[int, ...], rest: bytes, name: bytes = b"X") -> bytes:
    start = element(6, struct.pack("<II", kind, 0)) + element(
        5, struct.pack(f"<{len(shape)}i", *shape)
    )
    return element(14, start + element(1, name) + rest)


def nested(depth: int) -> bytes:
    """Return cells in cells; so many end the process in scipy.io.loadmat."""
    start = matrix(1, (1, 1), b"")[8:]
    parts = [matrix(6, (1, 1), element(9, struct.pack("<d", 1)))]
    size = len(parts[0])
    for _ in range(depth):
        parts.append(struct.pack("<II", 14, size + len(start)) + start)
        size += len(parts[-1])
    return b"".join(reversed(parts))


BAD_MATS = {
    "values in values": mat(nested(50_000)),
    "an unknown class": mat(matrix(99, (1, 1), b"")),
    "an unknown data type": mat(matrix(9, (1, 1), element(200, bytes(8)))),
    "more entries than bytes": mat(matrix(1, (2**30, 2**30), b"")),
    "more numbers than bytes": mat(matrix(9, (2**30, 2**20), element(2, b"abc"))),
    "a negative side": mat(matrix(9, (-1, 5), element(2, b""))),
    "compressed noise": mat(struct.pack("<II", 15, 40) + b"q" * 40),
    "a structure without names": mat(matrix(2, (1, 1), element(5, b"\0" * 4) + element(1, b""))),
    "another format": b"MATLAB 7.3 HDF5".ljust(200),
}


@pytest.mark.parametrize("what", BAD_MATS)
def test_matlab_file_made_to_end_the_process_is_refused(tmp_path, what):
    (tmp_path / "a.mat").write_bytes(BAD_MATS[what])
    with pytest.raises(BrokenFileError, match="not readable as a MATLAB file"):
        read_mat(tmp_path / "a.mat", "X")


@pytest.mark.slow
def test_matlab_file_that_decompresses_to_gigabytes_is_refused(tmp_path):
    packer = zlib.compressobj(9)
    start = matrix(9, (1, 1), b"")[8:]
    content = packer.compress(struct.pack("<II", 14, 2**32 - 1) + start)
    for _ in range(MAX_VARIABLE_BYTES // 2**26 + 2):
        content += packer.compress(bytes(2**26))
    content += packer.flush()
    (tmp_path / "a.mat").write_bytes(mat(struct.pack("<II", 15, len(content)) + content))
    with pytest.raises(BrokenFileError, match="when decompressed"):
        read_mat(tmp_path / "a.mat", "X")


def test_a_compressed_object_before_the_variable_is_skipped(tmp_path):
    # An object has a type system's name where an array has its shape's values.
    flags = element(6, struct.pack("<II", 17, 0))
    table = element(14, flags + element(1, b"table") + element(1, b"MCOS") + element(1, b"table"))
    scipy.io.savemat(tmp_path / "a.mat", {"X": np.arange(3)}, do_compression=True)
    content = (tmp_path / "a.mat").read_bytes()
    packed = zlib.compress(table)
    start = struct.pack("<II", 15, len(packed)) + packed
    (tmp_path / "a.mat").write_bytes(content[:128] + start + content[128:])
    assert read_mat(tmp_path / "a.mat", "X").tolist() == [0, 1, 2]


@pytest.mark.parametrize("depth", [300, 20_000])
def test_pickled_lists_in_lists_are_refused(tmp_path, depth):
    content = b"\x80\x02}U\x01a" + b"]" * depth + b"a" * (depth - 1) + b"s."
    (tmp_path / "batch").write_bytes(content)
    with pytest.raises(BrokenFileError, match="more than 200 lists and tuples"):
        read_pickle(tmp_path / "batch")


@pytest.mark.parametrize("compressed", [True, False])
def test_matlab_values_are_those_that_scipy_reads(tmp_path, compressed):
    kinds = [("box", object), ("name", object)]
    values = {
        "numbers": np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
        "doubles": np.array([[0.5, -1.25]]),
        "names": np.array(["one", "zwölf", "x" * 300], dtype=object),
        "records": np.array([(3, "a.jpg"), (70_000, "b.jpg")], dtype=kinds),
        "single": 7,
    }
    scipy.io.savemat(tmp_path / "a.mat", values, do_compression=compressed)
    expected = scipy.io.loadmat(tmp_path / "a.mat", squeeze_me=True)
    for name in ("numbers", "doubles", "single"):
        np.testing.assert_array_equal(read_mat(tmp_path / "a.mat", name),
                                      np.atleast_1d(expected[name]))  # fmt: skip
    assert read_mat(tmp_path / "a.mat", "names").tolist() == expected["names"].tolist()
    records = read_mat(tmp_path / "a.mat", "records")
    assert records.dtype.names == expected["records"].dtype.names
    assert [list(row) for row in records] == [list(row) for row in expected["records"]]
    with pytest.raises(BrokenFileError, match="variable 'absent' missing"):
        read_mat(tmp_path / "a.mat", "absent")


def test_annotation_that_multiplies_itself_is_refused(tmp_path):
    lines = ['<!ENTITY a "aaaaaaaaaa">']
    lines += [f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(12)]
    text = (
        f"<!DOCTYPE x [{''.join(lines)}]><annotation><object><name>&m;</name></object></annotation>"
    )
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(BrokenFileError, match="not an annotation"):
        read_xml_boxes(tmp_path / "a.xml", "n1")


def test_annotation_cannot_read_a_file_of_this_machine(tmp_path):
    (tmp_path / "a.xml").write_text(
        '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
        "<annotation><object><name>&e;</name></object></annotation>"
    )
    with pytest.raises(BrokenFileError, match="not an annotation"):
        read_xml_boxes(tmp_path / "a.xml", "n1")


@pytest.mark.parametrize("number", ["nan", "inf", "-1e400"])
def test_box_that_is_nowhere_is_refused(tmp_path, number):
    (tmp_path / "a.xml").write_text(
        f"<annotation><object><name>n1</name><bndbox><xmin>{number}</xmin><ymin>0</ymin>"
        "<xmax>5</xmax><ymax>5</ymax></bndbox></object></annotation>"
    )
    with pytest.raises(BrokenFileError, match="not an annotation"):
        read_xml_boxes(tmp_path / "a.xml", "n1")


@pytest.mark.parametrize(
    "header",
    [struct.pack("<Q", 2**60), struct.pack("<Q", 10) + b"{" * 10,
     struct.pack("<Q", 70)
     + b'{"a":{"dtype":"F32","shape":[999999999],"data_offsets":[0,4]}}'.ljust(70)],
)  # fmt: skip
def test_safetensors_with_a_made_up_header_are_refused(tmp_path, header):
    (tmp_path / "w.safetensors").write_bytes(header + b"\0\0\0\0")
    with pytest.raises(BrokenFileError, match="safetensors"):
        read_state(tmp_path / "w.safetensors")


def test_state_dict_that_was_packed_to_grow_is_refused(tmp_path):
    torch.save({"w": torch.zeros(4_000_000)}, tmp_path / "plain.pt")
    with (
        zipfile.ZipFile(tmp_path / "plain.pt") as plain,
        zipfile.ZipFile(tmp_path / "w.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    assert (tmp_path / "w.pt").stat().st_size < 100_000
    with pytest.raises(BrokenFileError, match="compressed"):
        read_state(tmp_path / "w.pt")


def test_tensor_of_one_number_that_claims_a_trillion_is_refused(tmp_path):
    torch.save({"w": torch.zeros(1).expand(10**12)}, tmp_path / "w.pt")
    with pytest.raises(BrokenFileError, match="stores all its elements"):
        read_state(tmp_path / "w.pt")
