"""The surface of the classic modules in Python 3.10 and 3.11, where 3.12 has no module to ask.

One line for each name; "3.10 " or "3.11 " in front of what only that version had. On these two
versions a test compares the table with the standard library itself.
"""

# ruff: noqa: E501

from __future__ import annotations

SURFACE = {
    "asyncore": """\
EAGAIN: name
EALREADY: name
EBADF: name
ECONNABORTED: name
ECONNRESET: name
EINPROGRESS: name
EINVAL: name
EISCONN: name
ENOTCONN: name
EPIPE: name
ESHUTDOWN: name
EWOULDBLOCK: name
ExitNow: class
3.11 _DEPRECATION_MSG: name
_DISCONNECTED: name
_exception(obj)
_reraised_exceptions: name
_strerror(err)
close_all(map=None, ignore_all=False)
compact_traceback()
dispatcher.__init__(self, sock=None, map=None)
dispatcher.__repr__(self)
dispatcher.accept(self)
dispatcher.accepting: name
dispatcher.add_channel(self, map=None)
dispatcher.addr: name
dispatcher.bind(self, addr)
dispatcher.close(self)
dispatcher.closing: name
dispatcher.connect(self, address)
dispatcher.connected: name
dispatcher.connecting: name
dispatcher.create_socket(self, family=2, type=1)
dispatcher.debug: name
dispatcher.del_channel(self, map=None)
dispatcher.handle_accept(self)
dispatcher.handle_accepted(self, sock, addr)
dispatcher.handle_close(self)
dispatcher.handle_connect(self)
dispatcher.handle_connect_event(self)
dispatcher.handle_error(self)
dispatcher.handle_expt(self)
dispatcher.handle_expt_event(self)
dispatcher.handle_read(self)
dispatcher.handle_read_event(self)
dispatcher.handle_write(self)
dispatcher.handle_write_event(self)
dispatcher.ignore_log_types: name
dispatcher.listen(self, num)
dispatcher.log(self, message)
dispatcher.log_info(self, message, type='info')
dispatcher.readable(self)
dispatcher.recv(self, buffer_size)
dispatcher.send(self, data)
dispatcher.set_reuse_addr(self)
dispatcher.set_socket(self, sock, map=None)
dispatcher.writable(self)
dispatcher: class
dispatcher_with_send.__init__(self, sock=None, map=None)
dispatcher_with_send.handle_write(self)
dispatcher_with_send.initiate_send(self)
dispatcher_with_send.send(self, data)
dispatcher_with_send.writable(self)
dispatcher_with_send: class
errorcode: name
file_dispatcher.__init__(self, fd, map=None)
file_dispatcher.set_file(self, fd)
file_dispatcher: class
file_wrapper.__del__(self)
file_wrapper.__init__(self, fd)
file_wrapper.close(self)
file_wrapper.fileno(self)
file_wrapper.getsockopt(self, level, optname, buflen=None)
file_wrapper.read(self, *args)
file_wrapper.recv(self, *args)
file_wrapper.send(self, *args)
file_wrapper.write(self, *args)
file_wrapper: class
loop(timeout=30.0, use_poll=False, map=None, count=None)
os: name
poll(timeout=0.0, map=None)
poll2(timeout=0.0, map=None)
poll3(timeout=0.0, map=None)
read(obj)
readwrite(obj, flags)
select: name
socket: name
socket_map: name
sys: name
time: name
warnings: name
write(obj)
""",
    "asynchat": """\
3.11 _DEPRECATION_MSG: name
3.11 _deprecated: name
async_chat.__init__(self, sock=None, map=None)
async_chat._collect_incoming_data(self, data)
async_chat._get_data(self)
async_chat.ac_in_buffer_size: name
async_chat.ac_out_buffer_size: name
async_chat.close_when_done(self)
async_chat.collect_incoming_data(self, data)
async_chat.discard_buffers(self)
async_chat.encoding: name
async_chat.found_terminator(self)
async_chat.get_terminator(self)
async_chat.handle_close(self)
async_chat.handle_read(self)
async_chat.handle_write(self)
async_chat.initiate_send(self)
async_chat.push(self, data)
async_chat.push_with_producer(self, producer)
async_chat.readable(self)
async_chat.set_terminator(self, term)
async_chat.use_encoding: name
async_chat.writable(self)
async_chat: class
asyncore: name
deque: name
find_prefix_at_end(haystack, needle)
simple_producer.__init__(self, data, buffer_size=512)
simple_producer.more(self)
simple_producer: class
3.10 warn: name
""",
    "smtpd": """\
COMMASPACE: name
DATA_SIZE_DEFAULT: name
DEBUGSTREAM: name
DebuggingServer._print_message_content(self, peer, data)
DebuggingServer.process_message(self, peer, mailfrom, rcpttos, data, **kwargs)
DebuggingServer: class
Devnull.flush(self)
Devnull.write(self, msg)
Devnull: class
3.10 MailmanProxy.__init__(self, *args, **kwargs)
3.10 MailmanProxy.process_message(self, peer, mailfrom, rcpttos, data)
3.10 MailmanProxy: class
NEWLINE: name
Options.classname: name
Options.enable_SMTPUTF8: name
Options.setuid: name
Options.size_limit: name
Options: class
PureProxy.__init__(self, *args, **kwargs)
PureProxy._deliver(self, mailfrom, rcpttos, data)
PureProxy.process_message(self, peer, mailfrom, rcpttos, data)
PureProxy: class
SMTPChannel.COMMAND: name
SMTPChannel.DATA: name
SMTPChannel._SMTPChannel__addr: property
SMTPChannel._SMTPChannel__conn: property
SMTPChannel._SMTPChannel__data: property
SMTPChannel._SMTPChannel__fqdn: property
SMTPChannel._SMTPChannel__greeting: property
SMTPChannel._SMTPChannel__line: property
SMTPChannel._SMTPChannel__mailfrom: property
SMTPChannel._SMTPChannel__peer: property
SMTPChannel._SMTPChannel__rcpttos: property
SMTPChannel._SMTPChannel__server: property
SMTPChannel._SMTPChannel__state: property
SMTPChannel.__init__(self, server, conn, addr, data_size_limit=33554432, map=None, enable_SMTPUTF8=False, decode_data=False)
SMTPChannel._getaddr(self, arg)
SMTPChannel._getparams(self, params)
SMTPChannel._set_post_data_state(self)
SMTPChannel._set_rset_state(self)
SMTPChannel._strip_command_keyword(self, keyword, arg)
SMTPChannel.collect_incoming_data(self, data)
SMTPChannel.command_size_limit: name
SMTPChannel.command_size_limits: name
SMTPChannel.found_terminator(self)
SMTPChannel.max_command_size_limit: property
SMTPChannel.push(self, msg)
SMTPChannel.smtp_DATA(self, arg)
SMTPChannel.smtp_EHLO(self, arg)
SMTPChannel.smtp_EXPN(self, arg)
SMTPChannel.smtp_HELO(self, arg)
SMTPChannel.smtp_HELP(self, arg)
SMTPChannel.smtp_MAIL(self, arg)
SMTPChannel.smtp_NOOP(self, arg)
SMTPChannel.smtp_QUIT(self, arg)
SMTPChannel.smtp_RCPT(self, arg)
SMTPChannel.smtp_RSET(self, arg)
SMTPChannel.smtp_VRFY(self, arg)
SMTPChannel: class
SMTPServer.__init__(self, localaddr, remoteaddr, data_size_limit=33554432, map=None, enable_SMTPUTF8=False, decode_data=False)
SMTPServer.channel_class: name
SMTPServer.handle_accepted(self, conn, addr)
SMTPServer.process_message(self, peer, mailfrom, rcpttos, data, **kwargs)
SMTPServer: class
3.11 _DEPRECATION_MSG: name
__all__: name
__version__: name
3.11 _deprecated: name
asynchat: name
asyncore: name
collections: name
errno: name
get_addr_spec: name
get_angle_addr: name
getopt: name
os: name
parseargs()
program: name
socket: name
sys: name
time: name
usage(code, msg='')
warn: name
""",
}

# What `from module import *` gives.
STAR = {
    "asyncore": """\
EAGAIN
EALREADY
EBADF
ECONNABORTED
ECONNRESET
EINPROGRESS
EINVAL
EISCONN
ENOTCONN
EPIPE
ESHUTDOWN
EWOULDBLOCK
ExitNow
close_all
compact_traceback
dispatcher
dispatcher_with_send
errorcode
file_dispatcher
file_wrapper
loop
os
poll
poll2
poll3
read
readwrite
select
socket
socket_map
sys
time
warnings
write
""",
    "asynchat": """\
async_chat
asyncore
deque
find_prefix_at_end
simple_producer
3.10 warn
""",
    "smtpd": """\
DebuggingServer
3.10 MailmanProxy
PureProxy
SMTPChannel
SMTPServer
""",
}


def lines(table: str, version: str | None = None) -> set[str]:
    """Return the lines of a table that hold for a version, by default of both together."""
    found = set()
    for line in table.splitlines():
        only, _, rest = line.partition(" ")
        if only not in ("3.10", "3.11"):
            found.add(line)
        elif version in (None, only):
            found.add(rest)
    return found
