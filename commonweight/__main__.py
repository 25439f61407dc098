"""`python -m commonweight`: the command line, where its console script is not on PATH."""

from commonweight.cli.main import app

app()
