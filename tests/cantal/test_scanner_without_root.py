"""What an agent sees that runs as nobody in particular."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
PROGRAM = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
from manor.cantal import local_api
from manor.cantal.collector import Collector, CollectorOptions
collector = Collector(CollectorOptions())
for tick in (2000, 4000, 6000):
    collector.scanner.scan(tick, lambda: 1)
root = [p for p in local_api.all_processes(collector, None)["all"] if p["pid"] == 1]
mine = [p for p in local_api.all_processes(collector, None)["all"] if p["pid"] == os.getpid()]
metrics = {m["key"]["metric"] for m in local_api.all_metrics(collector, None)["metrics"] if m["key"].get("pid") == "1"}
print(json.dumps([root, mine, sorted(metrics), collector.scanner.faults, collector.summary()["missing_permissions"]]))
"""


@pytest.mark.case("cantal-21")
def test_processes_of_root_are_listed_without_what_only_root_may_read() -> None:
    source = Path(__file__).resolve().parents[2] / "src"
    done = subprocess.run(
        [*NOBODY, sys.executable, "-c", PROGRAM, str(source)], capture_output=True, text=True, timeout=60, check=True
    )
    (root,), (mine,), metrics, faults, missing = json.loads(done.stdout)
    assert (root["io_available"], root["read_bytes"], root["write_bytes"]) == (False, 0, 0)
    assert root["vsize"] > 0 and root["uid"] == 0
    assert {"rss", "user_time"} <= set(metrics) and not {"read_bytes", "write_bytes"} & set(metrics)
    assert mine["io_available"] is True and mine["uid"] == 65534
    assert faults == {} and done.stderr == ""
    assert len(missing) == 2
