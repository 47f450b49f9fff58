#!/usr/bin/python3
"""check_compose.py: what docker/compose.yaml and the files it mounts promise.

    tools/docker/check_compose.py SECRETS

SECRETS is a folder that "tools/docker.sh secrets SECRETS" has filled.  Called by
tools/check_docker.sh, which has the schema checked by a program of its own.
Says what is wrong, a line each, and fails; or says nothing.
"""

import json
import os
import re
import subprocess
import sys

import yaml

COMPOSE = "docker/compose.yaml"
problems = []


def wrong(what):
    problems.append(what)


def load(path):
    with open(path, encoding="utf-8") as file:
        return yaml.safe_load(file)


def text_of(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def files(*paths):
    """Those that git knows; in an unpacked archive all that are there."""
    said = subprocess.run(["git", "ls-files", "--", *paths], check=False,
                          capture_output=True, text=True)
    if said.returncode == 0:
        return said.stdout.splitlines()
    found = [path for path in paths if os.path.isfile(path)]
    for path in paths:
        for folder, _, names in os.walk(path):
            found += [os.path.join(folder, name) for name in names]
    return found


def pairs(environment):
    if isinstance(environment, dict):
        return [(key, str(value)) for key, value in environment.items()]
    return [line.split("=", 1) for line in environment]


def check_image(name, image):
    """A tag, never "latest", and no host name of a registry."""
    first = image.split("/")[0] if "/" in image else ""
    if "." in first or ":" in first:
        wrong(f"{name}: {image} names a registry")
    tag = image.rpartition(":")[2] if ":" in image else ""
    if tag in ("", "latest"):
        wrong(f"{name}: {image} has no tag that stays")


def check_secrets_in(name, service, declared):
    """Passwords are files, and the files are there."""
    mine = set(service.get("secrets", []))
    for secret in mine - set(declared):
        wrong(f"{name}: secret {secret} is not declared")
    for key, value in pairs(service.get("environment", {})):
        if re.search(r"PASS|SECRET|TOKEN|CREDENTIAL|_KEY|DB_URI", key) and \
                not value.lstrip("@").startswith(
                    ("/run/secrets/", "/run/birthday_scheduler/")):
            wrong(f"{name}: {key} is not read from a secret")
    said = json.dumps([service.get("environment", {}), service.get("command", "")])
    for used in re.findall(r"/run/secrets/([\w.-]+)", said):
        if used not in mine:
            wrong(f"{name}: {used} is read and not among its secrets")


def check_volumes(name, service, declared, used):
    for volume in service.get("volumes", []):
        source, target, *options = volume.split(":")
        if not target.startswith("/"):
            wrong(f"{name}: {volume} has no absolute target")
        if source.startswith("."):
            path = os.path.normpath(os.path.join("docker", source))
            if not os.path.exists(path):
                wrong(f"{name}: {path} does not exist")
            elif not files(path):
                wrong(f"{name}: {path} is not in git")
            if options != ["ro"]:
                wrong(f"{name}: {path} is not mounted read-only")
        else:
            used.add(source)
            if source not in declared:
                wrong(f"{name}: volume {source} is not declared")


def check_service(name, service, compose, used):
    check_image(name, service.get("image", ""))
    if service.get("restart") != "unless-stopped":
        wrong(f"{name}: no restart policy")
    if not service.get("healthcheck", {}).get("test"):
        wrong(f"{name}: no health check")
    for port in service.get("ports", []):
        if not re.fullmatch(r"127\.0\.0\.1:\$\{\w+:-\d+\}:\d+", str(port)):
            wrong(f"{name}: port {port} is open to others, or cannot be changed")
    check_secrets_in(name, service, compose["secrets"])
    check_volumes(name, service, compose["volumes"], used)


def check_env_example(text):
    """Every variable is in .env.example with the same default, and no other."""
    wanted = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", text))
    shown = dict(line.split("=", 1)
                 for line in text_of("docker/.env.example").splitlines()
                 if line and not line.startswith("#"))
    if re.search(r"\$\{?\w+(?!\w|:-)[}\s]", text):
        wrong("a variable has no default")
    if wanted != shown:
        wrong(f".env.example has {shown}, {COMPOSE} has {wanted}")


def check_made_secrets(compose, folder):
    made = set(os.listdir(folder))
    for name, secret in compose["secrets"].items():
        if secret != {"file": f"./secrets/{name}"}:
            wrong(f"secret {name} is not a file of that name in docker/secrets")
        elif name not in made:
            wrong(f"tools/docker.sh does not make {name}")
    if os.stat(folder).st_mode & 0o077:
        wrong("the folder of the secrets is open to others")
    for name in made:
        if os.stat(os.path.join(folder, name)).st_mode & 0o777 != 0o444:
            wrong(f"secret {name} cannot be read by every container, or can be written")
    words = [text_of(os.path.join(folder, name)) for name in made
             if not name.endswith((".json", "_uri"))]
    if len(set(words)) != len(words) or min(map(len, words)) < 32:
        wrong("secrets are short, or two are the same")


def check_literals():
    """No password stands in an address."""
    for path in files("docker", "monitoring"):
        for found in re.findall(r"\w+://[^\s/'\"]*:[^\s/'\"]*@", text_of(path)):
            wrong(f"{path} has a password: {found}")


def hosts():
    """(file, host) for every server that a mounted file leads to."""
    for job in load("docker/prometheus/prometheus.yml")["scrape_configs"]:
        for config in job["static_configs"]:
            for target in config["targets"]:
                yield "prometheus.yml", target.split(":")[0]
    source = load("docker/grafana/provisioning/datasources/prometheus.yaml")
    for entry in source["datasources"]:
        yield "datasources", re.match(r"\w+://([^:/]+)", entry["url"])[1]
    for entry in json.loads(text_of("docker/pgadmin/servers.json"))["Servers"].values():
        yield "servers.json", entry["Host"]
    for host in re.findall(r"^[^#\n]*'(?:amqp|smtp)s?://(?:\w+@)?(\w+)",
                           text_of("docker/postgres/postgresql.conf"), re.M):
        yield "postgresql.conf", host


def check_grafana(compose):
    source = load("docker/grafana/provisioning/datasources/prometheus.yaml")
    uids = {entry["uid"] for entry in source["datasources"]}
    provider = load("docker/grafana/provisioning/dashboards/birthday_scheduler.yaml")
    path = provider["providers"][0]["options"]["path"]
    mounts = {volume.split(":")[1]: volume.split(":")[0]
              for volume in compose["services"]["grafana"]["volumes"]}
    if path not in mounts:
        wrong(f"grafana: {path} is not mounted")
        return
    folder = os.path.normpath(os.path.join("docker", mounts[path]))
    for name in sorted(os.listdir(folder)):
        dashboard = json.loads(text_of(os.path.join(folder, name)))
        for uid in re.findall(r'"uid": "([^"]+)"', json.dumps(
                [panel.get("datasource") for panel in dashboard["panels"]])):
            if uid not in uids and not uid.startswith("$"):
                wrong(f"{name}: no data source {uid}")
    home = dict(pairs(compose["services"]["grafana"]["environment"]))[
        "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    if not os.path.exists(os.path.join(folder, os.path.relpath(home, path))):
        wrong(f"grafana: {home} is not there")


def check_dockerfile(compose):
    text = text_of("docker/Dockerfile").replace("\\\n", " ")
    defaults = dict(re.findall(r"^ARG (\w+)=(\S+)", text, re.M))
    check_image("Dockerfile", re.sub(r"\$\{(\w+)\}", lambda found: defaults[found[1]],
                                     defaults["BASE"]))
    for number in re.findall(r"postgresql(?:-[a-z]+)*-(\d+)", text):
        wrong(f"Dockerfile names server {number} beside PG_MAJOR")
    ignored = text_of("docker/Dockerfile.dockerignore")
    for words in re.findall(r"^COPY (?!--from)(.*)", text, re.M):
        for path in words.split()[:-1]:
            if not files(path):
                wrong(f"Dockerfile copies {path}, which is not in git")
            if f"!{path}" not in ignored.splitlines():
                wrong(f"Dockerfile.dockerignore keeps {path} out")
    build = compose["services"]["postgres"]["build"]
    if not os.path.exists(os.path.join("docker", build["context"], build["dockerfile"])):
        wrong("the Dockerfile is not where it is looked for")
    check_data(compose["services"]["postgres"], defaults["PG_MAJOR"])


def check_data(service, default):
    """The image of the default, and its data where the official image has them."""
    server = service["build"]["args"]["PG_MAJOR"]
    if server != default:
        wrong(f"postgres: PG_MAJOR is {server}, in the Dockerfile {default}")
    home = "/var/lib/postgresql"
    if int(server) < 18:
        home += "/data"
    if f"postgres_data:{home}" not in service["volumes"]:
        wrong(f"postgres: the data of server {server} are in {home}, which is no volume")


def main():
    text = text_of(COMPOSE)
    compose = yaml.safe_load(text)
    used_volumes = set()
    for name, service in compose["services"].items():
        check_service(name, service, compose, used_volumes)
    for volume in set(compose["volumes"]) - used_volumes:
        wrong(f"volume {volume} is not used")
    for secret in compose["secrets"]:
        if not any(secret in service.get("secrets", [])
                   for service in compose["services"].values()):
            wrong(f"secret {secret} is not used")
    check_env_example(text)
    check_made_secrets(compose, sys.argv[1])
    check_literals()
    for path, host in hosts():
        if host not in compose["services"] and host != "localhost":
            wrong(f"{path}: no service {host}")
    check_grafana(compose)
    check_dockerfile(compose)
    for problem in problems:
        print(problem, file=sys.stderr)
    sys.exit(1 if problems else 0)


main()
