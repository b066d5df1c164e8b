"""The clients of scripts/benchmarks/tenants: two that read and two that write, each one request after the other, until
the file STOP is there. What came of them goes to OUT.

    tenants.py PORT STOP OUT
"""

import http.client
import json
import os
import sys
import threading
import time

port, stop, out = int(sys.argv[1]), sys.argv[2], sys.argv[3]
begin = os.path.join(os.path.dirname(stop), "begin")
headers = {"Authorization": f"Bearer {os.environ['GUANXI_KEY']}", "Content-Type": "application/json"}
times = {"read": [], "write": []}
before = {"read": [], "write": []}
failed = []


def run(kind, number):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    count = 0
    while not os.path.exists(stop):
        count += 1
        if kind == "read":
            method, path, body = "GET", "/v1/contacts?limit=50&sort=-created_at", None
        else:
            method, path = "POST", "/v1/contacts?allow_duplicates=true"
            body = json.dumps({"given_name": f"New {number}", "family_name": f"{count}"})
        has_begun = os.path.exists(begin)
        started = time.monotonic()
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        text = answer.read()
        (times if has_begun else before)[kind].append((time.monotonic() - started) * 1000)
        if answer.status >= 300:
            failed.append(f"{method} {answer.status} {text[:200]!r}")
        # As people do: what is measured is who waits for the move, not for the machine.
        time.sleep(0.05)


threads = [threading.Thread(target=run, args=(kind, number)) for kind in times for number in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()


def percentile(values, part):
    values = sorted(values)
    return round(values[min(len(values) - 1, int(len(values) * part))], 1)


result = {"written": len(times["write"]) + len(before["write"]), "failed": len(failed), "failures": failed[:3]}
for kind in times:
    result[f"longest_{kind}_ms"] = round(max(times[kind]), 1)
    result[f"p99_{kind}_ms"] = percentile(times[kind], 0.99)
    result[f"longest_{kind}_before_ms"] = round(max(before[kind]), 1)
    result[f"{kind}s"] = len(times[kind])
with open(out, "w", encoding="utf-8") as file:
    json.dump(result, file)
