"""The real command line with an adversary in it: `python -m tests.adversaries.as_member NAME provider start ...`.

NAME is one of `tests.adversaries.members`, or `cheat:` and one of `benches.cheats`.
"""

import sys

from commonweight.cli.main import app
from tests.adversaries.members import install

if __name__ == "__main__":
    name = sys.argv.pop(1)
    if name.startswith("cheat:"):
        from tests.adversaries import cheating

        cheating.install(name.removeprefix("cheat:"))
    else:
        install(name)
    app()
