// A wire between a client and the hub that a test can cut, hold, or rob of what the hub says.

import { connect, createServer } from "node:net";

export class Relay {
  /** It ends with the test that is given. */
  static async to(port, test) {
    const relay = new Relay();
    test.after(() => relay.stop());
    relay.pairs = new Set();
    relay.opened = 0;
    relay.refusing = false;
    relay.deaf = false;
    relay.lump = 0;
    relay.server = createServer((near) => {
      relay.opened += 1;
      if (relay.refusing) return near.destroy();
      const far = connect(port, "127.0.0.1");
      const pair = { near, far };
      relay.pairs.add(pair);
      const end = () => {
        relay.pairs.delete(pair);
        near.destroy();
        far.destroy();
      };
      for (const socket of [near, far]) socket.on("error", end).on("close", end);
      near.on("data", (bytes) => far.write(bytes));
      // With `lump`, what the hub says comes in lumps, so many ms apart: several frames at once.
      const gathered = [];
      const lumps = setInterval(() => gathered.length && near.write(Buffer.concat(gathered.splice(0))), relay.lump || 60_000);
      near.on("close", () => clearInterval(lumps));
      far.on("data", (bytes) => relay.deaf || (relay.lump ? gathered.push(bytes) : near.write(bytes)));
    });
    await new Promise((done) => relay.server.listen(0, "127.0.0.1", done));
    relay.url = `http://127.0.0.1:${relay.server.address().port}`;
    return relay;
  }

  /** Every connection is lost; `refusing` from now on, or not. */
  cut({ refusing = false } = {}) {
    Object.assign(this, { refusing, deaf: false });
    for (const { near, far } of this.pairs) {
      near.destroy();
      far.destroy();
    }
  }

  stop() {
    this.cut({ refusing: true });
    this.server.close();
  }
}
