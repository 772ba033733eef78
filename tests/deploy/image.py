"""What deploy/Dockerfile says, done in plain folders without Docker: each stage is a folder, COPY copies into it, RUN runs in
it, and at last the hub is started from there as the image's user, with the image's environment. The build is one of the
profile `dev`, for which most is built already where tests have run.

What can't be had so: the base images (this machine's libraries and certificates stand in; that the hub needs no library which
the small image lacks is checked), and the wall between a container and its machine (files are looked at instead).
"""

import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tomllib

TOP = pathlib.Path(__file__).resolve().parents[2]
DOCKERFILE = TOP / "deploy/Dockerfile"
# What debian:bookworm-slim has: packages libc6 and libgcc-s1.
LIBRARIES = {"libc.so.6", "libm.so.6", "libgcc_s.so.1"}
CRATES = ["hubbub", "entity", "migration"]
SEARCHED = ["usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin"]


def fail(why):
    sys.exit(f"{DOCKERFILE.relative_to(TOP)}: {why}")


def check(good, why):
    if not good:
        fail(why)


def instructions():
    """(INSTRUCTION, its flags, the rest) of each line, with continued lines put together."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines():
        word, rest = line.split(maxsplit=1)
        flags = []
        while rest.startswith("--"):
            flag, rest = rest.split(maxsplit=1)
            flags.append(tuple(flag[2:].partition("=")[::2]))
        yield word, flags, rest


def words(text):
    """The exec form: there need be no shell where it runs."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        fail(f"{text} is not in exec form")


class Stage:
    def __init__(self, image, root):
        self.image, self.root = image, root
        self.workdir, self.user, self.env, self.args = "/", None, {}, {}
        self.volumes, self.ports, self.entrypoint, self.command = [], [], [], []
        self.stop_signal = self.health = None

    def path(self, path):
        """Where a path of this stage is on this machine."""
        return self.root / os.path.normpath(os.path.join(self.workdir, path)).lstrip("/")

    def program(self, name):
        for found in [self.path(name)] if "/" in name else [self.root / folder / name for folder in SEARCHED]:
            if os.access(found, os.X_OK) and found.is_file():
                return found
        fail(f"there is no program {name} in the image")


def seen_by_the_build():
    """Whether deploy/Dockerfile.dockerignore, a list of what may be seen, lets a path into the context."""
    lines = pathlib.Path(f"{DOCKERFILE}.dockerignore").read_text().split("\n")
    rules = [line for line in lines if line and not line.startswith("#")]
    check(rules[0] == "*" and all(rule.startswith("!") for rule in rules[1:]), "its .dockerignore is no list of what may be seen")
    allowed = {rule[1:] for rule in rules[1:]}
    return lambda path: path.split("/")[0] in allowed


def copy(stage, stages, flags, rest, allowed):
    flags = dict(flags)
    origin = stages.get(flags.pop("from", None))
    owner = flags.pop("chown", None)
    check(not flags, f"tests/deploy/image.py does not know COPY --{'/'.join(flags)}")
    *sources, target = rest.split()
    into = stage.path(target)
    for source in sources:
        if origin:
            found = origin.path(source)
            # What the base image brings: here it is this machine's.
            found = found if found.exists() else pathlib.Path(source)
        else:
            check(allowed(os.path.normpath(source)), f"COPY {source}: .dockerignore keeps it out")
            found = TOP / source
        check(found.exists(), f"COPY {source}: there is no such file")
        if found.is_dir():
            shutil.copytree(found, into, dirs_exist_ok=True)
        else:
            to = into / found.name if target.endswith("/") or len(sources) > 1 else into
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(found, to)
    if owner and os.geteuid() == 0:
        user, group = map(int, owner.split(":"))
        for path in [into, *into.rglob("*")]:
            os.chown(path, user, group)
    stage.owners[into] = owner


def build(places, profile):
    """Does each instruction; gives the last stage."""
    stages, stage, allowed = {}, None, seen_by_the_build()
    for word, flags, rest in instructions():
        if word == "FROM":
            image, _, name = rest.partition(" AS ")
            root = places[len(stages)]
            shutil.rmtree(root, ignore_errors=True)
            root.mkdir(parents=True)
            root.chmod(0o755)
            stage = stages[name or "the last"] = Stage(image, root)
            stage.owners = {}
        elif word == "ARG":
            name, _, default = rest.partition("=")
            check(default, f"ARG {name} has no default")
            stage.args[name] = {"PROFILE": profile}[name]
        elif word == "WORKDIR":
            stage.workdir = os.path.join(stage.workdir, rest)
            stage.path(".").mkdir(parents=True, exist_ok=True)
        elif word == "COPY":
            copy(stage, stages, flags, rest, allowed)
        elif word == "RUN":
            # Its mounts are caches; the caches here are this machine's.
            check(all(name == "mount" and value.startswith("type=cache,") for name, value in flags), f"RUN {flags}")
            # Half the time, and it is not how fast the hub is that is seen here. Other crates stay as they were built.
            settings = stage.root / ".cargo/config.toml"
            settings.parent.mkdir(exist_ok=True)
            settings.write_text("".join(f"[profile.dev.package.{crate}]\nopt-level = 0\ndebug = false\n" for crate in CRATES))
            target = os.path.join(TOP, os.environ.get("CARGO_TARGET_DIR", "target"))
            env = os.environ | {"CARGO_TARGET_DIR": target} | stage.env | stage.args
            ran = subprocess.run(["sh", "-c", rest], cwd=stage.path("."), env=env)
            check(ran.returncode == 0, f"RUN {rest} ended with {ran.returncode}")
        elif word == "ENV":
            stage.env |= dict(pair.split("=", 1) for pair in shlex.split(rest))
        elif word == "USER":
            stage.user = rest
        elif word == "VOLUME":
            stage.volumes.append(rest)
        elif word == "EXPOSE":
            stage.ports.append(rest)
        elif word == "STOPSIGNAL":
            stage.stop_signal = rest
        elif word == "HEALTHCHECK":
            kind, _, command = rest.partition(" ")
            check(kind == "CMD", "HEALTHCHECK has no CMD")
            stage.health = dict(flags), words(command)
        elif word == "ENTRYPOINT":
            stage.entrypoint = words(rest)
        elif word == "CMD":
            stage.command = words(rest)
        else:
            fail(f"tests/deploy/image.py does not know {word}")
    return stages


