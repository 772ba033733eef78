"""A token minted by the real djangorestframework-simplejwt, brought by Python's `websockets`: the tutorial's app without
its browser. Arguments: host:port and the secret. Prints `ok` and ends with 0 where all is as it should be."""

import asyncio
import json
import sys

import django
from django.conf import settings

address, secret = sys.argv[1:]
settings.configure(
    SECRET_KEY=secret,
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "rest_framework", "rest_framework_simplejwt"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    USE_TZ=True,
)
django.setup()

from django.contrib.auth import get_user_model  # noqa: E402
from django.core.management import call_command  # noqa: E402
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken  # noqa: E402
from websockets.asyncio.client import connect  # noqa: E402
from websockets.exceptions import ConnectionClosed  # noqa: E402

call_command("migrate", verbosity=0)
user = get_user_model().objects.create_user("alice", password="x")
access = AccessToken.for_user(user)
named = AccessToken.for_user(user)
named["username"] = user.username
refresh = RefreshToken.for_user(user)


async def main():
    async with (
        connect(f"ws://{address}/ws/chat/?token={access}") as plain,
        connect(f"ws://{address}/ws/chat/?token={named}") as with_name,
        connect(f"ws://{address}/ws", additional_headers={"Authorization": f"Bearer {named}"}) as native,
    ):
        hello = json.loads(await native.recv())
        assert (hello["type"], hello["user"], hello["user_id"]) == ("hello", "alice", str(user.pk)), hello
        await native.send(json.dumps({"type": "join", "id": 1, "room": "lobby"}))
        assert json.loads(await native.recv())["type"] == "ok"
        await plain.send(json.dumps({"message": "안녕 from simplejwt"}))
        for socket in (plain, with_name, native):
            message = json.loads(await asyncio.wait_for(socket.recv(), 10))
            assert message["message"] == "안녕 from simplejwt", message
            # Two lines in the token's serializer turn ids into names.
            assert message["user"] == f"user {user.pk}", message
            assert message["timestamp"].endswith("Z"), message
        await with_name.send(json.dumps({"message": "named"}))
        assert json.loads(await plain.recv())["user"] == "alice"
    try:
        async with connect(f"ws://{address}/ws/chat/?token={refresh}") as refused:
            await refused.recv()
    except ConnectionClosed as closed:
        assert (closed.rcvd.code, closed.rcvd.reason) == (4500, "token_invalid"), closed
    else:
        raise AssertionError("a refresh token opened a session")


asyncio.run(main())
print("ok")
