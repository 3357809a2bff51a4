from typing import SupportsIndex

import numpy as np
import numpy.typing as npt

ROUNDS: int

def set_num_threads(n: SupportsIndex) -> None: ...
def shuffled(
    keys: npt.NDArray[np.uint64], length: int, positions: npt.NDArray[np.int64], inverse: bool = False
) -> npt.NDArray[np.int64]: ...
