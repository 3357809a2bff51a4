"""Hand a map of mode "r", and mm[...] of it, to other libraries, and make the user guide's table of what each gets.

`consumers.py` compares the table with that of the guide, and fails if a line differs; `consumers.py --write` replaces
it. Both fail if a library has computed something else than it computes of an array in RAM, or has changed the file.
"""

import csv
import difflib
import importlib
import io
import math
import multiprocessing
import pickle
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

from scikitplot.memmap import DamagedError, MemMap

TABLE = Path(__file__).parents[1] / "doc" / "user_guide" / "_consumers.csv"
NAMES = {"builtins": "Python", "copy": "Python", "pickle": "Python", "concurrent.futures": "concurrent.futures"}
HEADER = ["Library", "Call", "x = mm", "x = mm[...]", "Memory", "A write", "Bytes sent", "Closes"]

ROWS = np.random.default_rng(0).random((500, 8), dtype="f4")
SOURCES = {
    "rows": ROWS,
    "column": ROWS[:, 0].copy(),
    "image": (ROWS[:480] * 255).astype("u1").reshape(60, 64),
    "records": np.rec.fromarrays([ROWS[:, 0], np.arange(500)], dtype=[("a", "<f4"), ("b", ">i4")]).view(np.ndarray),
}
LABELS = np.arange(500) % 2


def saved(x, write, read):
    """Return what a library reads back after it has written to a file."""
    with tempfile.TemporaryDirectory() as folder:
        write(f"{folder}/x.npy", x)
        return read(f"{folder}/x.npy")


def hdf5(h5py, x):
    with h5py.File("x.h5", "w", driver="core", backing_store=False) as file:
        return file.create_dataset("x", data=x)[...]


def in_pool(method):
    def call(multiprocessing, x):
        with multiprocessing.get_context(method).Pool(1) as pool:
            return pool.map(np.sum, [x])[0]

    return call


def in_executor(concurrent, x):
    with concurrent.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(np.sum, x).result()


def in_joblib(joblib, x):
    total = joblib.Parallel(2)(joblib.delayed(np.sum)(x) for _ in range(2))
    joblib.externals.loky.get_reusable_executor().shutdown()
    return total


def in_cluster(distributed, x):
    with distributed.Client(n_workers=1, threads_per_worker=1, dashboard_address=":0") as client:
        return client.submit(np.sum, x).result()


def loaded(torch, x):
    workers = {"num_workers": 1, "multiprocessing_context": "spawn"}
    return torch.cat(list(torch.utils.data.DataLoader(x, batch_size=50, **workers)))


def boosted(xgboost, x):
    return xgboost.train({"nthread": 1}, xgboost.DMatrix(x, LABELS), 3).predict(xgboost.DMatrix(ROWS))


def lightgbm(lgb, x):
    options = {"verbose": -1, "num_threads": 1}
    return lgb.train(options, lgb.Dataset(x, LABELS.astype(float), params=options), 3).predict(ROWS)


def nearest(faiss, x):
    index = faiss.IndexFlatL2(8)
    index.add(x)
    return index.search(ROWS[:5], 3)[1]


def drawn(pyplot, draw):
    pyplot.switch_backend("agg")
    figure, axes = pyplot.subplots()
    draw(axes)
    figure.canvas.draw()
    image = np.array(figure.canvas.buffer_rgba())
    pyplot.close(figure)
    return image


def query(duckdb, x):
    text = "SELECT sum(b) FROM x WHERE a > 0.5" if x.dtype.names else "SELECT max(COLUMNS(*)) FROM x"
    return duckdb.sql(text).fetchall()[0][0]


A, B = SOURCES["records"]["a"], SOURCES["records"]["b"].astype("i4")

