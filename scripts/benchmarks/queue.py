"""The driver of scripts/benchmarks/queue. Each scenario fills or feeds one queue, lets workers work it, and compares
what they saw with what was asked and with what the servers do alone."""

import argparse
import atexit
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

parser = argparse.ArgumentParser()
for name in ("binary", "pgbench", "folder", "redis-port", "postgres-port"):
    parser.add_argument(f"--{name}", required=True)
# Each is the function of its name.
SCENARIOS = ("drain", "effects", "enqueue", "wait", "kill", "flood", "weights", "flush")
parser.add_argument("--only", default=",".join(SCENARIOS))
parser.add_argument("--kills", type=int, default=40)
parser.add_argument("--waiting", type=int, default=1_000_000)
parser.add_argument("--plots")
parser.add_argument("--json")
options = parser.parse_args()
for chosen in options.only.split(","):
    if chosen not in SCENARIOS:
        sys.exit(f"there is no scenario {chosen}: {', '.join(SCENARIOS)}")
PASSWORD = os.environ["PGPASSWORD"]
DATABASE = f"host=127.0.0.1 port={options.postgres_port} dbname=guanxi user=guanxi_contacts password={PASSWORD}"
ADMIN = f"host=127.0.0.1 port={options.postgres_port} dbname=guanxi user=postgres"
results, curves = [], {}


def redis(*words):
    out = subprocess.run(["redis-cli", "-p", options.redis_port, *map(str, words)], capture_output=True, text=True)
    return out.stdout.strip()


def sql(text):
    out = subprocess.run(["psql", "-qAt", "-v", "ON_ERROR_STOP=1", ADMIN, "-c", text], capture_output=True, text=True)
    if out.returncode:
        raise RuntimeError(out.stderr)
    return out.stdout.strip()


def part(*words):
    """Runs one part of the benchmark's program to its end; gives its line of JSON."""
    out = subprocess.run([*command(words[0]), *map(str, words[1:])], capture_output=True, text=True)
    if out.returncode:
        raise RuntimeError(f"{words[0]} ended with {out.returncode}: {out.stderr}")
    return json.loads(out.stdout.strip().splitlines()[-1])


def command(verb):
    address = f"redis://127.0.0.1:{options.redis_port}"
    return [options.binary, verb, "--redis", address, "--database", DATABASE]


class Worker:
    """A worker process; `stop` ends it in good order and gives what it saw."""

    def __init__(self, concurrency=64, queue="contacts.benchmark"):
        words = [*command("work"), "--concurrency", str(concurrency), "--queue", queue]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        # Whatever becomes of this program, no worker outlives it.
        atexit.register(self.process.kill)
        if self.process.stdout.readline().strip() != "ready":
            raise RuntimeError("the worker did not start")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        out, _ = self.process.communicate(timeout=60)
        return json.loads(out.strip().splitlines()[-1])

    def kill(self):
        self.process.kill()
        self.process.wait()


def keys(queue="contacts.benchmark"):
    return f"gx:{{{queue}/0}}:"


def outstanding(tenants=range(1, 41)):
    waiting = sum(int(redis("LLEN", f"{keys()}r:{t}:1") or 0) for t in tenants)
    backlog = int(sql("select count(*) from platform.job_backlog"))
    return waiting + backlog


def until(condition, seconds=300, every=0.1):
    end = time.time() + seconds
    while time.time() < end:
        if condition():
            return
        time.sleep(every)
    raise RuntimeError("not in time")


def clean():
    redis("FLUSHALL")
    sql("truncate contacts.outbox, contacts.inbox, contacts.outbox_sent, contacts.benchmark_effect, "
        "platform.job_backlog; update contacts.queue_epoch set is_recovered = true")


def astray(total):
    """How many of the jobs that leave a row each left none, or more than one."""
    rows, jobs = map(int, sql("select count(*), count(distinct id) from contacts.benchmark_effect").split("|"))
    return abs(total - jobs) + rows - jobs


def add(name, value, unit, target, ceiling=None, lower_is_better=False, least_ratio=None):
    ratio = None if not ceiling else round(value / ceiling, 3)
    met = value <= target if lower_is_better else value >= target
    if least_ratio is not None:
        met = met and ratio is not None and ratio >= least_ratio
    line = {"name": name, "value": round(value, 2), "unit": unit,
            "ceiling": float(f"{ceiling:.4g}") if ceiling else None, "ratio": ratio, "target": target, "met": met}
    results.append(line)
    print("  " + json.dumps(line), flush=True)


# Ceilings


