"""`megatron-snow average-checkpoints` as a script; --help lists its options."""

from megatron_snow.cli.main import tool

if __name__ == "__main__":
    tool("average_checkpoints")
