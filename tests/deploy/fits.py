"""Numbers and names in deploy/ that must fit others there, in the config's defaults or in the hub itself, and the settings, which
the hub itself reads. `fits.py HUB`, with a binary of it."""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import tomllib

import yaml

TOP = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = TOP / "deploy"
faults = []


def check(good, why):
    if not good:
        faults.append(why)


def read(path):
    return (TOP / path).read_text()


def seconds(text):
    return sum(int(number) * {"s": 1, "m": 60}[unit] for number, unit in re.findall(r"(\d+)(s|m)", text))


def size(text):
    number, unit = re.fullmatch(r"(\d+)([kmg]|Mi|Gi)", text).groups()
    return int(number) * {"k": 2**10, "m": 2**20, "g": 2**30, "Mi": 2**20, "Gi": 2**30}[unit]


def found(pattern, text, what):
    """What the pattern finds everywhere, which must be something, and the same."""
    values = set(re.findall(pattern, text, re.M))
    if len(values) != 1:
        sys.exit(f"{what}: {sorted(values) or 'not found'}")
    return values.pop()


config = {"server": {}, "limits": {}}
for name in ["default", "production"]:
    for section, keys in tomllib.loads(read(f"config/{name}.toml")).items():
        config.setdefault(section, {}).update(keys)
stop_timeout, limits = seconds(config["server"]["stop_timeout"]), config["limits"]
drain_spread = seconds(config["server"]["drain_spread"])
# The longest that /health/ready and `hubbub health` may take.
ready_patience = int(found(r"PATIENCE: Duration = Duration::from_secs\((\d+)\)", read("src/http/health.rs"), "PATIENCE"))
health_patience = seconds(found(r'default_value = "(\d+s)", value_parser[^\n]*\n\s*timeout', read("src/cli.rs"), "health --timeout"))

nginx = read("deploy/nginx/hubbub.conf")
dockerfile = read("deploy/Dockerfile")
unit = read("deploy/systemd/hubbub.service")
readme = read("deploy/README.md")
compose = yaml.safe_load(read("deploy/compose/compose.yaml"))
kubernetes = {
    (item["kind"], item["metadata"]["name"]): item
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    for item in yaml.safe_load_all(path.read_text())
}


def judge_nginx():
    heartbeat, stalled = seconds(limits["heartbeat"]), seconds(limits["stalled_timeout"])
    for place in ["/ws", "@elsewhere"]:
        reads = seconds(found(rf"location {place} {{[^}}]*proxy_read_timeout (\d+s)", nginx, f"location {place}"))
        check(reads > heartbeat, f"nginx shuts sockets after {reads} s, and the hub pings every {heartbeat} s")
    sends = seconds(found(r"^ *send_timeout (\d+s)", nginx, "send_timeout"))
    check(sends > stalled, f"nginx's send_timeout {sends} s is not longer than limits.stalled_timeout")
    body = size(found(r"client_max_body_size (\w+);", nginx, "client_max_body_size"))
    check(body == limits["body_bytes"], f"nginx takes bodies of {body}, the hub of {limits['body_bytes']}")
    buffer = size(found(r"sndbuf=(\w+)", nginx, "sndbuf"))
    check(buffer == limits["send_buffer_bytes"], f"nginx's sndbuf {buffer} is not limits.send_buffer_bytes")


def judge_compose():
    services = compose["services"]
    nodes = {name: service for name, service in services.items() if name.startswith("node")}
    address = lambda name: services[name]["networks"]["hubbub"]["ipv4_address"]
    addresses = sorted(address(name) for name in nodes)
    for upstream in re.findall(r"^upstream \w+ {(.*?)^}", nginx, re.M | re.S):
        balanced = sorted(re.findall(r"^ *server ([\d.]+):8000 ", upstream, re.M))
        check(balanced == addresses, f"nginx knows {balanced}, Compose has {addresses}")
    for name, node in nodes.items():
        grace = seconds(node["stop_grace_period"])
        check(grace > stop_timeout, f"{name} is killed after {grace} s, and a stop may take {stop_timeout} s")
        patience = seconds(node["healthcheck"]["timeout"])
        check(patience > health_patience, f"{name}'s health check has {patience} s, the command {health_patience} s")
        trusted = node["environment"]["HUBBUB__SERVER__TRUSTED_PROXIES"]
        check(trusted == f"{address('nginx')}/32", f"{name} believes {trusted}, nginx is {address('nginx')}")
        check(node["read_only"] and node["cap_drop"] == ["ALL"] and node["security_opt"] == ["no-new-privileges:true"], f"{name} is not locked in")
    for name, service in services.items():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            there = source in compose["volumes"] or (DEPLOY / "compose" / source).is_file()
            check(there, f"{name} mounts {source}, which is not there")
        check(service.get("restart") and service.get("healthcheck"), f"{name} has no health check, or is not restarted")
    files = nodes["node1"]["ulimits"]["nofile"]
    check(files["soft"] == files["hard"] == int(found(r"^LimitNOFILE=(\d+)", unit, "LimitNOFILE")), "Compose and systemd give different numbers of files")
    check(re.search(r"COPY .*--chown=10001:10001", dockerfile), "the image's user is not 10001, as the README's files expect")


