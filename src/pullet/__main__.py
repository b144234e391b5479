"""`python -m pullet` is `pullet`."""

from pullet.cli.main import main

main()
