"""`python -m paperround.cli`, as `paperround`."""

from paperround.cli import main

main()