def redis_ceiling(*words):
    out = subprocess.run(["redis-benchmark", "-p", options.redis_port, "-q", "--csv", *words], capture_output=True,
                         text=True)
    return float(out.stdout.strip().splitlines()[-1].split(",")[1].strip('"'))


def pgbench(script, clients=16, seconds=5):
    path = os.path.join(options.folder, "script.sql")
    with open(path, "w", encoding="utf-8") as file:
        file.write(script)
    words = [options.pgbench, "-n", "-M", "prepared", "-c", str(clients), "-j", "2", "-T", str(seconds), "-f", path,
             "-h", "127.0.0.1", "-p", options.postgres_port, "-U", "guanxi_contacts", "guanxi"]
    out = subprocess.run(words, capture_output=True, text=True)
    for line in out.stdout.splitlines():
        if line.startswith("tps"):
            return float(line.split("=")[1].split()[0])
    raise RuntimeError(out.stderr)


SET_TENANT = "select set_config('app.tenant_id', '1', true);\n"
CLAIM = "insert into contacts.inbox (job_id, tenant_id, outcome) values (platform.uuid_now(), 1, 1);\n"
EFFECT = "insert into contacts.benchmark_effect (tenant_id, id) values (1, gen_random_uuid());\n"
# What a set of jobs of one tenant writes in one transaction.
SET = 100
CLAIMS = ("insert into contacts.inbox (job_id, tenant_id, outcome) select platform.uuid_now(), 1, 1"
          f" from generate_series(1, {SET});\n")
EFFECTS = ("insert into contacts.benchmark_effect (tenant_id, id) select 1, gen_random_uuid()"
           f" from generate_series(1, {SET});\n")
OUTBOX = ("insert into contacts.outbox (tenant_id, id, queue, name, payload, priority, max_attempts, timeout_seconds,"
          " cost, is_tracked) values (1, platform.uuid_now(), 'contacts.benchmark', 'contacts.benchmark-nothing', '"
          + "x" * 100 + "', 1, 25, 300, 5, false);\n")


def pipeline(*statements):
    return "\\startpipeline\nbegin;\n" + SET_TENANT + "".join(statements) + "commit;\n\\endpipeline\n"


# Scenarios


def drained(workers, total):
    """Waits until the queue is empty, ends the workers, and gives jobs per second, and the most memory of any."""
    until(lambda: outstanding() == 0, every=0.2)
    time.sleep(0.3)
    seen = [worker.stop() for worker in workers]
    lines = [line for one in seen for line in one["lines"] if line["tag"] == "fill"]
    count = sum(line["count"] for line in lines)
    if count < total:
        raise RuntimeError(f"{count} of {total} were done")
    seconds = max(line["last"] for line in lines) - min(line["first"] for line in lines)
    return count / seconds, max(one["memory"] for one in seen)


def drain():
    lists = redis_ceiling("-n", "300000", "-c", "50", "-P", "16", "-d", "150", "-t", "rpush")
    for processes, target in ((1, 40_000), (2, 50_000)):
        clean()
        total = 300_000
        part("fill", "--jobs", total, "--tenants", 8, "--ephemeral")
        rate, memory = drained([Worker(256) for _ in range(processes)], total)
        add(f"drain, ephemeral, processes: {processes}", rate, "jobs/s", target, lists)
        if processes == 1:
            add("worker memory while draining", memory / 2**20, "MB", 40, lower_is_better=True)


def effects():
    alone = pgbench(pipeline(CLAIM, EFFECT))
    together = pgbench(pipeline(CLAIMS, EFFECTS)) * SET
    for kind, name, target, least in (("nothing", "drain, transactional, no effect", 8000, 0.6),
                                      ("row", "drain, transactional, a row each", 0, 0.6),
                                      ("rows", "drain, transactional, set-based", 40_000, None)):
        clean()
        total = 120_000 if kind == "rows" else 40_000
        part("fill", "--jobs", total, "--tenants", 8, "--kind", kind)
        # A set takes a slot per job, and one connection.
        rate, _ = drained([Worker({"nothing": 256, "row": 64, "rows": 1024}[kind])], total)
        add(name, rate, "jobs/s", target, together if kind == "rows" else alone, least_ratio=least)
        if kind != "nothing":
            add(f"{name}: effects lost or doubled", astray(total), "jobs", 0, lower_is_better=True)