def judge_systemd():
    stop = int(found(r"^TimeoutStopSec=(\d+)$", unit, "TimeoutStopSec"))
    check(stop > stop_timeout, f"systemd kills after {stop} s, and a stop may take {stop_timeout} s")
    exit_config = found(r"EXIT_CONFIG: u8 = (\d+)", read("src/cli.rs"), "EXIT_CONFIG")
    check(f"RestartPreventExitStatus={exit_config}\n" in unit, "it is restarted with wrong settings")
    loaded = re.findall(r"^#?LoadCredential=(\w+):/etc/hubbub/\1\b", unit, re.M)
    used = re.findall(r"/run/credentials/hubbub.service/(\w+)", unit)
    check(loaded == used and len(used) == 4, f"credentials {loaded} are loaded, {used} are used")


def judge_kubernetes():
    deployment = kubernetes["Deployment", "hubbub"]["spec"]
    pod = deployment["template"]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    (container,) = pod["containers"]
    grace = pod["terminationGracePeriodSeconds"]
    check(grace > stop_timeout, f"Kubernetes kills after {grace} s, and a stop may take {stop_timeout} s")
    check(deployment["minReadySeconds"] > drain_spread, "the next pod goes before the last one's clients are back")
    check(deployment["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}, "a deployment takes pods away before new ones are ready")
    for probe, path in [("startupProbe", "live"), ("livenessProbe", "live"), ("readinessProbe", "ready")]:
        asked = container[probe]["httpGet"]["path"]
        check(asked == f"/health/{path}", f"{probe} asks {asked}")
    check(container["readinessProbe"]["timeoutSeconds"] > ready_patience, f"/health/ready may take {ready_patience} s")
    (port,) = container["ports"]
    check(f"EXPOSE {port['containerPort']}\n" in dockerfile, "the image has another port")
    user = f"USER {pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}\n"
    check(user in dockerfile and pod["securityContext"]["runAsNonRoot"], "the image has another user")
    service = kubernetes["Service", "hubbub"]["spec"]
    selectors = [deployment["selector"]["matchLabels"], service["selector"]]
    selectors += [spread["labelSelector"]["matchLabels"] for spread in pod["topologySpreadConstraints"]]
    selectors.append(kubernetes["PodDisruptionBudget", "hubbub"]["spec"]["selector"]["matchLabels"])
    policy = kubernetes["NetworkPolicy", "hubbub"]["spec"]
    selectors.append(policy["podSelector"]["matchLabels"])
    check(all(selector == labels for selector in selectors), f"selectors {selectors} of pods {labels}")
    ports = [service["ports"][0]["targetPort"], policy["ingress"][0]["ports"][0]["port"]]
    ports += [container[probe]["httpGet"]["port"] for probe in ["startupProbe", "livenessProbe", "readinessProbe"]]
    check(set(ports) == {port["name"]}, f"ports {ports} of {port}")
    ingress = kubernetes["Ingress", "hubbub"]
    (path,) = ingress["spec"]["rules"][0]["http"]["paths"]
    check(path["backend"]["service"] == {"name": "hubbub", "port": {"name": service["ports"][0]["name"]}}, "the Ingress leads to no port of the Service")
    note = {name.split("/")[1]: value for name, value in ingress["metadata"]["annotations"].items()}
    check(int(note["proxy-read-timeout"]) > seconds(limits["heartbeat"]), "the Ingress shuts sockets between two pings")
    check(size(note["proxy-body-size"]) == limits["body_bytes"], "the Ingress takes other bodies than the hub")
    named = {volume["name"]: volume.get("configMap", {}).get("name") or volume["secret"]["secretName"] for volume in pod["volumes"]}
    check(named == {"config": "hubbub", "secrets": "hubbub"}, f"volumes {named}")
    # Memory: the same everywhere, and more than the hub takes by itself.
    memory = size(container["resources"]["limits"]["memory"])
    check(memory == size(compose["services"]["node1"]["mem_limit"]), "Compose and Kubernetes give different memory")
    check(memory >= 2 * limits["recent_total_bytes"], "the memory is less than twice limits.recent_total_bytes")
    warns = found(r"expr: hubbub_resident_memory_bytes > ([\d.* ]+)$", read("deploy/prometheus/alerts.yml"), "HubbubMemoryHigh")
    factor, *rest = (float(part) for part in warns.split(" * "))
    check(factor == 0.75 and int(rest[0] * rest[1] * rest[2]) == memory, f"HubbubMemoryHigh at {warns}")


def judge_alerts():
    alerts = {rule["alert"] for group in yaml.safe_load(read("deploy/prometheus/alerts.yml"))["groups"] for rule in group["rules"]}
    cases = [
        (case["alertname"], bool(case["exp_alerts"]))
        for test in yaml.safe_load(read("deploy/prometheus/alerts.test.yml"))["tests"]
        for case in test["alert_rule_test"]
    ]
    for alert in alerts:
        for fires in [True, False]:
            check((alert, fires) in cases, f"no test has {alert} {'fire' if fires else 'silent'}")
    tested = {name for name, _ in cases}
    check(tested == alerts, f"tests of alerts that are none: {tested - alerts}")


def hub_takes(hub, what, place, environment, arguments=()):
    """Has the hub read settings; paths under /run/secrets and the like are in `place` here."""
    for name, value in environment.items():
        for folder in ["/run/secrets/hubbub/", "/run/secrets/", "/run/credentials/hubbub.service/"]:
            if value.startswith(folder):
                environment[name] = str(place / value.removeprefix(folder))
    ran = subprocess.run([hub, "check-config", *arguments], env=environment, cwd=place, capture_output=True, text=True)
    check(ran.returncode == 0, f"{what}: {ran.stderr.strip()}")


def judge_settings(hub):
    image = dict(pair.split("=", 1) for pair in found(r"^ENV (.*)$", dockerfile, "ENV").split())
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        # What the README types to make the secrets for Compose, but for its first line.
        steps = readme.split("## Compose")[1].split("docker compose")[0]
        steps = [line.strip() for line in steps.splitlines() if line.startswith("    ")]
        check(steps[0].endswith("mkdir -m 700 secrets && cd secrets"), steps[0])
        ran = subprocess.run(["bash", "-euc", "\n".join(steps[1:])], cwd=place, capture_output=True, text=True)
        check(ran.returncode == 0, f"deploy/README.md, Compose: {ran.stderr}")
        made = {path.name: path.stat().st_mode & 0o777 for path in place.iterdir()}
        for name, secret in compose["secrets"].items():
            check(made.get(pathlib.Path(secret["file"]).name) == 0o644, f"deploy/README.md makes no {secret['file']} that all may read")
        for name, service in compose["services"].items():
            if "build" in service:
                hub_takes(hub, f"compose.yaml, {name}", place, image | service["environment"])
        # The pods' settings, with files of the names that the Secret has.
        secret = kubernetes["Secret", "hubbub"]["stringData"]
        toml = kubernetes["ConfigMap", "hubbub"]["data"]["hubbub.toml"]
        files = re.findall(r'"/run/secrets/hubbub/(\w+)"', toml)
        check(sorted(files) == sorted(secret), f"the ConfigMap names {files}, the Secret has {sorted(secret)}")
        settings = place / "hubbub.toml"
        settings.write_text(toml.replace("/run/secrets/hubbub/", f"{place}/"))
        hub_takes(hub, "config.yaml", place, dict(image), ["--config", str(settings)])
        # With the example's secrets as they are it must not start.
        (place / "auth_secret").write_text(secret["auth_secret"])
        ran = subprocess.run([hub, "check-config", "--config", settings], env=image, cwd=place, capture_output=True, text=True)
        check(ran.returncode == 78 and "auth.secret" in ran.stderr, "the hub starts with the example's secret")
        # The unit's, with all that is marked HERE, and the README's settings.
        (place / "auth_secret").write_text("for-this-run-alone-0123456789-abcdefghijkl")
        environment = dict(re.findall(r"^#?Environment=(\w+)=(\S+)", unit, re.M))
        check(len(environment) == 4, f"the unit has {environment}")
        hub_takes(hub, "hubbub.service", place, environment, ["--profile", "production", "--config", TOP / "config/production.toml"])


def main():
    judge_nginx()
    judge_compose()
    judge_systemd()
    judge_kubernetes()
    judge_alerts()
    judge_settings(os.path.realpath(sys.argv[1]))
    if faults:
        sys.exit("\n".join(f"deploy/: {fault}" for fault in faults))
    print("the numbers, names and settings in deploy/ fit")


main()
