"""Recordings that do not fit, are no recordings, or are too large."""

import io
import zipfile

import numpy as np
import pytest

import mmedge
from mmedge.bundle import open_bundle
from mmedge.golden import read_golden


@pytest.fixture(scope="module")
def opened(reference_bundle):
    return open_bundle(reference_bundle)


def packed(arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def refused(opened, content, text):
    with pytest.raises(mmedge.BundleError, match=text) as error:
        read_golden(content, opened.manifest, "golden.npz")
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("golden.npz cannot be read (")


def test_what_was_exported_is_read(opened):
    golden = opened.read_golden()
    again = read_golden(packed(golden), opened.manifest, "golden.npz")
    assert again.keys() == golden.keys()
    assert {len(array) for array in again.values() if array.ndim} == {4}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda g: g.pop("sensor/audio"), "holds no 'sensor/audio'"),
        (lambda g: g.pop("tolerance/event"), "holds no 'tolerance/event'"),
        (lambda g: g.pop("output/distance"), "holds no 'output/distance'"),
        (lambda g: g.update({"tensor/nowhere": np.zeros(1)}), "'tensor/nowhere', which the manifest does not name"),
        (lambda g: g.update({"sensor/audio": g["sensor/audio"][:3]}), r"sensor/audio is \[3, 16000\] .*\[4, 16000\]"),
        (lambda g: g.update({"sensor/audio": g["sensor/audio"].astype("f8")}), "sensor/audio .* float64, expected"),
        (lambda g: g.update({"sensor/image": g["sensor/image"][:, :5]}), r"expected \[4, 8, 240, 320, 3\] uint8"),
        (lambda g: g.update({"sensor/image": g["sensor/image"][:, :, :0]}), r"expected \[4, 8, 1, 320, 3\] uint8"),
        (lambda g: g.update({"sensor/image": np.array(3)}), "holds no sample|expected"),
        (lambda g: g.update({"output/event": g["output/event"][:, :3]}), r"output/event is \[4, 3\]"),
        (lambda g: g.update({"output/event": g["output/event"].astype("U9")}), "output/event .* expected"),
        (lambda g: g.update({"tensor/mean_2": g["tensor/mean_2"][0]}), r"tensor/mean_2 is \[1, 64\]"),
        (lambda g: g.update({"tolerance/event": np.zeros(2)}), "tolerance/event is .*, expected one float"),
        (lambda g: g.update({k: v[:0] for k, v in g.items() if v.ndim}), "holds no sample"),
    ],
)
def test_a_recording_that_does_not_fit_is_refused(opened, change, text):
    golden = dict(opened.read_golden())
    change(golden)
    refused(opened, packed(golden), text)


def test_what_is_no_npz_is_refused(opened):
    array = io.BytesIO()
    np.save(array, np.zeros(3))
    content = packed(opened.read_golden())
    for other in (b"", b"not a zip", array.getvalue(), content[: len(content) // 2], content[:40] + content[44:]):
        refused(opened, other, "cannot be read")


def test_a_recording_that_unpacks_to_more_than_is_sane_is_refused_before_it_does(opened):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("sensor/audio.npy", bytes(1 << 20))
        archive.filelist[0].file_size = 4 << 30  # what four GiB of zeros would be listed as
    refused(opened, file.getvalue(), "unpacks to more than 1024 MiB")


def test_a_header_that_promises_more_than_there_is_is_refused(opened):
    golden = opened.read_golden()
    array = io.BytesIO()
    np.lib.format.write_array_header_1_0(array, {"descr": "<f4", "fortran_order": False, "shape": (1 << 45,)})
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for key in golden:
            archive.writestr(f"{key}.npy", array.getvalue())
    refused(opened, file.getvalue(), "cannot be read")


def test_a_golden_that_does_not_fit_is_one_line_of_every_command(mmedge_cli, bundle_copy, put_listed):
    golden = dict(open_bundle(bundle_copy).read_golden())
    golden.pop("sensor/audio")
    put_listed(bundle_copy, "golden.npz", packed(golden))
    for command in ("check", "inspect"):
        ended = mmedge_cli(command, bundle_copy)
        assert ended.status == 1
        assert "holds no 'sensor/audio'" in ended.err
        assert len(ended.err.strip().splitlines()) == 1
