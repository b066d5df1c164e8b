"""A TCP proxy that can be cut: between the services and a server, so that a network fails without a packet filter."""

import asyncio
import socket
import threading


def free_port():
    """A port of the loopback that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Proxy:
    """Listens on a free port of the loopback and passes everything on to `target`, unless it is cut or silent."""

    def __init__(self, target):
        self.target, self.is_silent, self.writers, self.server = target, False, set(), None
        self.port = free_port()
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.open()

    def _wait(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(10)

    def open(self):
        """Everything passes."""
        self.is_silent = False
        if self.server is None:
            self._wait(self._listen())

    def cut(self):
        """Connections are reset, and new ones are refused."""
        self._wait(self._close())

    def silence(self):
        """Connections stay and nothing passes; what is sent is lost, with the connections, when it opens again."""
        self.is_silent = True

    async def _listen(self):
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def _close(self):
        if self.server is not None:
            self.server.close()
            self.server = None
        for writer in list(self.writers):
            writer.transport.abort()

    async def _serve(self, reader, writer):
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, far_writer}
        self.writers |= ends
        for end in ends:
            end.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ways = [
            asyncio.create_task(self._pass(reader, far_writer)),
            asyncio.create_task(self._pass(far_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.writers -= ends
            for end in ends:
                end.transport.abort()
            for way in ways:
                way.cancel()

    async def _pass(self, reader, writer):
        lost = False
        try:
            while data := await reader.read(65536):
                if self.is_silent:
                    lost = True
                elif lost:
                    return
                else:
                    writer.write(data)
                    await writer.drain()
        except OSError:
            return
