"""`python -m jser` is the command `jser`."""

import sys

from jser.commands import command_line

if __name__ == "__main__":
    sys.exit(command_line.main())
