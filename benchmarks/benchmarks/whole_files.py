import tempfile
from pathlib import Path

import cold

NBYTES = 1 << 28
with tempfile.TemporaryDirectory() as folder:
    WORKS = {work.subject: list(work.turns) for work in cold.Disk(Path(folder), 0).works()}


class Cold:
    """Seconds of one turn, which starts with a cold file."""

    params = [f"{subject}: {contender}" for subject, contenders in WORKS.items() for contender in contenders]  # noqa: RUF012
    param_names = ("turn",)
    unit = "s"

    def setup(self, turn: str) -> None:
        self.folder = tempfile.TemporaryDirectory(dir=Path(__file__).parent)  # on a disk
        disk = cold.Disk(Path(self.folder.name), NBYTES)
        subject, _, contender = turn.partition(": ")
        self.turn = next(work.turns[contender] for work in disk.works() if work.subject == subject)

    def teardown(self, turn: str) -> None:
        self.folder.cleanup()

    def track_seconds(self, turn: str) -> float:
        return self.turn()
