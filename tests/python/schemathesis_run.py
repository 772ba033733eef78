"""Schemathesis against a running hub and its OpenAPI document: as a user, then as an admin. Arguments: host:port, the
user's token, the admin's. Prints what each run did and `ok`; ends with 1 and Schemathesis' own report where it found
something. It is also the module of hooks that Schemathesis loads, with HUBBUB_SELF set to the id of the caller."""

import base64
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import urllib.request

SEED = 20261122
# Of each operation and phase; with two tokens some thousand requests.
EXAMPLES = 20
# All checks but these:
LEFT_OUT = [
    # A method that an address doesn't have is answered 404, as an address that is not there.
    "unsupported_method",
    # What JSON Schema can't say is refused with 400, which each operation describes: a text of blanks, two cursors at once,
    # a moment that is over, a name that nobody may have.
    "positive_data_acceptance",
]
# Left on, among others: not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
# negative_data_rejection, and ignored_auth, which repeats calls without a token and with a wrong one.


def post(address, token, method, path, body):
    request = urllib.request.Request(f"http://{address}{path}", json.dumps(body).encode(), method=method)
    request.add_header("Authorization", f"Bearer {token}")
    urllib.request.urlopen(request, timeout=20).close()


def claims(token):
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def run(address, token):
    me = claims(token)["user_id"]
    arguments = [
        f"--seed={SEED}",
        f"--max-examples={EXAMPLES}",
        "--generation-database=none",
        "--continue-on-failure",
        "--checks=all",
        f"--exclude-checks={','.join(LEFT_OUT)}",
        "--request-timeout=20",
        "--output-truncate=false",
        f"--header=Authorization: Bearer {token}",
    ]
    environment = {
        **os.environ,
        "SCHEMATHESIS_HOOKS": "schemathesis_run",
        "PYTHONPATH": str(pathlib.Path(__file__).parent),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HUBBUB_SELF": me,
        "COLUMNS": "120",
    }
    program = pathlib.Path(sys.executable).with_name("schemathesis")
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "--no-color", "run", f"http://{address}/api/openapi.json", *arguments]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"as {me}:\n{done.stdout}\n{done.stderr}")
    counts = [re.search(pattern, done.stdout) for pattern in (r"Tested: \d+", r"\d+ generated", r"in [\d.]+s =")]
    if None in counts:
        sys.exit(f"as {me}: what it did can't be read\n{done.stdout}")
    tested, generated, seconds = (count.group() for count in counts)
    print(f"{me}: operations {tested.lower()}, {generated}, {seconds.removesuffix(' =')}")


def main(address, user, admin):
    # Something to find.
    for name in ("lobby", "tea"):
        post(address, user, "POST", "/api/rooms", {"name": name})
        for text in ("one", "two", "three"):
            post(address, user, "POST", f"/api/rooms/{name}/messages", {"message": text, "client_id": text})
        post(address, user, "PUT", f"/api/rooms/{name}/members/bob", {"role": "moderator"})
    # The user first: the admin may disable them.
    run(address, user)
    run(address, admin)
    print("ok")


if __name__ == "__main__":
    main(*sys.argv[1:])
else:
    import schemathesis

    SELF = os.environ["HUBBUB_SELF"]

    @schemathesis.hook
    def before_call(_context, case, _kwargs):
        """Who revoked their own tokens would see 401 alone from then on: such a call goes to another user."""
        if case.path.endswith(("/revoke", "/disable")) and (case.path_parameters or {}).get("user_id") == SELF:
            case.path_parameters["user_id"] = f"not {SELF}"
