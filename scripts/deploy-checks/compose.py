"""Checks compose.yaml as resolved by compose itself, or as it stands: compose.py FILE.yaml"""

import re
import sys

import product
import report
import yaml

content = yaml.safe_load(open(sys.argv[1]))
services = content["services"]
for service in services.values():
    # A list of networks is short for a mapping without attributes.
    if isinstance(service["networks"], list):
        service["networks"] = dict.fromkeys(service["networks"])


def seconds(text):
    total = 0
    for number, unit in re.findall(r"(\d+)([hms])", text):
        total += int(number) * {"h": 3600, "m": 60, "s": 1}[unit]
    return total


def rules():
    grace, rest = product.grace()
    for name in product.services():
        for role in ("serve", "work"):
            service = services.get(f"{name}-{role}")
            if not service:
                yield f"compose: there is no {name}-{role}"
                continue
            environment = service["environment"]
            if service["command"] != [name, role]:
                yield f"compose: {name}-{role} runs {service['command']}"
            needed = int(environment.get("GUANXI_WORKER_GRACE", grace)) + rest
            if seconds(service.get("stop_grace_period", "10s")) <= needed:
                yield f"compose: {name}-{role} is killed before the {needed} s that it may take to end"
            if f"user=guanxi_{name} " not in environment["GUANXI_DATABASE_URL"]:
                yield f"compose: {name}-{role} signs in to PostgreSQL as somebody else"
            pooled = "host=pgbouncer" in environment["GUANXI_DATABASE_URL"]
            if pooled != (role == "work"):
                yield f"compose: {name}-{role} {'must not go' if pooled else 'does not go'} through PgBouncer"
            if service["depends_on"].get("migrate", {}).get("condition") != "service_completed_successfully":
                yield f"compose: {name}-{role} does not wait for the migrations"
    for name, service in services.items():
        for unknown in product.unknown_settings(service.get("environment") or {}):
            yield f"compose: {name}: {unknown} is no setting"
        once = service.get("restart") == "no"
        if not once and "limits" not in service.get("deploy", {}).get("resources", {}):
            yield f"compose: {name} has no limits"
        if ":latest" in service.get("image", "") or ":" not in service.get("image", ""):
            yield f"compose: {name} has no version: {service.get('image')}"
        for other, link in (service.get("depends_on") or {}).items():
            target = services.get(other)
            if target is None:
                yield f"compose: {name} waits for {other}, which is not there"
            # What has no check of its own here has the image's: deploy/Dockerfile's.
            elif link["condition"] == "service_healthy" and "healthcheck" not in target and "guanxi" not in target["image"]:
                yield f"compose: {name} waits for {other} to be healthy, which nobody can tell"
            elif link["condition"] == "service_completed_successfully" and target.get("restart") != "no":
                yield f"compose: {name} waits for the end of {other}, which has none"
        for network in service["networks"]:
            if network not in content["networks"]:
                yield f"compose: {name} is in {network}, which is not there"
    attachments = [network for service in services.values() for network in service["networks"].values() if network]
    addresses = [attachment["ipv4_address"] for attachment in attachments if "ipv4_address" in attachment]
    if len(addresses) != len(set(addresses)):
        yield "compose: two services have one address"
    template = " ".join(services["gateway"]["command"])
    for name in product.services():
        address = services[f"{name}-serve"]["networks"]["front"]["ipv4_address"]
        if f"@{name.upper()}@|{address}:8080|" not in template:
            yield f"compose: the gateway does not send {name} to {address}"


report.check(rules(), f"compose: {len(services)} services, who waits for whom, settings, time to end, addresses")
report.end()