def judge(stages):
    """What must hold of the image as it is written."""
    first, image = stages["build"], stages["the last"]
    rust = tomllib.loads((TOP / "Cargo.toml").read_text())["workspace"]["package"]["rust-version"]
    check(first.image == f"rust:{rust}-bookworm", f"{first.image} is not Rust {rust} of Cargo.toml on bookworm")
    # Cargo here would find it in the folders above, and says nothing where it is missing.
    check(first.path(".cargo/config.toml").is_file(), "the build does not see .cargo/config.toml")
    check(image.image == "debian:bookworm-slim", f"{image.image} is not the Debian that the build was for")
    check(re.fullmatch(r"[1-9]\d*:[1-9]\d*", image.user or ""), f"USER {image.user} is not a number that is not root's")
    check(image.volumes == ["/data"], f"VOLUME is {image.volumes}, not /data")
    check(image.owners.get(image.path("/data")) == image.user, f"/data is not of {image.user}")
    check(image.env["HUBBUB__SERVER__BIND"] == "0.0.0.0:8000" and image.ports == ["8000"], "the port is not 8000, or not shown")
    check(image.stop_signal == "SIGTERM", f"STOPSIGNAL {image.stop_signal}")
    check(image.entrypoint, "there is no ENTRYPOINT")
    check(image.health, "there is no HEALTHCHECK")
    needed = subprocess.run(["readelf", "-d", image.program("hubbub")], capture_output=True, text=True, check=True).stdout
    needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", needed))
    more = {name for name in needed - LIBRARIES if not name.startswith("ld-linux")}
    check(needed and not more, f"the hub needs {more}, which the base image may lack")
    sections = subprocess.run(["readelf", "-S", image.program("hubbub")], capture_output=True, text=True, check=True).stdout
    check(".symtab" not in sections and ".debug_line" not in sections, "the hub is not stripped")


def files(root):
    return {path for path in root.rglob("*") if root / "data" not in path.parents}


def run(image):
    """Starts the hub as `docker run -e HUBBUB__AUTH__SECRET=…` would, asks it how it is, and stops it."""
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        port = any_port.getsockname()[1]
    env = image.env | {"HUBBUB__AUTH__SECRET": "for-this-run-alone-0123456789-abcdefghijkl"}
    # The port alone is another one, since 8000 may be somebody's here.
    env["HUBBUB__SERVER__BIND"] = env["HUBBUB__SERVER__BIND"].replace(":8000", f":{port}")
    uid, gid = image.user.split(":")
    # As Docker with --cap-drop ALL and no-new-privileges. Who is not root can't become somebody else, and need not.
    user = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--bounding-set=-all", "--no-new-privs"]
    user = user if os.geteuid() == 0 else []

    def start(command, **more):
        command = [*user, str(image.program(command[0])), *command[1:]]
        return subprocess.Popen(command, cwd=image.path("."), env=env, stdin=subprocess.DEVNULL, **more)

    def health():
        asking = start(image.health[1], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return asking.wait(timeout=seconds(image.health[0]["timeout"]))

    before = files(image.root)
    with tempfile.TemporaryFile() as log, start(image.entrypoint + image.command, stdout=log, stderr=log) as hub:
        try:
            last = time.monotonic() + seconds(image.health[0]["start-period"])
            while health() != 0:
                if hub.poll() is not None or time.monotonic() > last:
                    log.seek(0)
                    fail(f"the hub is not healthy ({hub.poll()}):\n{log.read().decode()}")
                time.sleep(0.1)
            database = image.root / "data/hubbub.db"
            check(database.exists(), "the database is not in /data")
            owner = database.stat().st_uid
            check(owner == (int(uid) if user else os.getuid()) != 0, f"the database is user {owner}'s")
            check(files(image.root) == before, f"written outside of /data: {files(image.root) - before}")
            began = time.monotonic()
            hub.send_signal(signal.Signals[image.stop_signal])
            # server.stop_timeout in production.
            code = hub.wait(timeout=30)
            check(code == 0, f"the hub ended with {code} at a stop")
            check(health() == 1, "HEALTHCHECK says that a hub lives which has ended")
            return time.monotonic() - began
        finally:
            hub.kill()


def seconds(time_text):
    number, unit = re.fullmatch(r"(\d+)(s|m)", time_text).groups()
    return int(number) * {"s": 1, "m": 60}[unit]


def main():
    # The build's folder stays, so that a second run builds nothing.
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        stages = build([TOP / "target/deploy/build", pathlib.Path(place) / "image"], "dev")
        judge(stages)
        took = run(stages["the last"])
    print(f"the image's steps run in a plain folder; the hub in it is healthy, and stopped in {took:.1f} s")


main()
