"""What the programs of the gallery share: a legacy server, Twisted's reactor, tasks, and the loop.

Each program serves a modern protocol on one port, and on another one what was there before: a line
server of asynchat's. Both are in one process, on one thread, and look at the same objects.
"""

import asynchat
import asyncore
import atexit
import datetime
import importlib
import os
import shutil
import sys
import tempfile

import compat

ports = {}  # by name, those that are listened on


def announce(name, port):
    """Say where something listens."""
    ports[name] = port
    print(f"{name} on port {port}", flush=True)


class LineChannel(asynchat.async_chat):
    """Answers lines; "quit" ends the connection."""

    def __init__(self, sock, answer):
        asynchat.async_chat.__init__(self, sock)
        self.answer = answer
        self.set_terminator(b"\n")

    def collect_incoming_data(self, data):
        self._collect_incoming_data(data)

    def found_terminator(self):
        line = self._get_data().decode().strip()
        if line == "quit":
            self.close_when_done()
            return
        answer = self.answer(line)
        if isinstance(answer, str):
            self.tell(answer)
        else:
            answer.addCallback(self.tell)

    def tell(self, answer):
        self.push(f"{answer}\r\n".encode())


class LineServer(asyncore.dispatcher):
    """The legacy server: `answer` is given each line, and returns a `str` or a Deferred of one."""

    def __init__(self, name, port, answer):
        asyncore.dispatcher.__init__(self)
        self.answer = answer
        self.create_socket()
        self.set_reuse_addr()
        self.bind(("127.0.0.1", port))
        self.listen(16)
        announce(f"{name} legacy", self.socket.getsockname()[1])

    def handle_accepted(self, sock, addr):
        LineChannel(sock, self.answer)


def install_reactor():
    """Return Twisted's reactor: one on this loop, or the one that `--engine twisted` waits in.

    To be called before anything of Twisted's is imported, for some of it wants a reactor.
    """
    engine = os.environ.get("ASYNCCORE_ENGINE")
    if engine != "twisted" and "twisted.internet.reactor" not in sys.modules:
        compat.install_reactor()
    return importlib.import_module("twisted.internet.reactor")


def listen(name, port, factory):
    """Serve a factory of Twisted's, and return the port."""
    factory.noisy = False
    listening = install_reactor().listenTCP(port, factory, interface="127.0.0.1")
    announce(name, listening.getHost().port)
    return listening


tasks = set()


def spawn(coroutine):
    """Run a coroutine on this loop. asyncio keeps no task alive, so it is kept here."""
    task = compat.run_coroutine(coroutine)
    tasks.add(task)
    task.add_done_callback(finished)
    return task


def finished(task):
    tasks.discard(task)
    task.result()  # raises what the task has raised, which is logged


def new_folder():
    """Return the path of an empty folder, which goes when the program ends."""
    path = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def certificate():
    """Return a file with a key and a certificate for localhost, which are made for this run."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path = os.path.join(new_folder(), "localhost.pem")
    with open(path, "wb") as file:
        file.write(key.private_bytes(pem, *plain) + made.public_bytes(pem))
    return path


def run(start):
    """Start a program with the ports of the command line, and run it."""
    start(*map(int, sys.argv[1:]))
    run_loop()


def run_loop():
    """Run the loop until Ctrl-C."""
    try:
        asyncore.loop()
    except KeyboardInterrupt:
        print("stopped")