def enqueue():
    alone, together = (redis_ceiling("-n", "200000", "-c", c, "-d", "150", "-t", "rpush") for c in ("1", "50"))
    for tasks, batch, target in ((1, 1, 13_000), (64, 1, 60_000), (4, 500, 200_000)):
        clean()
        rate = part("enqueue", "--tasks", tasks, "--batch", batch, "--seconds", 3, "--ephemeral")["rate"]
        add(f"enqueue, ephemeral, tasks: {tasks}, in one call: {batch}", rate, "jobs/s", target,
            alone if tasks == 1 else together)
    # By turns, because the disk's pace changes by the second. What pgbench wrote goes first: our relay would push it.
    ours, ceiling = [], []
    for _ in range(6):
        ceiling.append(pgbench(pipeline(EFFECT, OUTBOX), seconds=2))
        clean()
        ours.append(part("enqueue", "--tasks", 16, "--seconds", 2)["rate"])
    add("enqueue, transactional, with a business row", sum(ours) / len(ours), "jobs/s", 0, sum(ceiling) / len(ceiling),
        least_ratio=0.7)


def matched(at, seen, tag="trickle"):
    starts = {}
    for line in seen["lines"]:
        if line["tag"] == tag:
            starts.update({int(number): start for number, start in line["starts"].items()})
    return sorted((starts[n + 1] - at[n]) * 1000 for n in range(len(at)) if n + 1 in starts)


def quantile(values, q):
    return values[min(len(values) - 1, int(len(values) * q))] if values else float("inf")


BARE_RECEIVER = """
import socket, sys, time
line = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
for _ in range(int(sys.argv[2])):
    line.sendall(b"*3\\r\\n$5\\r\\nBLPOP\\r\\n$4\\r\\nbare\\r\\n$1\\r\\n0\\r\\n")
    sent = float(line.recv(4096).split()[-1])
    line.sendall(b"*1\\r\\n$4\\r\\nPING\\r\\n")
    line.recv(4096)
    print((time.time() - sent) * 1000)
"""


def bare_waits(jobs, interval):
    """What the machine and Redis alone take of an idle worker's wait: milliseconds from a push until a process that
    waits for it was told, asked once more, and had its answer."""
    receiver = subprocess.Popen([sys.executable, "-c", BARE_RECEIVER, options.redis_port, str(jobs)],
                                stdout=subprocess.PIPE, text=True)
    time.sleep(0.5)
    with socket.create_connection(("127.0.0.1", int(options.redis_port))) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        begin = time.time()
        for number in range(1, jobs + 1):
            now = repr(time.time()).encode()
            line.sendall(b"*3\r\n$5\r\nRPUSH\r\n$4\r\nbare\r\n$%d\r\n%s\r\n" % (len(now), now))
            line.recv(64)
            time.sleep(max(0, begin + number * interval / 1000 - time.time()))
    out, _ = receiver.communicate(timeout=60)
    return [float(found) for found in out.split()]


def wait():
    for kind, words, median, tail in (("ephemeral", ["--ephemeral"], 0.8, 1.5), ("transactional", [], 2, 4)):
        clean()
        bare = bare_waits(1000, 5)
        worker = Worker(16)
        time.sleep(1)
        # The first of them meet programs that never did this before; of so many they are not what 99 of 100 says.
        at = part("trickle", "--jobs", 3000, "--interval", 5, *words)["at"]
        found = matched(at, worker.stop())
        bare = sorted(bare + bare_waits(1000, 5))
        for name, q, target in (("p50", 0.5, median), ("p99", 0.99, tail)):
            add(f"enqueue to start, {kind}, {name}", quantile(found, q), "ms", target, quantile(bare, q),
                lower_is_better=True)
    load_curve()


def load_curve():
    """The wait at rising load of jobs of 5 ms, on a worker of 16: 3,200 a second would fill it."""
    points = []
    for load in (0.1, 0.3, 0.5, 0.7, 0.8, 0.9):
        clean()
        worker = Worker(16)
        interval = 1000 / (3200 * load) * 4
        feeders = [subprocess.Popen([*command("trickle"), "--jobs", str(int(5000 / interval)), "--interval",
                                     str(interval), "--milliseconds", "5", "--ephemeral", "--tenant", str(n + 1),
                                     "--tag", f"load{n}"], stdout=subprocess.DEVNULL) for n in range(4)]
        for feeder in feeders:
            feeder.wait()
        lines = worker.stop()["lines"]
        points.append((load, max(line["p50"] for line in lines), max(line["p99"] for line in lines)))
    curves["wait against load"] = points


