"""
Windows of tokens for a small language model
============================================

.. currentmodule:: scikitplot.memmap

A language model is trained on windows of a long file of tokens, in random order. `batches` makes them of a map: the
windows are shuffled without a list of their numbers, and the pages of the next batches are read while this one is used.

The text is that of Python's own modules, and its characters are the tokens. The models count which character follows
one, two and three others: the first language models, and quickly trained.
"""

import sysconfig
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from scikitplot.memmap import MemMap, batches

SYMBOLS = 97  # line break, printable ASCII, and one for all others

# %%
# Token files are arrays of small integers, one text after another.
folder = tempfile.TemporaryDirectory()
path = Path(folder.name, "tokens.u2")
modules = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
with path.open("wb") as file:
    for module in modules:
        text = np.frombuffer(module.read_bytes(), "u1")
        is_printable = (text >= 32) & (text < 127)
        symbols = np.where(text == ord("\n"), 0, np.where(is_printable, text - np.uint8(31), SYMBOLS - 1))
        symbols.astype("<u2").tofile(file)

tokens = MemMap.open(path, dtype="<u2")
print(f"{len(tokens):,} tokens of {len(modules)} modules")

# %%
# Every 1024 tokens a window of 1025 begins: the targets are the inputs, one token later. One in ten is held out, and is
# read by `MemMap.gather`, which takes where each window begins.
LENGTH = 1024
whole = (len(tokens) - 1) // LENGTH
split = whole - whole // 10
held_out = tokens.gather(LENGTH * np.arange(split, whole), length=LENGTH + 1).astype("i4")
training = tokens.window(0, split * LENGTH + 1)
epoch = batches(training, batch_size=64, length=LENGTH + 1, step=LENGTH, shuffle=True, seed=0)
print(f"{len(epoch)} batches of 64 windows, {len(held_out)} windows held out")


# %%
# A model of order n is a table of counts. Contexts that were never seen fall back to the next shorter one.
def contexts(windows, order):
    """Return a number for the tokens before each target, and the targets."""
    inputs = windows[:, : windows.shape[1] - order]
    number = sum(windows[:, k : k + inputs.shape[1]] * SYMBOLS ** (order - 1 - k) for k in range(order))
    return (number if order else np.zeros_like(inputs)).ravel(), windows[:, order:].ravel()


def bits_per_token(counts, windows):
    """Return the cross-entropy of the held-out windows for each order."""
    mixed, bits = 1 / SYMBOLS, []
    for order, table in enumerate(counts):
        context, target = contexts(windows[:, len(counts) - 1 - order :], order)
        seen = table.sum(axis=1)[context]
        mixed = (table[context, target] + 4 * mixed) / (seen + 4)
        bits.append(-np.log2(mixed).mean())
    return bits


counts = [np.zeros((SYMBOLS**order, SYMBOLS), "f4") for order in range(4)]
tested = held_out[::8]
seen, curve = [], []
for i, windows in enumerate(epoch, 1):
    for order, table in enumerate(counts):
        context, target = contexts(windows.astype("i4"), order)
        np.add.at(table.reshape(-1), context * SYMBOLS + target, 1)
    if i & (i - 1) == 0 or i == len(epoch):  # after 1, 2, 4, 8, ... batches
        seen.append(i * 64 * LENGTH)
        curve.append(bits_per_token(counts, tested))

# %%
# One epoch: every window once, in random order.
figure, ax = plt.subplots(figsize=(8, 4.5), layout="constrained")
for order, bits in enumerate(np.transpose(curve)):
    name = ["0 tokens", "1 token", "2 tokens", "3 tokens"][order]
    ax.plot(seen, bits, "o-", lw=2, ms=4, color=plt.cm.viridis(0.85 - 0.27 * order))
    ax.annotate(name, (seen[-1], bits[-1]), xytext=(8, 0), textcoords="offset points", va="center")
ax.set_xscale("log", base=2)
ax.set(
    xlabel="tokens seen", ylabel="bits per held-out token", title="How well the preceding tokens predict the next one"
)
ax.spines[["top", "right"]].set_visible(False)

training.close()
tokens.close()
folder.cleanup()
plt.show()
