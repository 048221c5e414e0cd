"""Serves localstripe (a fake Stripe by others, https://github.com/adrienverge/localstripe) on the loopback, as it is.

Its own command listens on all addresses and keeps its objects in one file for all users; a test wants neither.
"""

import asyncio

from aiohttp import web
from localstripe import resources, server


async def main():
    resources.store.dump_to_disk = lambda: None
    runner = web.AppRunner(server.app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(site._server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
