"""`jser ablate`, from a checkout."""

import sys

from jser.commands import command_line

if __name__ == "__main__":
    sys.exit(command_line.run("ablate", sys.argv[1:]))
