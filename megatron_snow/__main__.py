"""`python -m megatron_snow VERB`: what `megatron-snow VERB` does, where scripts are not on the PATH."""

import sys

from megatron_snow.cli.main import main

if __name__ == "__main__":  # spawned workers import this file
    sys.exit(main())
