"""Checks the rendered manifests: kubernetes.py RENDERED.yaml"""

import json
import pathlib
import re
import sys

import jsonschema
import kubernetes_validate
import product
import report
import yaml

VERSION = "1.31"
folder = product.deploy / "kubernetes"


def name_of(document):
    return f"{document['kind']}/{document['metadata']['name']}"


def kustomizations():
    """Each kustomization lists what lies beside it, and what it lists is there."""
    faults = []
    for file in sorted(folder.rglob("kustomization.yaml")) + [product.deploy / "gateway/kustomization.yaml"]:
        content = yaml.safe_load(file.read_text())
        listed = list(content.get("resources", [])) + list(content.get("configurations", []))
        for generator in content.get("configMapGenerator", []):
            listed += generator["files"]
        where = file.relative_to(product.root)
        faults += [f"{where} lists {entry}, which is not there" for entry in listed if not (file.parent / entry).exists()]
        there = {path.name for path in file.parent.iterdir() if path.suffix in (".yaml", ".template")} - {file.name}
        # A folder is a resource of the one above it, or of those beside it that give it a name.
        if file.parent == folder:
            there |= {path.name for path in folder.iterdir() if path.is_dir()} - {"service"}
        there -= {"secret.example.yaml"}
        faults += [f"{where} does not list {entry}" for entry in sorted(there - set(listed))]
    return faults


def schemas(documents):
    keda = json.loads((pathlib.Path(__file__).parent / "keda.schema.json").read_text())
    faults = []
    for document in documents:
        try:
            if document["apiVersion"].startswith("keda.sh/"):
                kinds = [s for s in keda["oneOf"] if s["properties"]["kind"]["const"] == document["kind"]]
                jsonschema.validate(document, kinds[0] if kinds else keda)
            else:
                kubernetes_validate.validate(document, VERSION, strict=True)
        except (kubernetes_validate.ValidationError, jsonschema.ValidationError) as error:
            faults.append(f"{name_of(document)}: {'.'.join(map(str, error.path))}: {error.message.splitlines()[0][:200]}")
        except kubernetes_validate.SchemaNotFoundError:
            faults.append(f"{name_of(document)}: Kubernetes {VERSION} has no {document['apiVersion']} {document['kind']}")
    return faults


def pods(documents):
    return [d for d in documents if d["kind"] in ("Deployment", "Job")]


def matches(selector, labels):
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for term in selector.get("matchExpressions") or []:
        assert term["operator"] == "In", "only In is used here"
        if labels.get(term["key"]) not in term["values"]:
            return False
    return True


def labels_of(workload):
    return workload["spec"]["template"]["metadata"]["labels"]


def references(documents):
    """What names another object names one that is there."""
    names = {name_of(d) for d in documents}
    example = yaml.safe_load((folder / "secret.example.yaml").read_text())
    keys = {("Secret", example["metadata"]["name"]): set(example["stringData"])}
    keys |= {("ConfigMap", d["metadata"]["name"]): set(d["data"]) for d in documents if d["kind"] == "ConfigMap"}
    faults = []

    def wanted(document, kind, name, key=None):
        if (kind, name) not in keys:
            faults.append(f"{name_of(document)} reads {kind}/{name}, which is not there")
        elif key and key not in keys[kind, name]:
            faults.append(f"{name_of(document)} reads {key} of {kind}/{name}, which has no such key")

    for workload in pods(documents):
        spec = workload["spec"]["template"]["spec"]
        for container in spec["containers"]:
            known = set()
            for variable in container.get("env", []):
                source = variable.get("valueFrom", {})
                for field, kind in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
                    if field in source:
                        wanted(workload, kind, source[field]["name"], source[field]["key"])
                for used in re.findall(r"\$\((\w+)\)", variable.get("value", "")):
                    if used not in known:
                        faults.append(f"{name_of(workload)}: {variable['name']} uses {used}, which is not set before it")
                known.add(variable["name"])
            for source in container.get("envFrom", []):
                wanted(workload, "ConfigMap", source["configMapRef"]["name"])
            for used in re.findall(r"\$\((\w+)\)", " ".join(container.get("command", []))):
                if used not in known:
                    faults.append(f"{name_of(workload)}: the command uses {used}, which is not set")
        for volume in spec.get("volumes", []):
            if "configMap" in volume:
                wanted(workload, "ConfigMap", volume["configMap"]["name"])
    every = [labels_of(w) for w in pods(documents)]
    for document in documents:
        spec = document.get("spec", {})
        if document["kind"] in ("HorizontalPodAutoscaler", "ScaledObject"):
            if f"Deployment/{spec['scaleTargetRef']['name']}" not in names:
                faults.append(f"{name_of(document)} scales Deployment/{spec['scaleTargetRef']['name']}, which is not there")
        if document["kind"] == "ScaledObject":
            trigger = spec["triggers"][0]
            host = re.match(r"http://([^.]+)", trigger["metadata"]["url"])[1]
            if host != spec["scaleTargetRef"]["name"] + "-internal" or f"Service/{host}" not in names:
                faults.append(f"{name_of(document)} asks {host}, which is not the Service of what it scales")
            if f"TriggerAuthentication/{trigger['authenticationRef']['name']}" not in names:
                faults.append(f"{name_of(document)} signs in with what is not there")
        if document["kind"] == "TriggerAuthentication":
            for entry in spec["secretTargetRef"]:
                wanted(document, "Secret", entry["name"], entry["key"])
        selectors = {
            "Service": lambda: {"matchLabels": spec["selector"]},
            "PodDisruptionBudget": lambda: spec["selector"],
            "Deployment": lambda: spec["selector"],
            "NetworkPolicy": lambda: spec["podSelector"],
        }
        if document["kind"] in selectors:
            selector = selectors[document["kind"]]()
            found = [labels for labels in every if matches(selector, labels)]
            if not found:
                faults.append(f"{name_of(document)} selects no pod")
            # Two workloads behind one Service would answer for each other.
            if document["kind"] in ("Service", "PodDisruptionBudget", "Deployment") and len(found) > 1:
                faults.append(f"{name_of(document)} selects pods of {len(found)} workloads")
    return faults


