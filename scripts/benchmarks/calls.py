"""The driver of scripts/benchmarks/calls: agents who listen, a telephone system that rings, and others who write.

    calls.py prepare FOLDER TENANT AGENTS      writes the agents' keys to FOLDER and prints the SQL that makes them
    calls.py run FOLDER PORT AGENTS RATE SECONDS WRITERS [JSON]
"""

import asyncio
import base64
import hashlib
import json
import os
import random
import sys
import time
import uuid


def prepare(folder, tenant, agents):
    """Users and keys, in the form that Tenancy keeps them in."""
    keys = []
    print("begin;")
    for number in range(agents):
        user, key, secret = uuid.uuid4(), os.urandom(12).hex(), os.urandom(32)
        stored = hashlib.blake2b(secret, digest_size=32).hexdigest()
        text = base64.urlsafe_b64encode(secret).decode().rstrip("=")
        keys.append({"user": str(user), "token": f"gx_{key}_{text}"})
        print(
            f"insert into platform.app_user (tenant_id, id, email, name, roles) values"
            f" ({tenant}, '{user}', 'agent{number}@example.com', 'Agent {number}', '{{agent}}');"
            f"insert into platform.api_key (tenant_id, id, secret_hash, name, roles, user_id) values"
            f" ({tenant}, '{key}', '\\x{stored}', 'agent', '{{agent}}', '{user}');"
        )
    print("commit;")
    with open(f"{folder}/agents.json", "w", encoding="utf-8") as file:
        json.dump(keys, file)


class Connection:
    """One kept-alive HTTP/1.1 connection that posts JSON."""

    def __init__(self, port, token):
        self.port, self.token = port, token
        self.streams = None

    async def post(self, path, body):
        if self.streams is None:
            self.streams = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self.streams
        data = json.dumps(body).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self.token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        writer.write(head.encode() + data)
        answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(answer.split("content-length:")[1].split("\r\n")[0])
        text = await reader.readexactly(length)
        status = int(answer.split(" ")[1])
        if status >= 300:
            raise RuntimeError(f"{path}: {status} {text.decode()[:300]}")
        return json.loads(text) if text else None


class Drive:
    """What was rung, and what came where."""

    def __init__(self):
        self.sent, self.took, self.wrong, self.twice, self.written = {}, {}, 0, 0, 0
        self.ready = 0

    async def listen(self, port, number, agent):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        writer.write(
            f"GET /v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {agent['token']}\r\n\r\n".encode()
        )
        name = None
        while True:
            line = (await reader.readline()).decode().rstrip("\r\n")
            if line.startswith("HTTP/1.1") and " 200 " not in line:
                raise RuntimeError(line)
            if line.startswith("event: "):
                name = line[7:]
                if name == "ready":
                    self.ready += 1
            elif line.startswith("data: ") and name == "call.ringing":
                call = json.loads(line[6:])["call_id"]
                if int(call.split("-")[1]) != number:
                    self.wrong += 1
                elif call in self.took:
                    self.twice += 1
                else:
                    self.took[call] = time.monotonic() - self.sent[call]

    async def write(self, connection):
        while True:
            await connection.post(
                "/v1/contacts?allow_duplicates=true",
                {"given_name": f"Given {random.random()}", "phones": [{"value": f"+4930{random.randint(10**6, 10**7)}"}]},
            )
            self.written += 1

    async def ring(self, connection, call, agent, number):
        self.sent[call] = time.monotonic()
        await connection.post(
            "/v1/calls",
            {"call_id": call, "state": "ringing", "caller": f"+49305550{number:06}", "user_id": agent["user"]},
        )


async def run(folder, port, agents, rate, seconds, writers, out):
    with open(f"{folder}/agents.json", encoding="utf-8") as file:
        people = json.load(file)[:agents]
    key = os.environ["GUANXI_KEY"]
    drive, first = Drive(), Connection(port, key)
    for number in range(min(agents, 100)):
        await first.post(
            "/v1/contacts?allow_duplicates=true",
            {"given_name": f"Customer {number}", "phones": [{"value": f"+49305550{number:06}"}]},
        )
    tasks = [asyncio.create_task(drive.listen(port, number, agent)) for number, agent in enumerate(people)]
    deadline = time.monotonic() + 60
    while drive.ready < agents:
        if time.monotonic() > deadline or any(task.done() for task in tasks):
            raise RuntimeError(f"{drive.ready} of {agents} streams are ready")
        await asyncio.sleep(0.1)
    tasks += [asyncio.create_task(drive.write(Connection(port, key))) for _ in range(writers)]
    lines = [Connection(port, key) for _ in range(8)]
    free = asyncio.Queue()
    for line in lines:
        free.put_nowait(line)
    rings = []

    async def one(call, number):
        # A call begins when it rings, not when a connection is free.
        drive.sent[call] = began = time.monotonic()
        line = await free.get()
        await drive.ring(line, call, people[number], number % 100)
        drive.sent[call] = began
        free.put_nowait(line)

    started = time.monotonic()
    for count in range(int(rate * seconds)):
        await asyncio.sleep(max(0, started + count / rate - time.monotonic()))
        number = random.randrange(agents)
        rings.append(asyncio.create_task(one(f"c-{number}-{count}", number)))
    await asyncio.gather(*rings)
    took = time.monotonic() - started
    for _ in range(100):
        if len(drive.took) == len(drive.sent):
            break
        await asyncio.sleep(0.1)
    for task in tasks:
        task.cancel()
    times = sorted(drive.took.values())
    result = {
        "streams": agents,
        "calls": len(drive.sent),
        "lost": len(drive.sent) - len(times),
        "wrong_agent": drive.wrong,
        "told_twice": drive.twice,
        "writes_per_s": round(drive.written / took, 1),
        "p50_ms": round(times[len(times) // 2] * 1000, 1) if times else None,
        "p99_ms": round(times[int(len(times) * 0.99)] * 1000, 1) if times else None,
        "max_ms": round(times[-1] * 1000, 1) if times else None,
    }
    print(json.dumps(result))
    if out:
        with open(out, "w", encoding="utf-8") as file:
            json.dump(result, file)
    sys.exit(1 if result["lost"] or result["wrong_agent"] or result["told_twice"] else 0)


if sys.argv[1] == "prepare":
    prepare(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
else:
    asyncio.run(
        run(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]), float(sys.argv[6]), int(sys.argv[7]),
            sys.argv[8] if len(sys.argv) > 8 else None)
    )