def kill():
    per_round, recoveries, number = 10, [], 0
    rounds = (options.kills + per_round - 1) // per_round
    clean()
    queue = "contacts.benchmark"
    for _ in range(rounds):
        victims = [Worker(1, queue) for _ in range(per_round)]
        feeder = subprocess.Popen([*command("trickle"), "--jobs", str(per_round), "--interval", "1", "--milliseconds",
                                   "2500", "--tag", "kill", "--kind", "row"], stdout=subprocess.DEVNULL)
        until(lambda: sum(int(redis("HLEN", f"{keys()}{name}") or 0)
                          for name in [f"w:{w}" for w in redis("ZRANGE", f"{keys()}wk", 0, -1).split()]) == per_round)
        feeder.wait()
        survivor = Worker(32, queue)
        moment = time.time()
        for victim in victims:
            victim.process.kill()
        for victim in victims:
            victim.process.wait()
        until(lambda: int(sql("select count(*) from contacts.benchmark_effect")) >= number + per_round, 60, 0.3)
        seen = survivor.stop()
        starts = [s for line in seen["lines"] for s in line["starts"].values()]
        recoveries += [start - moment for start in starts]
        number += per_round
    recoveries.sort()
    add(f"SIGKILL to run again, p99 of {len(recoveries)} kills", quantile(recoveries, 0.99), "s", 8,
        lower_is_better=True)
    add("SIGKILL: jobs lost or doubled", astray(number) + abs(len(recoveries) - number), "jobs", 0, lower_is_better=True)


def flood():
    clean()
    worker = Worker(16)
    time.sleep(1)
    at = part("trickle", "--jobs", 1000, "--interval", 10, "--milliseconds", 2, "--ephemeral", "--tenant", 2)["at"]
    idle = matched(at, worker.stop())
    clean()
    base = int(redis("INFO", "memory").split("used_memory:")[1].split()[0])
    part("fill", "--jobs", options.waiting, "--tenants", 1, "--milliseconds", 2, "--ephemeral", "--payload", 100)
    used = int(redis("INFO", "memory").split("used_memory:")[1].split()[0])
    add(f"Redis memory, {options.waiting} jobs waiting", used / 2**20, "MB", 230, lower_is_better=True)
    worker = Worker(16)
    flooded = f"{keys()}r:1:1"
    # A thousand times the quiet tenant's hundred a second, for as long as that one needs.
    flooding = subprocess.Popen([*command("fill"), "--jobs", "3000000", "--tenants", "1", "--per-second",
                                 "100000", "--milliseconds", "2", "--ephemeral"], stdout=subprocess.DEVNULL)
    time.sleep(1)
    waiting, moment = int(redis("LLEN", flooded)), time.time()
    at = part("trickle", "--jobs", 1000, "--interval", 10, "--milliseconds", 2, "--ephemeral", "--tenant", 2)["at"]
    if flooding.poll() is not None:
        raise RuntimeError("the flood ended too early")
    # What the worker took meanwhile comes on top: it is less than a tenth.
    rate = (int(redis("LLEN", flooded)) - waiting) / (time.time() - moment)
    flooding.kill()
    flooding.wait()
    seen = worker.stop()
    busy = matched(at, seen)
    limit = 2 * quantile(idle, 0.99) + 2
    add("quiet tenant's wait p99 beside a flood", quantile(busy, 0.99), "ms", round(limit, 2),
        quantile(idle, 0.99), lower_is_better=True)
    add("the flood, wanted 100000 a second, less what was done of it", rate, "jobs/s", 90_000)
    add("worker memory beside a flood", seen["memory"] / 2**20, "MB", 100, lower_is_better=True)
    curves["quiet tenant's wait"] = [(q, quantile(idle, q), quantile(busy, q)) for q in
                                     (0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)]


def weights():
    clean()
    seconds = 60
    weighted = {t: 1 + (t - 1) % 4 for t in range(1, 11)}
    for tenant, weight in weighted.items():
        sql(f"insert into platform.queue_share (tenant_id, queue, weight) values ({tenant}, 'contacts.benchmark', {weight})"
            " on conflict (tenant_id, queue) do update set weight = excluded.weight")
    for tenant in weighted:
        # Jobs of unlike length: shares go by the time they take, not by their number. Long enough that what a run costs
        # besides is no share of its own: the ledger sees the handler alone, the queue charges all.
        part("fill", "--jobs", 20_000, "--tenants", 1, "--first-tenant", tenant, "--milliseconds", 10 + tenant % 5 * 10,
             "--ephemeral", "--payload", 100)
    worker = Worker(16)
    time.sleep(seconds)
    lines = [line for line in worker.stop()["lines"] if line["tag"] == "fill"]
    sql("delete from platform.queue_share")
    total = sum(line["running"] for line in lines)
    worst = max(abs(line["running"] / total / (weighted[line["tenant"]] / sum(weighted.values())) - 1)
                for line in lines)
    if len(lines) != len(weighted):
        worst = 1
    add("ten tenants of weights 1 to 4: worst deviation of a share", worst * 100, "%", 3, lower_is_better=True)


