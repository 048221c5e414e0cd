"""A real SMTP server (aiosmtpd) for tests: server.py FOLDER

Listens on a free port of the loopback interface and writes it to FOLDER/port. Each accepted message is a file in
FOLDER/accepted, written and flushed before the answer 250. If FOLDER/answer exists, its text is the answer to DATA instead
(for example "451 try later"), and the message is written to FOLDER/refused. Ends when its standard input is closed.
"""

import asyncio
import itertools
import os
import pathlib
import sys

from aiosmtpd.smtp import SMTP

folder = pathlib.Path(sys.argv[1])
numbers = itertools.count(1)


def write(kind, envelope):
    target = folder / kind
    target.mkdir(exist_ok=True)
    name = f"{next(numbers):06}"
    unfinished = target / f"{name}.part"
    with open(unfinished, "wb") as file:
        file.write(envelope.original_content or envelope.content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(target / f"{name}.eml")


class Handler:
    async def handle_DATA(self, server, session, envelope):
        answer = folder / "answer"
        if answer.exists():
            write("refused", envelope)
            return answer.read_text().strip()
        write("accepted", envelope)
        return "250 OK"


async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(Handler(), enable_SMTPUTF8=True), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    (folder / "port.part").write_text(str(port))
    (folder / "port.part").rename(folder / "port")
    # The test closes this pipe when it ends, also if it is killed.
    await loop.run_in_executor(None, sys.stdin.read)
    os._exit(0)


asyncio.run(main())
