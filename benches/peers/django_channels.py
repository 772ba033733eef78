"""The chat that Django Channels' tutorials end with: a stored Message, a consumer, a Redis layer, simplejwt in `?token=`.

`daphne django_channels:application` serves it; `django_channels.py USERS` makes the database and prints a token a line.
DATABASE and REDIS in the environment say where it keeps what.
"""

import json
import os
import sys
from datetime import timedelta

import django
from django.conf import settings

settings.configure(
    SECRET_KEY="a-key-of-32-bytes-for-the-benchmark-alone",
    ALLOWED_HOSTS=["127.0.0.1"],
    INSTALLED_APPS=["daphne", "channels", "django.contrib.auth", "django.contrib.contenttypes"],
    CHANNEL_LAYERS={
        "default": {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": [os.environ["REDIS"]]}}
    },
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["DATABASE"]}},
    SIMPLE_JWT={"ACCESS_TOKEN_LIFETIME": timedelta(days=1)},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
)
django.setup()

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.contrib.auth import get_user_model
from django.core.asgi import get_asgi_application
from django.core.management import call_command
from django.db import connection, models
from django.urls import re_path
from rest_framework_simplejwt.tokens import AccessToken


class Message(models.Model):
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    room = models.CharField(max_length=100, db_index=True)
    content = models.TextField()
    timestamp = models.DateTimeField(auto_now_add=True)

    class Meta:
        app_label = "chat"


class ChatConsumer(AsyncWebsocketConsumer):
    async def connect(self):
        token = self.scope["query_string"].decode().removeprefix("token=")
        try:
            self.user = await database_sync_to_async(self.user_of)(token)
        except Exception:
            return await self.close()
        self.room = self.scope["url_route"]["kwargs"]["room"]
        await self.channel_layer.group_add(f"chat_{self.room}", self.channel_name)
        await self.accept()

    async def disconnect(self, code):
        if hasattr(self, "room"):
            await self.channel_layer.group_discard(f"chat_{self.room}", self.channel_name)

    async def receive(self, text_data):
        text = json.loads(text_data)["message"]
        message = await database_sync_to_async(self.store)(text)
        event = {"message": text, "user": self.user.username, "timestamp": message.timestamp.isoformat()}
        await self.channel_layer.group_send(f"chat_{self.room}", {"type": "chat.message", "event": event})

    async def chat_message(self, event):
        await self.send(text_data=json.dumps(event["event"]))

    def user_of(self, token):
        return get_user_model().objects.get(pk=AccessToken(token)["user_id"])

    def store(self, text):
        return Message.objects.create(user=self.user, room=self.room, content=text)


application = ProtocolTypeRouter(
    {
        "http": get_asgi_application(),
        "websocket": URLRouter([re_path(r"^ws/chat/(?P<room>[\w-]+)/?$", ChatConsumer.as_asgi())]),
    }
)

if __name__ == "__main__":
    call_command("migrate", verbosity=0)
    with connection.schema_editor() as editor:
        editor.create_model(Message)
    for number in range(int(sys.argv[1])):
        user = get_user_model().objects.create(username=f"user-{number}")
        print(AccessToken.for_user(user))
