"""The child process of `server.local_server`: MODEL THREADS PARALLEL CONTEXT_TOKENS.

It prints its address on a line of its own and serves until its standard input is closed, by the
parent or by the parent's death.
"""

from __future__ import annotations

import os
import sys

import xllamacpp


def serve(model: str, threads: int, parallel: int, context_tokens: int) -> None:
    """Serve `model` on a free loopback port until standard input ends."""
    parameters = xllamacpp.CommonParams()
    parameters.model.path = model
    parameters.port = 0
    parameters.n_parallel = parallel
    parameters.n_ctx = parallel * context_tokens
    parameters.cpuparams.n_threads = threads
    parameters.cpuparams_batch.n_threads = threads
    parameters.ui = False
    server = xllamacpp.Server(parameters)  # returns when the model is loaded and the port listens
    print(f"\n{server.listening_address}", flush=True)
    sys.stdin.buffer.read()
    os._exit(0)  # at once: a request that is being answered has nobody to read it


if __name__ == "__main__":
    serve(sys.argv[1], *map(int, sys.argv[2:]))
