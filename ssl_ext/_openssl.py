"""What of OpenSSL can be had only past pyOpenSSL's public names, in one place.

These are long-standing functions of libssl and libcrypto, which pyOpenSSL binds and does not offer,
or offers at several times their price. Where a release should stop binding them, the answers here
become vague or slow, not wrong.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from errno import ENOMEM
from socket import socket
from typing import Any

from OpenSSL import SSL

from .states import RECORD

_lib: Any = getattr(SSL, "_lib", None)
_ffi: Any = getattr(SSL, "_ffi", None)

SSL_read: Any = getattr(_lib, "SSL_read", None)
SSL_write: Any = getattr(_lib, "SSL_write", None)
_probe = SSL.Connection(SSL.Context(SSL.TLS_METHOD))

# Whether these two may be called, as `sockets.records` does itself: it saves two calls for each
# message.
direct = (
    None not in (SSL_read, SSL_write)
    and all(hasattr(_ffi, name) for name in ("new", "buffer", "from_buffer"))
    and all(hasattr(_probe, name) for name in ("_ssl", "_from_ssl", "_raise_ssl_error"))
    and hasattr(_lib, "BIO_read")
)
del _probe

# Where records are decrypted into, as pairs of a C array and a view of it. Each is taken out while
# it is in use: OpenSSL runs without the interpreter's lock, and calls back into Python.
spare: list[tuple[Any, Any]] = []


def read(connection: SSL.Connection, size: int) -> bytes:
    """Do what `connection.recv(size)` does (SSL_read(3)), for no more than a record's 16,384 bytes.

    pyOpenSSL allocates memory for all that is asked for each time, and looks for an error after
    every success: together more than OpenSSL itself needs for a small record.
    """
    if not direct:
        return connection.recv(size)
    ssl = connection._ssl
    try:
        pair = spare.pop()
    except IndexError:
        array = _ffi.new("char[]", RECORD)
        pair = array, _ffi.buffer(array)
    try:
        count = SSL_read(ssl, pair[0], size if size < RECORD else RECORD)
        if count > 0:
            data: bytes = pair[1][:count]
            return data
    finally:
        spare.append(pair)
    connection._raise_ssl_error(ssl, count)
    return b""


def write(connection: SSL.Connection, data: Any) -> int:
    """Do what `connection.send(data)` does (SSL_write(3)), which looks for errors likewise."""
    if not direct:
        return connection.send(data)
    count: int
    if type(data) is bytes:
        count = SSL_write(connection._ssl, data, len(data))
    else:
        with _ffi.from_buffer(data) as held:  # it must not move or shrink meanwhile
            count = SSL_write(connection._ssl, held, len(held))
    if count <= 0:
        connection._raise_ssl_error(connection._ssl, count)
    return count


def said(connection: SSL.Connection) -> bytes:
    """Return the records that a connection over memory buffers has to say (BIO_read(3)).

    pyOpenSSL allocates memory for all that is asked for, and raises when there is nothing more.
    """
    pieces = []
    if not (direct and spare):
        try:
            while True:
                pieces.append(connection.bio_read(RECORD))
        except SSL.WantReadError:
            return b"".join(pieces)
    pair, output = spare.pop(), connection._from_ssl
    count = RECORD
    while count == RECORD:
        count = _lib.BIO_read(output, pair[0], RECORD)
        if count > 0:
            pieces.append(pair[1][:count])
    spare.append(pair)
    return b"".join(pieces)


# Whether a connection can begin on memory and go on at a socket.
moves = all(hasattr(_lib, name) for name in ("SSL_set_fd", "SSL_clear_mode", "SSL_MODE_AUTO_RETRY"))


def work_on_socket(connection: SSL.Connection, sock: socket) -> None:
    """Have a connection that worked on memory work on a socket from now on (SSL_set_fd(3)).

    Raises `OSError` if there is no memory for that.
    """
    if not _lib.SSL_set_fd(connection._ssl, sock.fileno()):
        _lib.ERR_clear_error()
        raise OSError(ENOMEM, os.strerror(ENOMEM))
    private: Any = connection
    private._socket, private._into_ssl, private._from_ssl = sock, None, None


def read_by_records(connection: SSL.Connection) -> None:
    """Have a read end with a record, whatever that holds (SSL_CTX_set_mode(3)).

    pyOpenSSL sets SSL_MODE_AUTO_RETRY, with which it lasts until there is data or the kernel has
    nothing more: a peer that sends records without data decides how long.
    """
    if moves:
        _lib.SSL_clear_mode(connection._ssl, _lib.SSL_MODE_AUTO_RETRY)


# X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS and X509_CHECK_FLAG_NEVER_CHECK_SUBJECT (x509v3.h): a star
# is a whole label, and a common name is no host's (RFC 9525 sections 6.3 and 2).
_HOST_FLAGS = 0x4 | 0x20


def expect_host(connection: SSL.Connection, name: bytes) -> bool:
    """Have a handshake fail unless the certificate is for a host, by its name in ASCII
    (X509_VERIFY_PARAM_set1_host(3)); tell whether it will."""
    try:
        parameters = _lib.SSL_get0_param(connection._ssl)
        _lib.X509_VERIFY_PARAM_set_hostflags(parameters, _HOST_FLAGS)
        return bool(_lib.X509_VERIFY_PARAM_set1_host(parameters, name, len(name)))
    except AttributeError:
        return False


def expect_address(connection: SSL.Connection, packed: bytes) -> bool:
    """Have a handshake fail unless the certificate is for an address of 4 or 16 bytes
    (X509_VERIFY_PARAM_set1_ip(3)); tell whether it will."""
    try:
        parameters = _lib.SSL_get0_param(connection._ssl)
        return bool(_lib.X509_VERIFY_PARAM_set1_ip(parameters, packed, len(packed)))
    except AttributeError:
        return False


# X509_V_ERR_CERT_REJECTED (x509_vfy.h), of which the alert is bad_certificate.
_REJECTED = 28


def tell_rejections(context: SSL.Context) -> None:
    """Have the alert of a certificate that the verify callback of a client's context refuses, and
    OpenSSL does not, be bad_certificate (X509_STORE_CTX_set_error(3)): without a reason, it is
    internal_error."""
    try:
        private: Any = context
        ask = private._verify_helper.callback

        def verify(fine: int, store: object) -> int:
            answer: int = ask(fine, store)
            if fine and not answer:
                _lib.X509_STORE_CTX_set_error(store, _REJECTED)
            return answer

        callback = _ffi.callback("int (*)(int, X509_STORE_CTX *)", verify)
        _lib.SSL_CTX_set_verify(private._context, SSL.VERIFY_PEER, callback)
        private._verify_callback = callback  # OpenSSL does not keep it
    except (AttributeError, TypeError):
        pass


def refuse_hosts(context: SSL.Context, alert: Callable[[SSL.Connection], int | None]) -> None:
    """Have a server's handshake end where the callback for SNI, which the context has already,
    leaves `alert` with a number (SSL_CTX_set_tlsext_servername_callback(3)).

    pyOpenSSL's callbacks can't refuse a name, but by an exception, which is printed.
    """
    try:
        private: Any = context
        choose = private._tlsext_servername_callback
        connections = SSL.Connection._reverse_mapping

        def answer(ssl: object, number: Any, argument: object) -> int:
            found: int = choose(ssl, number, argument)
            wanted = alert(connections[ssl])
            if wanted is None:
                return found
            number[0] = wanted
            return int(_lib.SSL_TLSEXT_ERR_ALERT_FATAL)

        callback = _ffi.callback("int (*)(SSL *, int *, void *)", answer)
        _lib.SSL_CTX_set_tlsext_servername_callback(private._context, callback)
        private._tlsext_servername_callback = callback  # OpenSSL does not keep it
    except (AttributeError, TypeError):
        pass


def verify_result(connection: SSL.Connection) -> int:
    """Return the X509_V_ERR number of a handshake, 0 for none (SSL_get_verify_result(3))."""
    try:
        found: int = _lib.SSL_get_verify_result(connection._ssl)
    except AttributeError:
        return 0
    return found


def has_certificate(connection: SSL.Connection) -> bool:
    """Tell whether the peer may have shown a certificate (SSL_get1_peer_certificate(3))."""
    try:
        found = _lib.SSL_get_peer_certificate(connection._ssl)
        if found == _ffi.NULL:
            return False
        _lib.X509_free(found)
    except AttributeError:
        pass
    return True


def session_reused(connection: SSL.Connection) -> bool | None:
    """Tell whether a handshake was abbreviated (SSL_session_reused(3)); `None`: not known."""
    try:
        return bool(_lib.SSL_session_reused(connection._ssl))
    except AttributeError:
        return None


def verify_error_text(code: int) -> str:
    """Return the text of an X509_V_ERR number (X509_verify_cert_error_string(3))."""
    try:
        text: bytes = _ffi.string(_lib.X509_verify_cert_error_string(code))
    except AttributeError:
        return f"verification error {code}"
    return text.decode("ascii", "replace")


def use_groups(context: SSL.Context, *lists: Iterable[str]) -> bool:
    """Agree to no other groups for the key exchange than those of the first list that OpenSSL
    knows throughout (SSL_CTX_set1_groups_list(3), by its older name); tell whether there was one.
    """
    try:
        for names in lists:
            if _lib.SSL_CTX_set1_curves_list(context._context, ":".join(names).encode("ascii")):
                return True
            _lib.ERR_clear_error()
    except AttributeError:
        pass
    return False
