"""Redaction, in memory, beside detect-secrets' own scan of the same lines with its default plugins.

.venv/bin/python -m benchmarks.corpus.redaction [--megabytes 60]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.corpus.inputs import json_lines
from benchmarks.harness import Result, best
from benchmarks.peers import python_of
from megatron_snow.config import Redaction
from megatron_snow.corpus.redaction.texts import redact_texts
from megatron_snow.pipeline import batches_of, texts_of

_SLOW_BYTES = 1_000_000  # of text that detect-secrets gets
_SCAN = """
import json, sys, time
from detect_secrets.core.scan import scan_line
from detect_secrets.settings import default_settings
texts = json.load(open(sys.argv[1], encoding="utf-8"))
with default_settings():
    started = time.process_time()
    found = sum(sum(1 for _ in scan_line(line)) for text in texts for line in text.splitlines())
print(json.dumps([time.process_time() - started, found]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=60)
    args = parser.parse_args()
    batches = list(batches_of(json_lines(args.megabytes)))
    texts = [texts_of(batch["content"]) for batch in batches]
    size = sum(len(each.data) for each in texts)
    result = Result("redaction")
    for name, settings in (("all", Redaction()), ("secrets alone", Redaction(emails=False, addresses=False))):
        seconds = best(lambda: [list(redact_texts(each, settings)) for each in texts], 3)  # noqa: B023
        kinds = Counter(found.kind for each in texts for _, _, findings in redact_texts(each, settings) for found in findings)
        result.add(f"megatron_snow, {name}", seconds, size, findings=dict(sorted(kinds.items())))
    some: list[str] = []
    for text in (text for batch in batches for text in batch["content"].to_pylist()):
        if sum(map(len, some)) > _SLOW_BYTES:
            break
        some.append(text)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "texts.json")
        path.write_text(json.dumps(some), encoding="utf-8")
        answer = subprocess.run([python_of("detect-secrets"), "-c", _SCAN, path], capture_output=True, text=True, check=True)
    seconds, found = json.loads(answer.stdout)
    result.add("detect-secrets scan_line", seconds, sum(len(text.encode()) for text in some), findings=found)
    result.save()


if __name__ == "__main__":
    main()
