"""Prints the command by which a container fills in the gateway's configuration, for a folder here: gateway.py KIND FOLDER"""

import sys

import product
import yaml

kind, folder = sys.argv[1:]
if kind == "compose":
    service = yaml.safe_load((product.deploy / "compose.yaml").read_text())["services"]["gateway"]
    command = service["command"][-1].replace("$$", "$")
else:
    manifests = yaml.safe_load_all((product.deploy / "kubernetes/gateway/gateway.yaml").read_text())
    deployment = next(document for document in manifests if document["kind"] == "Deployment")
    command = deployment["spec"]["template"]["spec"]["containers"][0]["command"][-1]
fill_in, start = command.split("&&")
assert start.strip() == "exec nginx -e /dev/stderr -c /tmp/nginx.conf", start
there = fill_in.replace("/tmp", folder).replace(f"{folder}/nginx.conf", f"{folder}/{kind}.conf")
print(there.replace("/etc/guanxi/", f"{product.deploy}/gateway/"))
