// What people write in Node: the `ws` package, a JWT in `?token=`, Redis between processes. It stores nothing.

import { createServer } from "node:http";
import jwt from "jsonwebtoken";
import { createClient } from "redis";
import { WebSocketServer } from "ws";

const key = "a-key-of-32-bytes-for-the-benchmark-alone";
const publisher = await createClient({ url: process.env.REDIS }).connect();
const subscriber = await publisher.duplicate().connect();
const rooms = new Map();

const sockets = new WebSocketServer({ noServer: true });
const server = createServer((_, response) => response.writeHead(404).end());

server.on("upgrade", (request, socket, head) => {
  const { pathname, searchParams } = new URL(request.url, "http://localhost");
  const name = pathname.match(/^\/ws\/chat\/([\w-]+)\/?$/)?.[1];
  let user;
  try {
    user = jwt.verify(searchParams.get("token"), key, { algorithms: ["HS256"] }).user_id;
  } catch {
    return socket.end("HTTP/1.1 401 Unauthorized\r\n\r\n");
  }
  if (!name) return socket.end("HTTP/1.1 404 Not Found\r\n\r\n");
  sockets.handleUpgrade(request, socket, head, (client) => join(client, name, user));
});

function join(client, name, user) {
  let members = rooms.get(name);
  if (!members) {
    rooms.set(name, (members = new Set()));
    subscriber.subscribe(`chat:${name}`, (event) => {
      for (const member of members) member.send(event);
    });
  }
  members.add(client);
  client.on("message", (data) => {
    const { message } = JSON.parse(data);
    publisher.publish(`chat:${name}`, JSON.stringify({ message, user, timestamp: new Date().toISOString() }));
  });
  client.on("close", () => {
    members.delete(client);
    if (members.size === 0 && rooms.delete(name)) subscriber.unsubscribe(`chat:${name}`);
  });
}

server.listen(Number(process.env.PORT), "127.0.0.1");
