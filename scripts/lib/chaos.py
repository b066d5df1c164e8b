"""The driver of scripts/chaos: processes, faults, and what must add up after each.

    chaos.py [--short] [--only FAULT,…] [--rate N] [--json FILE]      --list and --check begin nothing
"""

import argparse
import errno
import json
import os
import signal
import subprocess
import sys
import time

from chaos_load import Load
from chaos_proxy import Proxy, free_port

HERE = os.path.dirname(os.path.abspath(__file__))


class Platform:
    """The servers and the services' processes of one run."""

    def __init__(self):
        self.folder, self.binaries = os.environ["CHAOS_FOLDER"], os.environ["CHAOS_BINARIES"]
        self.postgres_port, self.redis_port = os.environ["CHAOS_POSTGRES"], os.environ["CHAOS_REDIS"]
        self.password = os.environ["PGPASSWORD"]
        # A small one of their own, where the machine lets us have it.
        self.disk = os.environ.get("CHAOS_DISK")
        self.restart_redis(signal.SIGTERM)
        self.postgres, self.redis = Proxy(int(self.postgres_port)), Proxy(int(self.redis_port))
        self.port, self.processes, self.starts = free_port(), [], 0

    def start(self, service, role):
        """Starts a process; gives it once it is ready or, where its servers are away, still tries."""
        self.starts += 1
        environment = os.environ | {
            "GUANXI_DATABASE_URL": f"host=127.0.0.1 port={self.postgres.port} dbname=guanxi user=guanxi_{service}"
            f" password={self.password}",
            "GUANXI_REDIS_URL": f"redis://127.0.0.1:{self.redis.port}",
            "GUANXI_HTTP_PORT": str(self.port if role == "serve" else 0),
            "GUANXI_INTERNAL_PORT": "0",
        }
        path = f"{self.folder}/{service}-{role}-{self.starts}"
        with open(path + ".out", "w", encoding="utf-8") as out, open(path + ".log", "w", encoding="utf-8") as log:
            process = subprocess.Popen(
                [f"{self.binaries}/{service}", role], stdin=subprocess.DEVNULL, stdout=out, stderr=log, env=environment
            )
        process.name = f"{service} {role}"
        self.processes.append(process)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with open(path + ".out", encoding="utf-8") as out:
                if out.read().startswith("ready"):
                    return process
            if process.poll() is not None:
                with open(path + ".log", encoding="utf-8") as log:
                    raise RuntimeError(f"{process.name} ended: {log.read()[-1500:]}")
            time.sleep(0.05)
        raise RuntimeError(f"{process.name} was not ready in 30 s")

    def of(self, name):
        return [process for process in self.processes if process.name == name]

    def end(self, process, how=signal.SIGKILL):
        process.send_signal(how)
        process.wait(60)
        self.processes.remove(process)

    def end_all(self):
        for process in self.processes:
            process.send_signal(signal.SIGCONT)
            process.kill()
        for process in self.processes:
            process.wait(10)

    def shell(self, script):
        script = f"set -e; . {HERE}/machine.sh; {script}"
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, timeout=120)
        if done.returncode:
            raise RuntimeError(f"{script}: {done.stdout} {done.stderr}")

    def redis_pid(self):
        with open(f"{self.folder}/redis/pid", encoding="utf-8") as file:
            return int(file.read())

    def redis_command(self, *words):
        done = subprocess.run(
            ["redis-cli", "-p", self.redis_port, *words], capture_output=True, text=True, check=False, timeout=30
        )
        return done.stdout.strip()

    def restart_redis(self, end, empty=False, pause=0.0):
        """Ends it by a signal or a command, forgets what it wrote down where `empty`, and starts it again."""
        # One that crashes removes its own file.
        pid = self.redis_pid()
        if isinstance(end, signal.Signals):
            os.kill(pid, end)
        else:
            self.redis_command(*end)
        while os.path.exists(f"/proc/{pid}"):
            time.sleep(0.02)
        time.sleep(pause)
        forget = f"rm -rf {self.folder}/redis/appendonlydir;" if empty else ""
        self.shell(f"{forget} start_redis {self.folder}/redis {self.redis_port} --enable-debug-command local")

    def restart_postgres(self, mode):
        folder = f"{self.folder}/postgres"
        self.shell(
            f'folder=$(postgres_folder {folder}); (cd "$folder" && as_postgres_user "$(postgres_bin)/pg_ctl" --pgdata'
            f' "$folder/data" --mode {mode} --wait stop >/dev/null);'
            f" start_postgres {folder} {self.postgres_port} {self.folder}/password >/dev/null"
        )

    def fill_disk(self):
        """Takes what is left of the servers' disk, to the last byte."""
        with open(f"{self.disk}/ballast", "wb", buffering=0) as ballast:
            for size in (1 << 20, 1 << 12, 1):
                try:
                    while True:
                        ballast.write(bytes(size))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def free_disk(self):
        os.remove(f"{self.disk}/ballast")
        # Where it could not even write its log, PostgreSQL may have given up.
        if subprocess.run(["pg_isready", "-q", "-h", "127.0.0.1", "-p", self.postgres_port], check=False).returncode == 2:
            self.shell(f"start_postgres {self.folder}/postgres {self.postgres_port} {self.folder}/password >/dev/null")

    def query(self, sql):
        """Rows of text, past every proxy; asked again while the server starts."""
        address = f"host=127.0.0.1 port={self.postgres_port} user=postgres dbname=guanxi"
        for _ in range(100):
            done = subprocess.run(
                ["psql", "-qAtX", "-v", "ON_ERROR_STOP=1", address, "-c", sql],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode == 0:
                return [line.split("|") for line in done.stdout.splitlines()]
            if "ERROR" in done.stderr:
                break
            time.sleep(0.1)
        raise RuntimeError(f"{sql}: {done.stderr}")


# The faults: each ends when the world is whole again.


def worker_killed(platform):
    platform.end(platform.of("analytics work")[0])
    time.sleep(1)
    platform.start("analytics", "work")


def both_workers_killed(platform):
    for name in ("contacts work", "analytics work"):
        platform.end(platform.of(name)[0])
    platform.start("contacts", "work")
    platform.start("analytics", "work")


def none_then_four(platform):
    while platform.of("analytics work"):
        platform.end(platform.of("analytics work")[0])
    time.sleep(3)
    for _ in range(4):
        platform.start("analytics", "work")
    for process in platform.of("analytics work")[2:]:
        platform.end(process, signal.SIGTERM)


def serve_killed(platform):
    for _ in range(3):
        platform.end(platform.of("contacts serve")[0])
        platform.start("contacts", "serve")
        time.sleep(0.7)


def zombie(platform):
    process = platform.of("analytics work")[0]
    process.send_signal(signal.SIGSTOP)
    time.sleep(9)
    process.send_signal(signal.SIGCONT)


def rolling_restart(platform):
    for name in ("analytics work", "contacts work", "analytics work"):
        platform.end(platform.of(name)[0], signal.SIGTERM)
        platform.start(*name.split())


def flushall(platform):
    for _ in range(2):
        platform.redis_command("FLUSHALL")
        time.sleep(0.5)


def redis_killed(platform):
    platform.restart_redis(signal.SIGKILL, pause=0.5)


def redis_killed_empty(platform):
    platform.restart_redis(signal.SIGKILL, empty=True, pause=0.5)


def redis_segfault(platform):
    platform.restart_redis(("DEBUG", "SEGFAULT"))


def redis_full(platform):
    platform.redis_command("CONFIG", "SET", "maxmemory", "1")
    time.sleep(4)
    platform.redis_command("CONFIG", "SET", "maxmemory", "0")


def redis_cut(platform):
    platform.redis.cut()
    time.sleep(4)
    platform.redis.open()


def redis_silent(platform):
    platform.redis.silence()
    time.sleep(8)
    platform.redis.open()


def disk_full(platform):
    platform.fill_disk()
    if os.statvfs(platform.disk).f_bavail:
        raise RuntimeError("the disk was not full")
    time.sleep(6)
    platform.free_disk()


def postgres_restart(platform):
    platform.restart_postgres("fast")


def postgres_crash(platform):
    platform.restart_postgres("immediate")


def postgres_cut(platform):
    platform.postgres.cut()
    time.sleep(4)
    platform.postgres.open()


# In the order of their turn; True for those of a short run.
FAULTS = {
    "worker-killed": (worker_killed, True),
    "both-workers-killed": (both_workers_killed, False),
    "none-then-four": (none_then_four, False),
    "serve-killed": (serve_killed, True),
    "zombie": (zombie, True),
    "rolling-restart": (rolling_restart, False),
    "flushall": (flushall, True),
    "redis-killed": (redis_killed, False),
    "redis-killed-empty": (redis_killed_empty, True),
    "redis-segfault": (redis_segfault, False),
    "redis-full": (redis_full, False),
    "redis-cut": (redis_cut, False),
    "redis-silent": (redis_silent, False),
    "postgres-restart": (postgres_restart, False),
    "postgres-crash": (postgres_crash, True),
    "postgres-cut": (postgres_cut, False),
    "disk-full": (disk_full, False),
}

UNFINISHED = " union all ".join(
    f"""select o.id from {origin}.outbox o where o.queue like '{consumer}.%' and o.created_at < '{{bound}}'
    and coalesce(o.run_at, o.created_at) < '{{bound}}' and not exists (
        select 1 from {consumer}.inbox i where i.job_id = o.id and i.tenant_id = o.tenant_id)"""
    for origin in ("contacts", "analytics")
    for consumer in ("contacts", "analytics")
)


def unfinished(platform, bound):
    """Jobs committed before `bound` that no inbox knows."""
    return int(platform.query(f"select count(*) from ({UNFINISHED.format(bound=bound)}) as u")[0][0])


# Seconds after a fault's end in which everything must be done: a lease, a reconnection and a repair, on a busy machine.
PATIENCE = 30


def recover(platform, since):
    """Seconds from `since` until everything that had been committed by then is done; None after two minutes."""
    bound = platform.query("select clock_timestamp()")[0][0]
    while time.monotonic() < since + 120:
        if unfinished(platform, bound) == 0:
            return time.monotonic() - since
        time.sleep(0.1)
    return None


def account(platform, ledger):
    """What was lost and what was done twice, of contacts by their marks, of facts and of figures by contact."""
    marks = {}
    for mark, count in platform.query(
        "select external_id, count(*) from contacts.contact where source = 'chaos' and deleted_at is null group by 1"
    ):
        marks[mark] = int(count)
    lost = [mark for mark in ledger if mark not in marks]
    doubled = [mark for mark, count in marks.items() if count > 1]
    contacts, untold, unfounded, figures, dead = (
        int(value)
        for value in platform.query(
            "select (select count(*) from contacts.contact where deleted_at is null),"
            " (select count(*) from contacts.contact c where deleted_at is null and not exists ("
            "  select from analytics.fact f where f.tenant_id = c.tenant_id and f.kind = 'contact' and f.id = c.id)),"
            " (select count(*) from analytics.fact f where kind = 'contact' and not exists ("
            "  select from contacts.contact c where c.tenant_id = f.tenant_id and c.id = f.id and deleted_at is null)),"
            " (select coalesce(sum(count), 0) from analytics.rollup_daily where metric = 'contacts'),"
            " (select count(*) from contacts.inbox where outcome = 3)"
            " + (select count(*) from analytics.inbox where outcome = 3)"
        )[0]
    )
    return {
        "lost": len(lost) + untold + max(0, contacts - figures) + dead,
        "doubled": len(doubled) + unfounded + max(0, figures - contacts),
        "contacts": contacts,
        "untold": untold,
        "unfounded": unfounded,
        "figures": figures,
        "dead": dead,
    }


def attempt(platform, load, name):
    """One fault under load, and the account after it."""
    before = len(load.ledger)
    load.start()
    time.sleep(2)
    began = time.monotonic()
    FAULTS[name][0](platform)
    healed = time.monotonic()
    recovery = recover(platform, healed)
    time.sleep(1)
    load.stop()
    rest = recover(platform, time.monotonic())
    found = account(platform, load.ledger)
    if recovery is None or rest is None:
        found["lost"] += unfinished(platform, "infinity")
    found |= {"fault": name, "committed": len(load.ledger) - before, "lasted": round(healed - began, 1)}
    found["recovery_seconds"] = None if recovery is None else round(recovery, 1)
    return found


def parse():
    parser = argparse.ArgumentParser(prog="scripts/chaos", allow_abbrev=False)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--rate", default="100")
    parser.add_argument("--json")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    options.faults = [name for name, (_, is_short) in FAULTS.items() if is_short or not options.short]
    if options.only:
        options.faults = options.only.split(",")
    unknown = [name for name in options.faults if name not in FAULTS]
    if unknown:
        print(f"unknown fault {unknown[0]}: --list names them", file=sys.stderr)
        sys.exit(64)
    if not options.rate.isdigit() or not 1 <= int(options.rate) <= 10000:
        print("--rate takes a number of writes per second, from 1 to 10000", file=sys.stderr)
        sys.exit(64)
    return options


def main():
    options = parse()
    if options.list:
        print("\n".join(FAULTS))
    if options.list or options.check:
        return
    platform = Platform()
    results, before = [], {"lost": 0, "doubled": 0}
    try:
        # The consumer first: what is told before it has subscribed, nobody hears.
        platform.start("analytics", "work")
        platform.start("analytics", "work")
        platform.start("contacts", "work")
        platform.start("contacts", "serve")
        time.sleep(1)
        load = Load(platform.port, os.environ["GUANXI_KEY"], int(options.rate))
        print(f"{'fault':22}{'lasted':>8}{'committed':>11}{'lost':>6}{'doubled':>9}{'recovered':>11}", flush=True)
        for name in options.faults:
            if name == "disk-full" and not platform.disk:
                print(f"{name:22}left out: no file system of its own can be mounted here")
                continue
            result = attempt(platform, load, name)
            total = {key: result[key] for key in before}
            # Each fault answers for what it added.
            for key, value in before.items():
                result[key] = max(0, result[key] - value)
            before = total
            results.append(result)
            recovery = result["recovery_seconds"]
            print(
                f"{name:22}{result['lasted']:>6} s{result['committed']:>11}{result['lost']:>6}{result['doubled']:>9}"
                f"{'never' if recovery is None else f'{recovery} s':>11}",
                flush=True,
            )
        for refusal in load.refused[:5]:
            print(f"refused: {refusal}")
    finally:
        platform.end_all()
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"faults": results, "refused": len(load.refused)}, file, indent=2)
    slow = [result["fault"] for result in results if (result["recovery_seconds"] or 0) > PATIENCE]
    if slow:
        print(f"longer than {PATIENCE} s to recover: {', '.join(slow)}")
    if load.refused or slow or any(result["lost"] or result["doubled"] for result in results):
        sys.exit(1)


if __name__ == "__main__":
    main()
