"""Nothing here is collected unless Triton interprets; `tests/kernels/test_interpreted.py` starts a process where it does."""

from __future__ import annotations

import os

if os.environ.get("TRITON_INTERPRET") == "1":
    from tests.kernels.interpreted.rounding import patch_rounding

    patch_rounding()
else:
    collect_ignore_glob = ["*"]
