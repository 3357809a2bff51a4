from collections.abc import Sequence
from typing import SupportsIndex

import numpy as np
import numpy.typing as npt

from ._file import File

ROUNDS: int

def read_file(file: File, offset: int, size: int, more: int) -> None: ...
def set_num_threads(n: SupportsIndex) -> None: ...
def shuffled(keys: Sequence[int], length: int, start: int, stop: int) -> npt.NDArray[np.int64]: ...
def position(keys: Sequence[int], length: int, row: int) -> int: ...