def lose_redis():
    """Kills Redis, and begins it anew without a byte of what it knew."""
    folder = redis("CONFIG", "GET", "dir").splitlines()[1]
    pid = int(redis("INFO", "server").split("process_id:")[1].split()[0])
    os.kill(pid, signal.SIGKILL)
    # Its port is free once it is gone.
    until(lambda: not os.path.exists(f"/proc/{pid}"), 10, 0.005)
    shutil.rmtree(os.path.join(folder, "appendonlydir"))
    subprocess.run(["bash", "-c", '. scripts/lib/machine.sh; start_redis "$1" "$2"', "-", folder, options.redis_port],
                   check=True, stdout=subprocess.DEVNULL)


def flush():
    forgotten("FLUSHALL", lambda: redis("FLUSHALL"))
    forgotten("Redis killed, its files gone", lose_redis)


def forgotten(name, forget):
    clean()
    total = 100_000
    part("fill", "--jobs", total, "--tenants", 20, "--kind", "row")
    worker = Worker(64)
    until(lambda: int(sql("select count(*) from contacts.inbox")) > 3000, 60, 0.05)
    epoch = int(sql("select epoch from contacts.queue_epoch where queue = 'contacts.benchmark'"))
    moment = time.time()
    forget()
    left = total - int(sql("select count(*) from contacts.inbox"))
    until(lambda: sql("select epoch || ' ' || is_recovered from contacts.queue_epoch "
                      "where queue = 'contacts.benchmark'") == f"{epoch + 1} true", 60, 0.05)
    took = time.time() - moment
    until(lambda: int(sql("select count(*) from contacts.benchmark_effect")) >= total, 120, 0.5)
    worker.stop()
    add(f"{name}: {left} outstanding jobs back", took, "s", 10, lower_is_better=True)
    add(f"{name}: jobs lost or doubled", astray(total), "jobs", 0, lower_is_better=True)


# Reports


def plot(title, points, labels, path):
    """Two curves over the first value of each point, as an SVG that needs nothing."""
    width, height, left, bottom = 640, 360, 60, 40
    top = max(max(p[1], p[2]) for p in points) * 1.1 or 1
    right = max(p[0] for p in points)

    def place(x, y):
        return left + x / right * (width - left - 20), height - bottom - y / top * (height - bottom - 30)

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
             f'font-size="12"><rect width="{width}" height="{height}" fill="#fff"/>'
             f'<text x="{left}" y="18" font-size="14">{title}, milliseconds</text>']
    for step in range(6):
        value = top * step / 5
        _, y = place(0, value)
        parts.append(f'<line x1="{left}" x2="{width - 20}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
                     f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.1f}</text>')
    for x, *_ in points:
        px, _ = place(x, 0)
        parts.append(f'<text x="{px:.1f}" y="{height - bottom + 18}" text-anchor="middle">{x}</text>')
    for index, (label, colour) in enumerate(zip(labels, ("#1b6ca8", "#c8553d"))):
        line = " ".join(f"{px:.1f},{py:.1f}" for px, py in (place(p[0], p[index + 1]) for p in points))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>'
                     f'<text x="{width - 20}" y="{34 + index * 16}" fill="{colour}" text-anchor="end">{label}</text>')
    with open(path, "w", encoding="utf-8") as file:
        file.write("".join(parts) + "</svg>\n")


def report():
    print("\n| what | value | unit | asked | ceiling | ratio | met |\n| --- | --- | --- | --- | --- | --- | --- |")
    for line in results:
        print(f"| {line['name']} | {line['value']} | {line['unit']} | {line['target']} | {line['ceiling'] or ''} | "
              f"{line['ratio'] or ''} | {'yes' if line['met'] else 'no'} |")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=2)
    if options.plots:
        os.makedirs(options.plots, exist_ok=True)
        if "wait against load" in curves:
            plot("Wait against load (part of what the worker can do)", curves["wait against load"], ("p50", "p99"),
                 os.path.join(options.plots, "wait-against-load.svg"))
        if "quiet tenant's wait" in curves:
            plot("A quiet tenant's wait by quantile", curves["quiet tenant's wait"], ("alone", "beside a flood"),
                 os.path.join(options.plots, "wait-beside-a-flood.svg"))


for chosen in options.only.split(","):
    print(chosen, flush=True)
    globals()[chosen]()
report()
