"""hypercorn --bind fd://3 app:app, whose last answers on a connection say that they are."""
import asyncio
import signal

from hypercorn.asyncio import serve
from hypercorn.config import Config

from app import app

draining = False


async def announced(scope, receive, send):
    """The app; while the server drains, its answers say that they are the last on their connection."""

    async def announce(message):
        if draining and message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), (b"connection", b"close")]
        await send(message)

    await app(scope, receive, announce)


async def told_to_stop():
    global draining
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    await told.wait()
    draining = True
    loop.remove_reader(3)  # accepts no more; hypercorn forgets what it accepts while it stops
    await asyncio.sleep(0.5)  # for answers that have begun and say nothing yet


config = Config()
config.bind = ["fd://3"]
config.graceful_timeout = 7.5  # with the half second shorter than drain_timeout
asyncio.run(serve(announced, config, shutdown_trigger=told_to_stop))
