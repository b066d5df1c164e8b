"""Asks for what scripts/benchmarks/contacts measures: one request after the other on one connection.

    contacts.py wait PORT FOLDER SECONDS WHAT    prints p50 and p99 in milliseconds; by kind of request on stderr
    contacts.py export PORT RECORDS              prints the seconds from the wish to the last byte of the file
"""

import http.client
import itertools
import json
import os
import random
import sys
import time
import urllib.parse


class Connection:
    def __init__(self, port):
        self.http = http.client.HTTPConnection("127.0.0.1", port)
        self.headers = {"Authorization": f"Bearer {os.environ['GUANXI_KEY']}", "Content-Type": "application/json"}

    def ask(self, method, path, body=None):
        self.http.request(method, path, body and json.dumps(body), self.headers)
        response = self.http.getresponse()
        data = response.read()
        if response.status >= 300:
            raise RuntimeError(f"{method} {path}: {response.status} {data.decode()[:300]}")
        return data


class Requests:
    """Endless requests, each `(kind, path, may be empty)`, as varied as the people who are there."""

    def __init__(self, folder, connection):
        self.random = random.Random(7)
        with open(f"{folder}/people.json", encoding="utf-8") as file:
            self.people = [json.loads(line) for line in file]
        with open(f"{folder}/timelines", encoding="utf-8") as file:
            self.timelines = file.read().split()
        self.connection = connection

    def path(self, **parameters):
        return "/v1/contacts?" + urllib.parse.urlencode(parameters)

    def filtered(self, kind, person, third, custom, may_be_empty):
        """A list by what the person is like: what many have is asked for more often than what is rare."""
        conditions = [
            {"field": "region", "op": "eq", "value": person["region"]},
            {"field": "industry", "op": "eq", "value": person["industry"]},
            third,
            {"field": f"custom.{custom}", "op": "eq", "value": person["custom"][custom]},
        ]
        text = json.dumps({"and": conditions}, ensure_ascii=False)
        return kind, self.path(filter=text, sort="-created_at", limit=50), may_be_empty

    def list(self):
        while True:
            for kind, field, op, value in (
                ("of a stage", "lifecycle_stage", "eq", None),
                ("of a quarter", "created_at", "within", {"last": 3, "unit": "month"}),
                ("of a year", "created_at", "within", {"last": 1, "unit": "year"}),
                ("who recommend us", "likelihood_to_recommend", "gte", 8),
            ):
                person = self.random.choice(self.people)
                third = {"field": field, "op": op, "value": value or person["stage"]}
                yield self.filtered(kind, person, third, "tier", True)

    def membership(self):
        while True:
            person = self.random.choice(self.people)
            third = {"field": "lifecycle_stage", "op": "eq", "value": person["stage"]}
            yield self.filtered("of one member", person, third, "membership", False)

    def names(self, is_chinese):
        """In turn a whole name, a family name as often as people have it, and one of all the family names."""
        people = [person for person in self.people if (person["family"] >= "\u3400") == is_chinese]
        families = sorted({person["family"] for person in people})
        while True:
            for kind, text in (
                ("whole name", self.random.choice(people)["display"]),
                ("family name", self.random.choice(people)["family"]),
                ("any family name", self.random.choice(families)),
            ):
                yield kind, self.path(q=text, limit=50), False

    def latin(self):
        return self.names(False)

    def chinese(self):
        return self.names(True)

    def timeline(self):
        """First pages, in turn of the contact of whom there is most and of others."""
        while True:
            yield "of many entries", f"/v1/contacts/{self.timelines[0]}/timeline?limit=50", False
            yield "of few entries", f"/v1/contacts/{self.random.choice(self.timelines[1:])}/timeline?limit=50", False

    def deep(self):
        """Pages from the middle to the end of the longest timeline, by the cursors of the pages before them."""
        address, cursors, cursor = f"/v1/contacts/{self.timelines[0]}/timeline", [], ""
        while cursor is not None:
            page = self.connection.ask("GET", f"{address}?limit=200{cursor and '&cursor=' + cursor}")
            cursor = json.loads(page)["next_cursor"]
            if cursor:
                cursors.append(cursor)
        print(f"    a timeline of {len(cursors)} pages of 200 and a last one", file=sys.stderr)
        while True:
            yield "deep", f"{address}?limit=50&cursor={self.random.choice(cursors[len(cursors) // 2:])}", False


def percentile(times, part):
    return sorted(times)[min(len(times) - 1, int(len(times) * part))] * 1000


def wait(port, folder, seconds, what):
    connection = Connection(port)
    requests = getattr(Requests(folder, connection), what)()
    times, empty = {}, 0
    # The first requests open the service's connections and plan its statements.
    for _, path, _ in itertools.islice(requests, 40):
        connection.ask("GET", path)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        kind, path, may_be_empty = next(requests)
        began = time.perf_counter()
        answer = connection.ask("GET", path)
        times.setdefault(kind, []).append(time.perf_counter() - began)
        if answer.startswith(b'{"items":[]'):
            empty += 1
            if not may_be_empty:
                raise RuntimeError(f"{urllib.parse.unquote_plus(path)} found nothing")
    for kind, own in times.items():
        print(
            f"    {what}, {kind}: {len(own)} requests, p50 {percentile(own, 0.5):.1f} ms, p99"
            f" {percentile(own, 0.99):.1f} ms", file=sys.stderr)
    every = [took for own in times.values() for took in own]
    if empty:
        print(f"    {empty} of {len(every)} found nothing", file=sys.stderr)
    print(f"{percentile(every, 0.5):.2f} {percentile(every, 0.99):.2f}")


def export(port, records):
    connection = Connection(port)
    began = time.perf_counter()
    ids = json.loads(connection.ask("POST", "/v1/exports", {"type": "contact", "format": "csv"}))
    while True:
        state = json.loads(connection.ask("GET", f"/v1/jobs/{ids['job_id']}"))["state"]
        if state == "done":
            break
        if state in ("dead", "cancelled"):
            raise RuntimeError(f"the export is {state}")
        time.sleep(0.02)
    written = time.perf_counter() - began
    file = connection.ask("GET", f"/v1/exports/{ids['export_id']}/file")
    took = time.perf_counter() - began
    print(f"    written in {written:.2f} s, {len(file) / 1e6:.1f} MB", file=sys.stderr)
    if file.count(b"\n") != records + 1:
        raise RuntimeError(f"the file has {file.count(bytes([10]))} lines")
    print(f"{took:.2f}")


if __name__ == "__main__":
    if sys.argv[1] == "wait":
        wait(int(sys.argv[2]), sys.argv[3], float(sys.argv[4]), sys.argv[5])
    else:
        export(int(sys.argv[2]), int(sys.argv[3]))
