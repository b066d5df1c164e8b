"""Checks what other files say against the product's own sources: image, units' environment, PgBouncer.

configuration.py image|units|pooler …
"""

import configparser
import fnmatch
import re
import sys

import product
import report

deploy = product.deploy
grace, rest = product.grace()


def image():
    text = (deploy / "Dockerfile").read_text()
    built = re.search(r"for program in ([^;]+);", text)[1].split()
    if sorted(built) != sorted(product.programs()):
        yield f"image: builds {built}, but the programs are {product.programs()}"
    ignored = (deploy / "Dockerfile.dockerignore").read_text().split("\n")
    let_in = [line[1:] for line in ignored if line.startswith("!")]
    if "*" not in ignored:
        yield "image: the build sees everything, secrets and build folders too"
    for source in re.findall(r"^COPY (?!--from)(?:--\S+ )*(\S+) ", text, re.M):
        if not (product.root / source).exists():
            yield f"image: copies {source}, which is not there"
        if not any(fnmatch.fnmatch(source, rule) for rule in let_in):
            yield f"image: copies {source}, which .dockerignore keeps out"
    for name in product.unknown_settings(re.findall(r"(GUANXI_\w+)=", text)):
        yield f"image: {name} is no setting"
    if not re.search(r"^USER 10001", text, re.M):
        yield "image: runs as root"
    if not re.search(r"^HEALTHCHECK ", text, re.M):
        yield "image: has no health check"


def assignments(file):
    lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def units():
    folder = deploy / "systemd"
    environment = folder / "environment"
    common = assignments(environment / "guanxi.env")
    stop = re.search(r"^TimeoutStopSec=(\d+)s", (folder / "guanxi-.service.d/process.conf").read_text(), re.M)
    needed = int(common.get("GUANXI_WORKER_GRACE", grace)) + rest
    if not stop or int(stop[1]) <= needed:
        yield f"systemd: processes are killed before the {needed} s that they may take to end"
    target = (folder / "guanxi.target").read_text()
    ports = []
    for file in environment.glob("*.env"):
        for name in product.unknown_settings(assignments(file)):
            yield f"systemd: {file.name}: {name} is no setting"
    prometheus = (deploy / "prometheus/prometheus.yml").read_text()
    for service in product.services():
        own = assignments(environment / f"{service}.env")
        if f"user=guanxi_{service} " not in own["GUANXI_DATABASE_URL"]:
            yield f"systemd: {service}.env signs in to PostgreSQL as somebody else"
        for role in ("serve", "work"):
            if f"guanxi-{role}@{service}.service" not in target:
                yield f"systemd: guanxi.target does not start guanxi-{role}@{service}"
            port = own[f"{role.upper()}_INTERNAL_PORT"]
            ports.append(port)
            if f"127.0.0.1:{port}], labels: {{service: {service}, role: {role}}}" not in prometheus:
                yield f"systemd: prometheus.yml does not show {service} {role} at {port}"
            if f"- {service}-{role}\n" not in prometheus:
                yield f"prometheus: prometheus.yml does not ask {service}-{role}"
        ports.append(own["GUANXI_HTTP_PORT"])
    if len(ports) != len(set(ports)):
        yield "systemd: two processes have one port"


def pooler():
    """PgBouncer's file has what Guanxi can't do without, and the roles get what connections say of themselves."""
    ini = configparser.ConfigParser(inline_comment_prefixes=None, strict=True)
    ini.read(deploy / "pgbouncer/pgbouncer.ini")
    settings = ini["pgbouncer"]
    connection = (product.root / "Shared/Database/Connection.swift").read_text()
    prepared = int(re.search(r"mostPrepared = (\d+)", connection)[1])
    if settings["pool_mode"] != "transaction":
        yield f"pgbouncer: pool_mode is {settings['pool_mode']}"
    if settings.getint("max_prepared_statements") < prepared:
        yield f"pgbouncer: max_prepared_statements is below the {prepared} that a connection keeps"
    if "options" not in [name.strip() for name in settings["ignore_startup_parameters"].split(",")]:
        yield "pgbouncer: startup options are refused, and with them every connection"
    source = (product.root / "Shared/Database/ConnectionSettings.swift").read_text()
    defaults = {name: value for name, value in re.findall(r"(\w+Timeout): Int = (\d+)", source)}
    wanted = {}
    for name, value in re.findall(r"-c (\w+)=([^\"]+)\"", source):
        wanted[name] = re.sub(r"\\\((\w+)\)", lambda match: defaults[match[1]], value)
    assert len(wanted) > 8, "the session's settings are not where they were"
    roles = (deploy / "pgbouncer/roles.sql").read_text()
    given = {name: value.replace(", ", ",") for name, value in re.findall(r"\['(\w+)', '([^']*)'\]", roles)}
    for name in sorted(set(wanted) | set(given)):
        if wanted.get(name) != given.get(name):
            yield f"pgbouncer: roles.sql gives {name} = {given.get(name)}, connections ask for {wanted.get(name)}"
    listed = re.search(r"for service in ([^;]+);", (deploy / "pgbouncer/start").read_text())[1].split()
    if sorted(listed) != sorted(product.services()):
        yield f"pgbouncer: start knows {listed}"


parts = {
    "image": (image, "image: all programs, only what it needs, not root, settings"),
    "units": (units, "systemd: all services, ports apart and known to Prometheus, settings, time to end"),
    "pooler": (pooler, "pgbouncer: what pipelines and prepared statements need; the roles have the sessions' settings"),
}
for part in sys.argv[1:]:
    rules, what = parts[part]
    report.check(rules(), what)
report.end()
