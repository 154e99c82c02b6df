"""SSH: a server by asyncssh whose commands are child processes, and one that is not.

asynccore run examples/gallery/ssh_server.py [port [legacy port]]
ssh -p 8022 ann@localhost python            (the password is "secret")
"""

import asyncio
import subprocess
import sys

import asyncssh

from common import LineServer, announce, run, spawn

COMMANDS = {
    "python": [sys.executable, "-c", "import sys; print(*sys.version_info[:2], sep='.')"],
    "upper": [sys.executable, "-c", "import sys; sys.stdout.write(sys.stdin.read().upper())"],
    "fail": [sys.executable, "-c", "import sys; sys.exit('no, ' + 'never')"],
}
notes = []


class Server(asyncssh.SSHServer):
    def password_auth_supported(self):
        return True

    def validate_password(self, username, password):
        return (username, password) == ("ann", "secret")


async def serve_command(process):
    if process.command == "notes":
        process.stdout.write("".join(f"{note}\n" for note in notes))
        process.exit(0)
    elif process.command in COMMANDS:
        pipe = subprocess.PIPE
        words = COMMANDS[process.command]
        child = await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe, stderr=pipe)
        await process.redirect(stdin=child.stdin, stdout=child.stdout, stderr=child.stderr)
        process.exit(await child.wait())
        await process.wait_closed()
    else:
        process.stderr.write(f"one of {', '.join(['notes', *COMMANDS])}, please\n")
        process.exit(127)


async def serve(port):
    server = await asyncssh.create_server(
        Server,
        "127.0.0.1",
        port,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        process_factory=serve_command,
    )
    announce("ssh_server", server.sockets[0].getsockname()[1])


def start(port=8022, legacy_port=7022):
    def note(line):
        notes.append(line)
        return f"{len(notes)} notes"

    LineServer("ssh_server", legacy_port, note)
    spawn(serve(port))


if __name__ == "__main__":
    run(start)
