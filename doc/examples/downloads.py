"""Where examples have real files from: the tests download them once."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "tests"))
from real_data import cache, fetch

__all__ = ["cache", "fetch"]
