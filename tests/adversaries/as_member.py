"""The real command line with an adversary in it: `python -m tests.adversaries.as_member NAME provider start ...`."""

import sys

from commonweight.cli.main import app
from tests.adversaries.members import install

if __name__ == "__main__":
    install(sys.argv.pop(1))
    app()
