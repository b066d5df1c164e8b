"""Asks a running Prometheus whether it takes our rules and dashboards: prometheus.py ADDRESS RULES TESTS"""

import json
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import product
import report
import sample_metrics
import yaml

address, rules_file, tests_file = sys.argv[1:]
FIRES, FIRES_FOR = "GuanxiQueueWithoutWorker", sample_metrics.FORSAKEN


def ask(path, **parameters):
    query = "?" + urllib.parse.urlencode(parameters) if parameters else ""
    try:
        with urllib.request.urlopen(f"http://{address}/api/v1/{path}{query}", timeout=5) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        raise ValueError(json.load(error)["error"]) from None


def until(condition, seconds=20):
    """The first true value of `condition`, or the last one there was."""
    end = time.monotonic() + seconds
    while True:
        try:
            value = condition()
        except (urllib.error.URLError, ConnectionError):
            value = None
        if value or time.monotonic() > end:
            return value
        time.sleep(0.2)


groups = yaml.safe_load(open(rules_file))["groups"]
rules = [rule for group in groups for rule in group["rules"]]
alerts = [rule for rule in rules if "alert" in rule]


def loaded():
    """All rules were evaluated, and none with an error."""
    answer = until(lambda: [
        rule for group in ask("rules")["groups"] for rule in group["rules"]
        if all(r["health"] != "unknown" for g in ask("rules")["groups"] for r in g["rules"])])
    for rule in answer or []:
        if rule["health"] != "ok":
            yield f"prometheus: rule {rule['name']} is {rule['health']}: {rule.get('lastError')}"
    if len(answer or []) != len(rules):
        yield f"prometheus: {len(answer or [])} of {len(rules)} rules were evaluated"


def fires():
    """The alert that the samples call for fires, its texts filled in, and no other does."""
    def firing():
        return [a for a in ask("alerts")["alerts"] if a["state"] == "firing"]

    found = until(lambda: [a for a in firing() if a["labels"]["alertname"] == FIRES])
    if not found:
        yield f"prometheus: {FIRES} does not fire"
        return
    if found[0]["labels"].get("queue") != FIRES_FOR:
        yield f"prometheus: {FIRES} fires for {found[0]['labels']}"
    for alert in firing():
        if alert["labels"]["alertname"] != FIRES:
            yield f"prometheus: {alert['labels']} fires too"
        for name, text in alert["annotations"].items():
            if "<error" in text or "<no value>" in text:
                yield f"prometheus: {alert['labels']['alertname']}: {name}: {text}"


def told():
    """Each alert says what it means and what to do, and is fired by a test."""
    tests = open(tests_file).read()
    for alert in alerts:
        missing = {"summary", "description", "runbook"} - set(alert["annotations"])
        if missing:
            yield f"prometheus: {alert['alert']} has no {', '.join(sorted(missing))}"
        if alert["labels"].get("severity") not in ("critical", "warning"):
            yield f"prometheus: {alert['alert']} has no severity"
        if f'alertname="{alert["alert"]}"' not in tests:
            yield f"prometheus: no test fires {alert['alert']}"


def names(expression):
    without_strings = re.sub(r'"[^"]*"', '""', expression)
    return set(re.findall(r"\bguanxi[a-z_]*(?::[a-z0-9_]+)*(?=\W|$)", without_strings))


known = {r["record"] for r in rules if "record" in r}
known |= {name for name in re.findall(r"^(\w+)", sample_metrics.text(1), re.M)}


def named():
    for rule in rules:
        for name in sorted(names(rule["expr"]) - known):
            yield f"prometheus: {rule.get('alert') or rule.get('record')} asks for {name}, which nobody tells"


def targets(panels):
    for panel in panels:
        yield from ((panel, target) for target in panel.get("targets", []))
        yield from targets(panel.get("panels", []))


def dashboard(file):
    """It can be imported anywhere, and everything it asks for is understood and known."""
    where = f"grafana: {file.name}"
    try:
        board = json.loads(file.read_text())
    except ValueError as error:
        yield f"{where}: {error}"
        return
    for key, kind in (("title", str), ("uid", str), ("panels", list), ("schemaVersion", int), ("templating", dict), ("time", dict)):
        if not isinstance(board.get(key), kind):
            yield f"{where}: {key} is missing, or no {kind.__name__}"
            return
    if board.get("id") is not None:
        yield f"{where}: has the id of an instance"
    variables = {v["name"]: v for v in board["templating"]["list"]}
    if variables.get("datasource", {}).get("type") != "datasource":
        yield f"{where}: has no variable for the data source"
    ids = [p["id"] for p in board["panels"]]
    if len(ids) != len(set(ids)):
        yield f"{where}: two panels have one id"
    taken = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        if place["x"] + place["w"] > 24 or cells & taken:
            yield f"{where}: {panel['title']} lies outside, or over another panel"
        taken |= cells
    count = 0
    for panel, target in targets(board["panels"]):
        count += 1
        for holder in (panel, target):
            if holder["datasource"]["uid"] != "${datasource}":
                yield f"{where}: {panel['title']} has a data source of its own"
        expression = target["expr"]
        for name in re.findall(r"\$\{?(\w+)", expression):
            if name not in variables and not name.startswith("__"):
                yield f"{where}: {panel['title']} uses ${name}, which is no variable"
        for name in sorted(names(expression) - known):
            yield f"{where}: {panel['title']} asks for {name}, which nobody tells"
        concrete = re.sub(r"\$__\w+", "1m", expression)
        concrete = re.sub(r"\$\{?\w+\}?", ".+", concrete)
        try:
            if not ask("query", query=concrete)["result"]:
                yield f"{where}: {panel['title']} finds nothing: {concrete}"
        except ValueError as error:
            yield f"{where}: {panel['title']}: {error}"
    if not count:
        yield f"{where}: asks for nothing"
    for variable in variables.values():
        if variable["type"] == "query":
            series, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"]).groups()
            if not ask(f"label/{label}/values", **{"match[]": series}):
                yield f"{where}: the variable {variable['name']} has no values"


# Rates need two samples before they say anything.
until(lambda: ask("query", query='rate(guanxi_jobs_done_total{queue="%s"}[1m]) > 0' % sample_metrics.HEALTHY)["result"])
report.check(loaded(), f"prometheus: {len(rules)} rules loaded by a running server, each in good health")
report.check(fires(), f"prometheus: {FIRES} fires for the queue without a worker, and nothing else does")
report.check(told(), f"prometheus: {len(alerts)} alerts say what to do, and each is fired by a test")
report.check(named(), "prometheus: every metric that rules ask for is told by somebody")
boards = sorted((product.deploy / "grafana").glob("*.json"))
for board in boards:
    report.check(dashboard(board), f"grafana: {board.name}: every expression is understood and finds something")
if not boards:
    report.fail("grafana: there are no dashboards")
report.end()
