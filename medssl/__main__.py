"""`python -m medssl`."""

from medssl.cli.main import run

run()