# module, text for the table, key in SOURCES, call with the module and x; what to expect, if the library does not take
# an array in RAM; "pickle" or "dask" if bytes go to other processes
CALLS = [
    ("numpy", "np.asarray(x)", "rows", lambda np, x: np.asarray(x)),
    ("numpy", "np.from_dlpack(x)", "rows", lambda np, x: np.from_dlpack(x)),
    ("numpy", "np.sum(x, axis=0)", "rows", lambda np, x: np.sum(x, axis=0)),
    ("numpy", "np.dot(x, y)", "rows", lambda np, x: np.dot(x, np.ones(8, "f4"))),
    ("numpy", "np.count_nonzero(x)", "rows", lambda np, x: np.count_nonzero(x)),
    ("numpy", "np.zeros_like(x)", "rows", lambda np, x: np.zeros_like(x)),
    ("numpy", "np.concatenate([x, x])", "rows", lambda np, x: np.concatenate([x, x])),
    ("numpy", "np.reshape(x, -1)", "rows", lambda np, x: np.reshape(x, -1)),
    ("numpy", "np.take(x, [3, 1], axis=0)", "rows", lambda np, x: np.take(x, [3, 1], axis=0)),
    ("numpy", "np.linalg.svd(x)", "rows", lambda np, x: np.linalg.svd(x)[1]),
    ("numpy", "np.save(path, x)", "rows", lambda np, x: saved(x, np.save, np.load)),
    ("numpy", "array + x", "rows", lambda np, x: np.ones(8, "f4") + x),
    ("numpy", "x + array", "rows", lambda np, x: x + np.ones(8, "f4")),
    ("numpy", "np.frombuffer(x)", "rows", lambda np, x: np.frombuffer(x, "f4")),
    ("builtins", "bytes(x)", "rows", lambda python, x: np.frombuffer(bytes(x), "f4")),
    ("builtins", "bytearray(x)", "column", lambda python, x: np.frombuffer(bytearray(x), "f4")),
    ("builtins", "memoryview(x)", "rows", lambda python, x: memoryview(x)),
    ("copy", "copy.copy(x)", "rows", lambda copy, x: copy.copy(x)),
    ("pickle", "pickle.dumps(x)", "rows", lambda pickle, x: pickle.loads(pickle.dumps(x)), None, "pickle"),
    ("multiprocessing", "Pool.map(f, [x]), spawn", "rows", in_pool("spawn"), None, "pickle"),
    ("multiprocessing", "Pool.map(f, [x]), forkserver", "rows", in_pool("forkserver"), None, "pickle"),
    ("concurrent.futures", "ProcessPoolExecutor.submit(f, x)", "rows", in_executor, None, "pickle"),
    ("pandas", "pd.DataFrame(x)", "rows", lambda pd, x: pd.DataFrame(x)),
    ("pandas", "pd.DataFrame(x, copy=False)", "rows", lambda pd, x: pd.DataFrame(x, copy=False)),
    ("pandas", "pd.Series(x, copy=False)", "column", lambda pd, x: pd.Series(x, copy=False)),
    ("pandas", "pd.DataFrame(records)[name]", "records", lambda pd, x: pd.DataFrame(x)["b"]),
    ("pandas", "pd.DataFrame.from_arrow(records)", "records", lambda pd, x: pd.DataFrame.from_arrow(x)["b"], B),
    ("polars", "pl.Series(x)", "column", lambda pl, x: pl.Series(x)),
    ("polars", "pl.DataFrame(x)", "rows", lambda pl, x: pl.DataFrame(x)),
    ("polars", "pl.DataFrame(records)", "records", lambda pl, x: pl.DataFrame(x)["b"], B),
    ("polars", "pl.scan_arrow_c_stream(records)", "records", lambda pl, x: pl.scan_arrow_c_stream(x).collect()["b"], B),
    ("pyarrow", "pa.array(x)", "column", lambda pa, x: pa.array(x)),
    ("pyarrow", "pa.array(x), rows", "rows", lambda pa, x: pa.array(x).flatten(), ROWS.reshape(-1)),
    ("pyarrow", "pa.table(records)", "records", lambda pa, x: pa.table(x)["b"], B),
    ("pyarrow", "RecordBatchReader.from_stream(records)", "records",
     lambda pa, x: pa.concat_arrays([batch["b"] for batch in pa.RecordBatchReader.from_stream(x)]), B),
    ("nanoarrow", "na.Array(x)", "column", lambda na, x: na.Array(x).to_pylist()),
    ("duckdb", 'duckdb.sql("... FROM records")', "records", query, B[A > 0.5].sum()),
    ("scipy", "scipy.linalg.svdvals(x)", "rows", lambda scipy, x: scipy.linalg.svdvals(x)),
    ("scipy", "scipy.fft.rfft(x)", "rows", lambda scipy, x: scipy.fft.rfft(x)),
    ("scipy", "scipy.sparse.csr_array(x)", "rows", lambda scipy, x: scipy.sparse.csr_array(x).toarray()),
    ("scipy", "scipy.spatial.KDTree(x).query", "rows", lambda scipy, x: scipy.spatial.KDTree(x).query(ROWS[:9], 2)[1]),
    ("scipy", "scipy.ndimage.gaussian_filter(x)", "image", lambda scipy, x: scipy.ndimage.gaussian_filter(x, 2)),
    ("sklearn.preprocessing", "StandardScaler().fit_transform(x)", "rows",
     lambda sk, x: sk.StandardScaler().fit_transform(x)),
    ("sklearn.decomposition", "PCA(2).fit(x)", "rows", lambda sk, x: sk.PCA(2).fit(x).explained_variance_),
    ("sklearn.cluster", "MiniBatchKMeans().fit(x)", "rows",
     lambda sk, x: sk.MiniBatchKMeans(3, random_state=0, n_init=1).fit(x).cluster_centers_),
    ("sklearn.linear_model", "LogisticRegression().fit(x, y)", "rows",
     lambda sk, x: sk.LogisticRegression().fit(x, LABELS).coef_),
    ("sklearn.ensemble", "HistGradientBoostingClassifier().fit(x, y)", "rows",
     lambda sk, x: sk.HistGradientBoostingClassifier(max_iter=3, random_state=0).fit(x, LABELS).predict(ROWS)),
    ("sklearn.model_selection", "train_test_split(x)", "rows",
     lambda sk, x: sk.train_test_split(x, random_state=0)[0]),
    ("skimage.filters", "skimage.filters.sobel(x)", "image", lambda skimage, x: skimage.sobel(x)),
    ("torch", "torch.asarray(x)", "rows", lambda torch, x: torch.asarray(x)),
    ("torch", "torch.as_tensor(x)", "rows", lambda torch, x: torch.as_tensor(x)),
    ("torch", "torch.from_numpy(x)", "rows", lambda torch, x: torch.from_numpy(x)),
    ("torch", "torch.from_dlpack(x)", "rows", lambda torch, x: torch.from_dlpack(x)),
    ("torch", "torch.tensor(x)", "rows", lambda torch, x: torch.tensor(x)),
    ("torch", "DataLoader(x, num_workers=1)", "rows", loaded, None, "pickle"),
    ("safetensors.numpy", "safetensors.numpy.save({...: x})", "rows",
     lambda safetensors, x: safetensors.load(safetensors.save({"x": x}))["x"]),
    ("jax.numpy", "jnp.asarray(x)", "rows", lambda jnp, x: jnp.asarray(x)),
    ("jax.dlpack", "jax.dlpack.from_dlpack(x)", "rows", lambda jax, x: jax.from_dlpack(x)),
    ("dask.array", "da.from_array(x).sum()", "rows", lambda da, x: da.from_array(x).sum().compute()),
    ("dask.array", "da.concatenate([x, x])", "rows", lambda da, x: da.concatenate([x, x]).compute()),
    ("dask.array", "the graph of da.from_array(x)", "rows",
     lambda da, x: pickle.loads(pickle.dumps(da.from_array(x))).compute(), None, "dask"),
    ("distributed", "client.submit(f, x)", "rows", in_cluster, None, "pickle"),
    ("xarray", "xr.DataArray(x)", "rows", lambda xr, x: xr.DataArray(x)),
    ("xarray", 'xr.Variable(("a", "b"), x)', "rows", lambda xr, x: xr.Variable(("a", "b"), x)),
    ("numba", "numba.njit(f)(x)", "rows", lambda numba, x: numba.njit(lambda x: x[3].sum())(x)),
    ("numba", "numba.vectorize(f)(x)", "rows", lambda numba, x: numba.vectorize(["f4(f4)"])(lambda x: x + 1)(x)),
    ("numexpr", 'numexpr.evaluate("x + 1")', "rows", lambda ne, x: ne.evaluate("x + 1", {"x": x})),
    ("bottleneck", "bn.move_mean(x, 3)", "column", lambda bn, x: bn.move_mean(x, 3)[3:]),
    ("h5py", "file.create_dataset(name, data=x)", "rows", hdf5),
    ("zarr", "zarr.array(x)", "rows", lambda zarr, x: zarr.array(x)[...]),
    ("joblib", "Parallel(2)(delayed(f)(x) ...)", "rows", in_joblib, None, "pickle"),
    ("joblib", "joblib.dump(x, path)", "rows",
     lambda joblib, x: saved(x, lambda path, x: joblib.dump(x, path), joblib.load), None, "pickle"),
    ("awkward", "ak.from_numpy(x)", "rows", lambda ak, x: ak.from_numpy(x)),
    ("awkward", "ak.from_dlpack(x)", "rows", lambda ak, x: ak.from_dlpack(x)),
    ("matplotlib.pyplot", "axes.plot(x)", "column", lambda plt, x: drawn(plt, lambda axes: axes.plot(x))),
    ("matplotlib.pyplot", "axes.imshow(x)", "image", lambda plt, x: drawn(plt, lambda axes: axes.imshow(x))),
    ("PIL.Image", "PIL.Image.fromarray(x)", "image", lambda image, x: image.fromarray(x)),
    ("cv2", "cv2.blur(x, (3, 3))", "image", lambda cv2, x: cv2.blur(x, (3, 3))),
    ("xgboost", "xgboost.DMatrix(x, y)", "rows", boosted),
    ("lightgbm", "lightgbm.Dataset(x, y)", "rows", lightgbm),
    ("faiss", "IndexFlatL2(8).add(x)", "rows", nearest),
    ("statsmodels.api", "OLS(y, x).fit()", "rows", lambda sm, x: sm.OLS(LABELS, x).fit().params),
]  # fmt: skip


