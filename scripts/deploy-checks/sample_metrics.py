"""What processes of Guanxi say at /metrics, made up: every metric that rules and dashboards may name.

Run by itself it serves them: sample_metrics.py PORT. One queue is healthy; of another four jobs wait and nobody works it.
"""

import http.server
import sys
import time

BUCKETS = "0.0005 0.001 0.0025 0.005 0.01 0.025 0.05 0.1 0.25 0.5 1.0 2.5 5.0 10.0 30.0 60.0 300.0 3600.0 +Inf".split()
HEALTHY, FORSAKEN = "contacts.events", "tickets.default"

COUNTERS = "enqueued started done failed retried dead quarantined returned".split()
# What runs is told apart by its tenants' plans.
TIERLESS, TIERS = ("enqueued", "returned"), ("standard", "premium")
GAUGES = {
    "guanxi_queue_waiting": (0, 4),
    "guanxi_queue_running": (2, 0),
    "guanxi_queue_delayed": (1, 0),
    "guanxi_queue_put_off": (1, 0),
    "guanxi_queue_parked_tenants": (0, 0),
    "guanxi_queue_dead": (0, 0),
    "guanxi_queue_workers": (2, 0),
    "guanxi_queue_wanted_workers": (2, 0),
    "guanxi_queue_oldest_age_seconds": (0, 1),
    "guanxi_queue_backlog": (0, 0),
    "guanxi_queue_paused": (0, 0),
    "guanxi_fetch_age_seconds": (0, 0),
}


def histogram(name, labels, count):
    lines = [f"# TYPE {name} histogram"]
    lines += [f'{name}_bucket{{{labels},le="{bound}"}} {count}' for bound in BUCKETS]
    return lines + [f"{name}_sum{{{labels}}} {count * 0.0004}", f"{name}_count{{{labels}}} {count}"]


def text(turn):
    lines = []
    for index, queue in enumerate((HEALTHY, FORSAKEN)):
        label = f'queue="{queue}"'
        busy = turn * 10 if queue == HEALTHY else 0
        for counter in COUNTERS:
            value = busy if counter in ("enqueued", "started", "done") else 0
            lines.append(f"# TYPE guanxi_jobs_{counter}_total counter")
            for labels in [label] if counter in TIERLESS else [f'{label},tier="{tier}"' for tier in TIERS]:
                lines.append(f"guanxi_jobs_{counter}_total{{{labels}}} {value}")
        lines += ["# TYPE guanxi_queue_repairs_total counter", f"guanxi_queue_repairs_total{{{label}}} 0"]
        for gauge, values in GAUGES.items():
            lines += [f"# TYPE {gauge} gauge", f"{gauge}{{{label}}} {values[index]}"]
        for name in ("guanxi_job_wait_seconds", "guanxi_job_run_seconds"):
            for tier in TIERS:
                lines += histogram(name, f'{label},tier="{tier}"', busy)
    for status, count in (("2xx", turn * 20), ("4xx", turn), ("5xx", 0)):
        lines += histogram(
            "guanxi_http_request_seconds", f'method="GET",route="/v1/contacts",status="{status}"', count)
    lines += ["# TYPE guanxi_outbox_lag_seconds gauge", 'guanxi_outbox_lag_seconds{service="contacts"} 0']
    lines += ["# TYPE guanxi_event_streams gauge", "guanxi_event_streams 3"]
    for pool in ("reading", "writing", "interactive"):
        lines += ["# TYPE guanxi_pool_connections gauge", f'guanxi_pool_connections{{pool="{pool}"}} 2']
        lines += ["# TYPE guanxi_pool_waiting gauge", f'guanxi_pool_waiting{{pool="{pool}"}} 0']
    # A type is told once for each metric, before its first sample.
    told = set()
    return "\n".join(line for line in lines if not (line.startswith("#") and (line in told or told.add(line)))) + "\n"


class Metrics(http.server.BaseHTTPRequestHandler):
    began = time.monotonic()

    def do_GET(self):
        body = text(int((time.monotonic() - self.began) * 4)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Metrics).serve_forever()
