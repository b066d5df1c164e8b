"""The load of scripts/chaos: contacts are created and imported all the while, and a ledger says which were committed."""

import http.client
import json
import threading
import time
import uuid


class Load:
    """Writes without end, each write again and again under one key until it is answered with success."""

    def __init__(self, port, key, rate):
        self.port, self.key, self.rate = port, key, rate
        self.ledger, self.refused, self.lock = set(), [], threading.Lock()
        self.is_on, self.is_over, self.busy = threading.Event(), False, 0
        self.threads = [threading.Thread(target=self._create, daemon=True) for _ in range(4)]
        self.threads.append(threading.Thread(target=self._import, daemon=True))
        for thread in self.threads:
            thread.start()

    def start(self):
        self.is_on.set()

    def stop(self):
        """Returns when the last write that was begun has its answer."""
        self.is_on.clear()
        deadline = time.monotonic() + 90
        while self.busy and time.monotonic() < deadline:
            time.sleep(0.05)
        if self.busy:
            raise RuntimeError(f"{self.busy} writes got no answer in 90 s")

    def _next(self):
        self.is_on.wait()
        with self.lock:
            self.busy += 1

    def _done(self, markers):
        with self.lock:
            self.ledger |= set(markers)
            self.busy -= 1

    def _create(self):
        connection = None
        while not self.is_over:
            self._next()
            began = time.monotonic()
            marker = f"c-{uuid.uuid4().hex}"
            body = json.dumps({"given_name": "Ada", "family_name": marker, "external_id": marker, "source": "chaos"})
            headers = {"Content-Type": "application/json", "Idempotency-Key": marker}
            connection, is_kept = self._insist(connection, "/v1/contacts", body.encode(), headers)
            self._done([marker] if is_kept else [])
            time.sleep(max(0, 4 / self.rate - (time.monotonic() - began)))

    def _import(self):
        connection = None
        while not self.is_over:
            self._next()
            markers = [f"i-{uuid.uuid4().hex}" for _ in range(50)]
            rows = "".join(f"{marker},Ada,{marker}\r\n" for marker in markers)
            boundary = uuid.uuid4().hex
            body = (
                f'--{boundary}\r\nContent-Disposition: form-data; name="options"\r\n'
                f'Content-Type: application/json\r\n\r\n{{"type":"contact","source":"chaos"}}\r\n'
                f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="p.csv"\r\n'
                f"Content-Type: text/csv\r\n\r\nexternal_id,given_name,family_name\r\n{rows}\r\n--{boundary}--\r\n"
            )
            headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
            connection, is_kept = self._insist(connection, "/v1/imports", body.encode(), headers)
            self._done(markers if is_kept else [])
            time.sleep(1)

    def _insist(self, connection, path, body, headers):
        headers = headers | {"Authorization": f"Bearer {self.key}"}
        while True:
            try:
                if connection is None:
                    connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=15)
                connection.request("POST", path, body, headers)
                answer = connection.getresponse()
                text = answer.read()
                if answer.status < 300:
                    return connection, True
                if answer.status < 500 and answer.status not in (409, 429):
                    self.refused.append(f"{path}: {answer.status} {text[:200]!r}")
                    return connection, False
            except (OSError, http.client.HTTPException):
                if connection is not None:
                    connection.close()
                connection = None
            time.sleep(0.1)
