"""The real command line of a provider that strikes itself in a phase: `python -m tests.trainer.struck SIGNAL FILE ...`.

As soon as FILE names a phase, and the member says that it is in that phase, the file is emptied, the round is written
to FILE.hit, and the process sends itself the signal (a number), before it does anything else.
"""

import os
import sys
from pathlib import Path
from typing import Any

from commonweight.cli.main import app
from trainer.status import Status


def arm(number: int, file: Path) -> None:
    """Strike by what the file says, from now on."""
    say = Status.say

    def struck(self: Status, phase: str, round_: int, **more: Any) -> None:
        say(self, phase, round_, **more)
        if file.read_text() == phase:
            file.write_text("")
            aside = file.with_suffix(".new")
            aside.write_text(str(round_))
            aside.replace(file.with_suffix(".hit"))
            os.kill(os.getpid(), number)

    Status.say = struck  # type: ignore[assignment, method-assign]


if __name__ == "__main__":
    arm(int(sys.argv.pop(1)), Path(sys.argv.pop(1)))
    app()