def operations(documents):
    """Rules of this project: time to end, nothing that a process does not need, settings that exist."""
    faults = []
    grace, rest = product.grace()
    for document in documents:
        if document["kind"] == "ConfigMap":
            grace = int(document["data"].get("GUANXI_WORKER_GRACE", grace))
            faults += [f"{name_of(document)}: {n} is no setting" for n in product.unknown_settings(document["data"])]
    for workload in pods(documents):
        spec = workload["spec"]["template"]["spec"]
        pause = 0
        for container in spec["containers"]:
            names = [v["name"] for v in container.get("env", [])]
            faults += [f"{name_of(workload)}: {n} is no setting" for n in product.unknown_settings(names)]
            hook = container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", [])
            pause = int(hook[1]) if hook[:1] == ["sleep"] else pause
            security = container.get("securityContext", {})
            if security.get("allowPrivilegeEscalation") is not False or not security.get("readOnlyRootFilesystem"):
                faults.append(f"{name_of(workload)}: {container['name']} may escalate, or write its root")
            if security.get("capabilities", {}).get("drop") != ["ALL"]:
                faults.append(f"{name_of(workload)}: {container['name']} keeps capabilities")
            resources = container.get("resources", {})
            if not {"cpu", "memory"} <= set(resources.get("requests", {})) or "memory" not in resources.get("limits", {}):
                faults.append(f"{name_of(workload)}: {container['name']} says not what it needs")
            if workload["kind"] == "Deployment" and not {"readinessProbe", "livenessProbe"} <= set(container):
                faults.append(f"{name_of(workload)}: {container['name']} has no probes")
        if not spec.get("securityContext", {}).get("runAsNonRoot"):
            faults.append(f"{name_of(workload)} may run as root")
        if spec["containers"][0]["name"] in ("serve", "work"):
            needed = grace + rest + pause
            if spec.get("terminationGracePeriodSeconds", 30) <= needed:
                faults.append(f"{name_of(workload)} is killed before the {needed} s that it may take to end")
    for service in product.services():
        for kind, name in (
            [("Deployment", f"{service}-{role}") for role in ("serve", "work")]
            + [("Service", f"{service}-{end}") for end in ("serve", "serve-internal", "work-internal")]
            + [("PodDisruptionBudget", f"{service}-serve"), ("PodDisruptionBudget", f"{service}-work")]
            + [("HorizontalPodAutoscaler", f"{service}-serve"), ("ScaledObject", f"{service}-work")]
        ):
            if not any(d["kind"] == kind and d["metadata"]["name"] == name for d in documents):
                faults.append(f"there is no {kind}/{name}")
    policies = [d for d in documents if d["kind"] == "NetworkPolicy"]
    if not any(p["spec"]["podSelector"] == {} and set(p["spec"]["policyTypes"]) == {"Ingress", "Egress"}
               and "ingress" not in p["spec"] and "egress" not in p["spec"] for p in policies):
        faults.append("no NetworkPolicy refuses everything by default")
    return faults


rendered = [d for d in yaml.safe_load_all(open(sys.argv[1])) if d]
report.check(kustomizations(), "kubernetes: every file is listed once, and every listed file is there")
example = yaml.safe_load((folder / "secret.example.yaml").read_text())
report.check(schemas(rendered + [example]), f"kubernetes: {len(rendered) + 1} objects fit the schemas of {VERSION}, KEDA's our own")
report.check(references(rendered), "kubernetes: names, keys, variables and selectors lead to something")
report.check(operations(rendered), "kubernetes: time to end, security, settings, and all services are there")
report.end()
