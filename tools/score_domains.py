"""`megatron-snow score-domains` as a script; --help lists its options."""

from megatron_snow.cli.main import tool

if __name__ == "__main__":
    tool("score_domains")
