"""`jser predict`, from a checkout."""

import sys

from jser.commands import command_line

if __name__ == "__main__":
    sys.exit(command_line.run("predict", sys.argv[1:]))
