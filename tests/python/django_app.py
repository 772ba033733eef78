"""A Django project with the real djangorestframework-simplejwt, whose users chat through Hubbub with Django's own tokens.

Usage: django_app.py HUB_ADDRESS SECRET_KEY names|plain. Prints what each user saw; exits 1 where something is wrong.
"""

import asyncio
import json
import sys
import threading
import urllib.error
import urllib.request
from wsgiref.simple_server import WSGIRequestHandler, make_server

HUB, SECRET, NAMES = sys.argv[1], sys.argv[2], sys.argv[3] == "names"

import django
from django.conf import settings

settings.configure(
    SECRET_KEY=SECRET,
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "rest_framework"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "file:app?mode=memory&cache=shared"}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
    SIMPLE_JWT={"TOKEN_OBTAIN_SERIALIZER": f"{__name__}.TokenSerializer"} if NAMES else {},
)
django.setup()

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.urls import path
from rest_framework_simplejwt.serializers import TokenObtainPairSerializer
from rest_framework_simplejwt.views import TokenObtainPairView, TokenRefreshView, TokenVerifyView
from websockets.asyncio.client import connect


class TokenSerializer(TokenObtainPairSerializer):
    @classmethod
    def get_token(cls, user):
        token = super().get_token(user)  # these
        token["username"] = user.get_username()  # two
        return token


urlpatterns = [
    path("api/token/", TokenObtainPairView.as_view()),
    path("api/token/refresh/", TokenRefreshView.as_view()),
    path("api/token/verify/", TokenVerifyView.as_view()),
]


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


def post(base, where, body):
    """Status and JSON of a POST."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(base + where, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        return refused.code, json.load(refused)


def shape(answer):
    """What a client can rely on: the status, the fields, and texts that are no tokens."""
    status, body = answer
    keep = lambda text: text if not isinstance(text, str) or text.count(".") != 2 else "a token"
    return status, {name: keep(value) for name, value in sorted(body.items())}


async def chat(tokens):
    """Both users in one room: each must see both messages under Django's names or ids."""
    urls = {user: f"ws://{HUB}/ws/chat/?token={token}" for user, token in tokens.items()}
    async with connect(urls["alice"]) as alice, connect(urls["민지"]) as minji:
        await alice.send(json.dumps({"message": "hi"}))
        seen = [json.loads(await asyncio.wait_for(socket.recv(), 20)) for socket in (alice, minji)]
        await minji.send(json.dumps({"message": "안녕"}))
        seen += [json.loads(await asyncio.wait_for(socket.recv(), 20)) for socket in (alice, minji)]
    return seen


def main():
    call_command("migrate", verbosity=0)
    users = {name: get_user_model().objects.create_user(name, password="correct horse") for name in ("alice", "민지")}
    server = make_server("127.0.0.1", 0, get_wsgi_application(), handler_class=Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    app, hub = f"http://127.0.0.1:{server.server_port}", f"http://{HUB}"

    tokens = {}
    for name in users:
        status, pair = post(app, "/api/token/", {"username": name, "password": "correct horse"})
        assert status == 200, pair
        tokens[name] = pair["access"]
    seen = asyncio.run(chat(tokens))
    expected = [("alice", "hi"), ("alice", "hi"), ("민지", "안녕"), ("민지", "안녕")]
    for event, (name, text) in zip(seen, expected, strict=True):
        shown = name if NAMES else f"user {users[name].pk}"
        assert (event["user"], event["user_id"], event["message"]) == (shown, str(users[name].pk), text), event

    # The hub's own accounts answer as simplejwt does, errors too.
    account = {"username": "alice", "password": "correct horse"}
    status, made = post(hub, "/api/register/", account)
    assert status == 201, made
    refresh = {app: pair["refresh"], hub: made["refresh"]}
    for where, body in [
        ("/api/token/", account),
        ("/api/token/", {"username": "alice", "password": "wrong"}),
        ("/api/token/", {"username": "nobody", "password": "wrong"}),
        ("/api/token/", {"username": "alice"}),
        ("/api/token/", {"username": "", "password": None}),
        ("/api/token/", {}),
        ("/api/token/refresh/", {}),
        ("/api/token/refresh/", {"refresh": "no token"}),
        ("/api/token/refresh/", {"refresh": None}),
        ("/api/token/verify/", {"token": "no token"}),
        ("/api/token/verify/", {}),
    ]:
        theirs, ours = shape(post(app, where, body)), shape(post(hub, where, body))
        assert theirs == ours, f"{where} {body}: simplejwt says {theirs}, the hub {ours}"
    for where, field in [("/api/token/refresh/", "refresh"), ("/api/token/verify/", "token")]:
        answers = [shape(post(base, where, {field: refresh[base]})) for base in (app, hub)]
        assert answers[0] == answers[1], f"{where}: {answers}"
    print("ok")


main()
