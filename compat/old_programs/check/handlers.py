"""What runs and deserves a look: handlers that wait, threads, predicates, TLS by hand."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .program import Class, Function, Program

# What the loop calls, in which nothing else is served.
_HANDLERS = (
    *("handle_read", "handle_write", "handle_connect", "handle_accept", "handle_accepted"),
    *("handle_close", "handle_error", "handle_expt", "collect_incoming_data"),
    *("found_terminator", "process_message", "readable", "writable"),
)

# What waits for somebody else, by its dotted name, in Python 2's spelling and 3's.
_WAITS = {
    "time.sleep", "os.system", "os.wait", "os.waitpid", "os.popen",
    "socket.gethostbyname", "socket.gethostbyaddr", "socket.getaddrinfo", "socket.getfqdn",
    "socket.create_connection",
    "subprocess.run", "subprocess.call", "subprocess.check_call", "subprocess.check_output",
    "subprocess.getoutput", "subprocess.getstatusoutput",
    "commands.getoutput", "commands.getstatusoutput",
    "urllib.urlopen", "urllib.urlretrieve", "urllib2.urlopen",
    "urllib.request.urlopen", "urllib.request.urlretrieve",
    "smtplib.SMTP", "smtplib.SMTP_SSL", "ftplib.FTP", "poplib.POP3", "imaplib.IMAP4",
    "telnetlib.Telnet", "input", "raw_input",
    "requests.get", "requests.post", "requests.put", "requests.delete", "requests.head",
    "requests.request",
    "MySQLdb.connect", "pymysql.connect", "psycopg2.connect", "pymssql.connect",
    "cx_Oracle.connect", "mysql.connector.connect", "sqlite3.connect",
}  # fmt: skip

# What changes a channel, or its map. A socket has `send`, too, and a program's own names.
_ON_CHANNELS = {
    "push", "send", "close_when_done", "push_with_producer", "set_terminator", "add_channel",
    "del_channel",
}  # fmt: skip

# Calls in a predicate that change something, by the method's name.
_CHANGES = {
    "send", "recv", "close", "push", "append", "pop", "remove", "insert", "extend", "clear",
    "update", "write", "flush", "accept", "connect", "del_channel", "add_channel",
    "initiate_send", "refill_buffer",
}  # fmt: skip


def look(program: Program) -> None:
    """Add what deserves a look."""
    if program.tree is None or not program.imports_any("asyncore", "asynchat", "smtpd"):
        return
    channels = [found for found in program.classes.values() if found.kind is not None]
    for found in channels:
        if not program.lives(found.node):
            continue
        _blocking(program, found)
        _predicates(program, found)
        _accepting(program, found)
        _unbounded(program, found, channels)
        _tls(program, found)
    _no_handle_error(program, channels)
    _threads(program)
    _loops(program)


def _calls(program: Program, node: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    for inner in program.walk(node):
        if isinstance(inner, ast.Call):
            yield inner, program.dotted(inner.func) or ""


def _blocking(program: Program, found: Class) -> None:
    names = [n for n in found.methods if n in _HANDLERS or n.startswith(("handle_", "smtp_"))]
    reached = set(names)
    while names:
        method = found.methods[names.pop()]
        for call, dotted in _calls(program, method):
            if dotted.startswith("self.") and dotted[5:] in found.methods.keys() - reached:
                reached.add(dotted[5:])
                names.append(dotted[5:])
            if dotted in _WAITS:
                program.add(call, "AC305", f"{dotted}() in {found.node.name}.{method.name}")
            elif (
                isinstance(call.func, ast.Attribute)
                and call.func.attr in ("communicate", "wait")
                and program.imports_any("subprocess", "popen2")
            ):
                what = f".{call.func.attr}() in {found.node.name}.{method.name}"
                program.add(call, "AC305", what)


def _predicates(program: Program, found: Class) -> None:
    for name in ("readable", "writable"):
        method = found.methods.get(name)
        if method is None:
            continue
        for node in program.walk(method):
            changes = (
                isinstance(node, (ast.Attribute, ast.Subscript))
                and not isinstance(node.ctx, ast.Load)
            ) or (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and (node.func.attr in _CHANGES or node.func.attr.startswith("handle_"))
            )
            if changes:
                program.add(method, "AC304", f"{found.node.name}.{name}")
                break


def _accepting(program: Program, found: Class) -> None:
    """Add an accept() whose result is unpacked without a look whether there is any."""
    method = found.methods.get("handle_accept")
    if method is None:
        return
    for node in program.walk(method):
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Tuple)
            and ast.unparse(node.value) == "self.accept()"
            and not program.catches(node, "TypeError")
        ):
            program.add(node, "AC309", f"{found.node.name}.handle_accept unpacks accept()")


def _unbounded(program: Program, found: Class, channels: list[Class]) -> None:
    method = found.methods.get("collect_incoming_data")
    if method is None or found.kind != "asynchat.async_chat":
        return
    for node in ast.walk(found.node):
        if isinstance(node, ast.Name) and node.id == "max_line_length":
            return
        if isinstance(node, ast.Attribute) and node.attr == "max_line_length":
            return
    if not _is_delimited(program, found):
        return
    keeps = False
    for node in program.walk(method):
        if isinstance(node, (ast.If, ast.IfExp)) and any(
            isinstance(inner, (ast.Gt, ast.GtE, ast.Lt, ast.LtE)) for inner in ast.walk(node.test)
        ):
            return
        keeps = (
            keeps
            or isinstance(node, (ast.Assign, ast.AugAssign))
            or (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in ("append", "write", "_collect_incoming_data")
            )
        )
    if keeps:
        program.add(method, "AC306", f"{found.node.name}.collect_incoming_data keeps everything")


def _is_delimited(program: Program, found: Class) -> bool:
    """Whether input may be ended by a string, or by nothing; numbers end by themselves."""
    given = [
        call.args[0]
        for call, dotted in _calls(program, found.node)
        if dotted.endswith(".set_terminator") and call.args
    ]
    return not given or any(
        isinstance(node, ast.Constant) and not isinstance(node.value, int) for node in given
    )


def _tls(program: Program, found: Class) -> None:
    for node in program.walk(found.node):
        if isinstance(node, ast.Attribute) and node.attr in (
            "do_handshake",
            "SSL_ERROR_WANT_READ",
            "SSLWantReadError",
        ):
            program.add(node, "AC301", f"{found.node.name} makes the handshake itself")
            return


def _no_handle_error(program: Program, channels: list[Class]) -> None:
    living = [found for found in channels if program.lives(found.node)]
    handled = any("handle_error" in found.methods for found in living)
    if living and not handled and not program.handles_errors:
        names = ", ".join(found.node.name for found in living)
        program.add(living[0].node, "AC307", names)


def _threads(program: Program) -> None:
    if not program.imports_any("threading", "thread", "_thread"):
        return
    for target, name in _thread_bodies(program):
        # What the thread makes itself is most often a socket, and nobody else's.
        own = {
            node.id
            for node in ast.walk(target)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        for call, dotted in _calls(program, target):
            if dotted == "asyncore.loop":
                continue
            if isinstance(call.func, ast.Attribute) and call.func.attr in _ON_CHANNELS:
                owner = call.func.value
                made = call.func.attr == "send" and isinstance(owner, ast.Name) and owner.id in own
                if not made and not _is_plain_socket(owner):
                    program.add(call, "AC302", f".{call.func.attr}() in a thread ({name})")
    for call, dotted in _calls(program, program.tree or ast.Module([], [])):
        if dotted in ("threading.Thread", "thread.start_new_thread", "_thread.start_new_thread"):
            for arg in (*call.args, *(keyword.value for keyword in call.keywords)):
                if program.dotted(arg) == "asyncore.loop":
                    program.add(call, "AC302", "asyncore.loop() in a thread of its own")


def _is_plain_socket(node: ast.expr) -> bool:
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    return "sock" in str(name).lower()


def _thread_bodies(program: Program) -> Iterator[tuple[Function, str]]:
    """Return the functions that run in threads."""
    functions: dict[str, Function] = {}
    for node in program.walk():
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            functions.setdefault(node.name, node)
    for found in program.classes.values():
        if "threading.Thread" in found.bases and "run" in found.methods:
            yield found.methods["run"], f"{found.node.name}.run"
    for call, dotted in _calls(program, program.tree or ast.Module([], [])):
        target: ast.expr | None = None
        if dotted in ("threading.Thread", "threading.Timer"):
            wanted = ("target",) if dotted.endswith("Thread") else ("function",)
            target = next((k.value for k in call.keywords if k.arg in wanted), None)
            if target is None and len(call.args) > 1:
                target = call.args[1]
        elif dotted in ("thread.start_new_thread", "_thread.start_new_thread") and call.args:
            target = call.args[0]
        name = getattr(target, "attr", getattr(target, "id", None))
        if name in functions:
            yield functions[name], name


def _loops(program: Program) -> None:
    for node in program.walk():
        if isinstance(node, ast.While):
            for call, dotted in _calls(program, node):
                if dotted in ("asyncore.loop", "asyncore.poll", "asyncore.poll2"):
                    bounded = (
                        dotted != "asyncore.loop"
                        or any(keyword.arg == "count" for keyword in call.keywords)
                        or len(call.args) >= 4
                    )
                    if bounded:
                        program.add(call, "AC308", f"{dotted}() in a loop of the program's own")
        elif isinstance(node, ast.Call):
            dotted = program.dotted(node.func) or ""
            if dotted == "select.select" or (dotted.endswith(".poll") and dotted[:8] != "asyncore"):
                scope = program.function_of(node)
                if scope is not None and "socket_map" in ast.unparse(scope):
                    program.add(node, "AC303", f"{dotted}() over socket_map")
            elif dotted == "socket.fromfd":
                program.add(node, "AC310", "socket.fromfd()")
