"""What the product itself says: its services, programs and settings, read from its sources so that nothing is said twice."""

import pathlib
import re

root = pathlib.Path(__file__).resolve().parents[2]
deploy = root / "deploy"

# Read by the programs, but no line of the table: the file that the table's values may come from, the roles' password
# for the first migration, a user's password, and the operator's token.
_beside_the_table = {"GUANXI_CONFIG_FILE", "GUANXI_ROLE_PASSWORD", "GUANXI_USER_PASSWORD"}


def services():
    text = (root / "Package.swift").read_text()
    return [name.lower() for name in re.findall(r'"(\w+)"', re.search(r"let domains = \[(.*?)\]", text, re.S)[1])]


def programs():
    return services() + ["guanxi"]


def settings():
    """The names of all environment variables that Guanxi reads."""
    table = (root / "Shared/ServiceKit/ServiceConfiguration.swift").read_text()
    keys = re.findall(r'name: "([A-Za-z.]+)"', table)
    assert len(keys) > 10, "the table of settings is not where it was"
    snake = lambda key: "GUANXI_" + re.sub(r"([A-Z])", r"_\1", key).replace(".", "_").upper()
    return {snake(key) for key in keys} | _beside_the_table


def grace():
    """Seconds that running jobs may go on after SIGTERM, by default, and the seconds that a process adds to them."""
    table = (root / "Shared/ServiceKit/ServiceConfiguration.swift").read_text()
    process = (root / "Shared/ServiceKit/ServiceProcess.swift").read_text()
    default = int(re.search(r'name: "worker.grace", defaultValue: "(\d+)"', table)[1])
    return default, int(re.search(r'int\("worker.grace"\) \+ (\d+)', process)[1])


def unknown_settings(names):
    known = settings()
    return sorted(name for name in names if name.startswith("GUANXI_") and name not in known)
