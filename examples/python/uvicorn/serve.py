"""uvicorn --fd 3 app:app, with a drain that leaves idle connections open until they have been told."""
import asyncio
import time

import uvicorn

from app import app

draining = False


async def announced(scope, receive, send):
    """The app; while the server drains, its answers say that they are the last on their connection."""

    async def announce(message):
        if draining and message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), (b"connection", b"close")]
        await send(message)

    await app(scope, receive, announce)


class Server(uvicorn.Server):
    async def shutdown(self, sockets=None):
        global draining
        draining = True
        for server in self.servers:
            server.close()  # no more is accepted; the socket itself stays open in the successor
        soft = time.monotonic() + 8  # shorter than drain_timeout
        while True:
            await asyncio.sleep(0.1)  # also for what was accepted just now
            if not self.server_state.connections or time.monotonic() > soft:
                break
        await super().shutdown(sockets)


Server(uvicorn.Config(announced, fd=3, lifespan="off", access_log=False)).run()
