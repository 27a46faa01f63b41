"""Environments of the peers that benchmarks run beside us, each its own: their pins conflict with ours and each other's.

.venv/bin/python -m benchmarks.peers             # all, into ~/.cache/megatron_snow/peers/NAME
.venv/bin/python -m benchmarks.peers datatrove
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.harness import CACHE
from megatron_snow.common.files import atomic_file

PEERS = {
    "datatrove": ("datatrove[io,processing]==0.10.1", "xxhash<4", "spacy"),  # with xxhash 4 it fails: "Strings must be encoded"
    "text-dedup": ("text-dedup==0.4.0",),  # pins urllib3 and rich; 0.4.1 needs Python 3.12
    "datasketch": ("datasketch==2.0.0",),
    "rensa": ("rensa==0.5.0", "numpy"),
    "ahocorasick": ("ahocorasick-rs==1.0.3",),
    "detect-secrets": ("detect-secrets==1.5.0",),
}


def python_of(name: str) -> Path:
    """The interpreter of a peer's environment, which is made where it is not there."""
    folder = CACHE / "peers" / name
    python, ready = folder / "bin" / "python", folder / "installed"
    if not ready.is_file() or ready.read_text(encoding="utf-8") != repr(PEERS[name]):
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PEERS[name]], check=True)
        with atomic_file(ready) as file:
            file.write(repr(PEERS[name]))
    return python


if __name__ == "__main__":
    for peer in sys.argv[1:] or PEERS:
        print(python_of(peer))