def as_array(result):
    if hasattr(result, "to_numpy"):
        options = {"zero_copy_only": False} if type(result).__module__.startswith("pyarrow") else {}
        return result.to_numpy(**options)
    return np.asarray(result)


def memory_of(array, mm):
    """Return whether an array is over the memory of the map, over another mapping of its file, or a copy."""
    if np.shares_memory(array, mm[...]):
        return "the map's"
    at = array.__array_interface__["data"][0]
    for line in Path("/proc/self/maps").read_text(errors="replace").splitlines():
        start, stop = (int(number, 16) for number in line.split(maxsplit=1)[0].split("-"))
        if start <= at < stop and line.endswith(mm.path):
            return "another map"
    return "copy"


def write_to(array, mm):
    """Write to an array that a library has made of a read-only map, and return what comes of it."""
    try:
        array[...] = 0
        time.sleep(0)  # an error about a write of compiled code may come with the next call
    except ValueError:
        return "ValueError"
    except DamagedError:
        mm.recover()
        return "DamagedError"
    return "private"


def kilobytes_sent(sent):
    return f"{math.ceil(len(pickle.dumps(sent)) / 1000)} kB"


def hand_over(row, folder, whole):
    """Return what a library gets of a map, or of `mm[...]`: does it work, memory, write, bytes sent, does it close."""
    name, _, source, call, expected, how = (*row, None, None)[:6]
    module = importlib.import_module(name)
    array = SOURCES[source]
    path = f"{folder}/{source}.bin"
    array.tofile(path)
    before = Path(path).read_bytes()
    expected = as_array(call(module, array) if expected is None else expected)
    mm = MemMap.open(path, dtype=array.dtype, shape=array.shape)
    x = mm[...] if whole else mm
    cells = ["", "", "", "", ""]
    try:
        if how is not None:
            cells[3] = kilobytes_sent(module.from_array(x) if how == "dask" else x)
        result = call(module, x)
        got = as_array(result)
        same = np.array_equal(got, expected) or np.allclose(got.astype("f8"), expected.astype("f8"), 1e-4)
        cells[0] = "yes" if same and got.dtype == expected.dtype else "WRONG"
        if np.array_equal(got.reshape(-1), array.reshape(-1) if array.dtype.names is None else B):
            cells[1] = memory_of(got, mm)
            cells[2] = write_to(got, mm) if cells[1] != "copy" else ""
    except Exception as error:
        cells[0] = type(error).__name__
    got = result = x = None
    try:
        mm.close()
        cells[4] = "yes"
    except BufferError:
        cells[4] = "no"
        mm.close(views="revoke")
    if mm.damaged or Path(path).read_bytes() != before:
        cells[0] = "WRONG"
    return cells


def run(folder):
    lines = [HEADER]
    for row in CALLS:
        of_map, of_array = hand_over(row, folder, False), hand_over(row, folder, True)
        best = of_map if of_map[0] == "yes" else of_array
        closes = "yes" if of_map[4] == of_array[4] == "yes" else "no"
        bytes_sent = f"{of_map[3]}, mm[...] {of_array[3]}" if of_map[3] else ""
        name = NAMES.get(row[0], row[0].partition(".")[0])
        lines.append([name, row[1], of_map[0], of_array[0], best[1], best[2], bytes_sent, closes])
        print(*lines[-1], sep=" | ", flush=True)
    return lines


def main():
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        lines = run(folder)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    if "--write" in sys.argv:
        TABLE.write_text(text.getvalue(), encoding="utf-8")
    before = TABLE.read_text(encoding="utf-8").splitlines()
    changed = list(difflib.unified_diff(before, text.getvalue().splitlines(), "the guide", "here", lineterm="", n=0))
    print(*changed, sep="\n")
    return "WRONG" in text.getvalue() or bool(changed)


if __name__ == "__main__":
    sys.exit(main())
