"""What is no longer in the standard library of a version, and what serves instead."""

from __future__ import annotations

import functools

from . import removed_names

Version = tuple[int, int]


@functools.cache
def _table(name: str) -> dict[str, Version]:
    groups: dict[Version, str] = getattr(removed_names, name)
    return {key: version for version, keys in groups.items() for key in keys.split()}


@functools.cache
def _methods() -> dict[str, tuple[str, Version]]:
    """Return the removed methods by their names alone, with a class that had each."""
    return {full.rpartition(".")[2]: (full, version) for full, version in _table("METHODS").items()}


def _gone(version: Version | None, target: Version) -> Version | None:
    return version if version is not None and version <= target else None


def module(name: str, target: Version) -> Version | None:
    """Return the version that removed a module, if that is the target or an earlier one."""
    found = _table("MODULES").get(name)
    head, _, last = name.partition(".")
    if head == "email" and last[:1].isupper() and "." not in last:
        found = (3, 0)  # Python 2.5 to 2.7 took both spellings of its modules.
    return _gone(found, target) if name not in _LEGACY else None


# These are asynccore's business: `asynccore run` brings them along.
_LEGACY = ("asyncore", "asynchat", "smtpd")


def name(dotted: str, target: Version) -> Version | None:
    """Return the version that removed a name of a module that is still there."""
    return _gone(_table("NAMES").get(dotted), target)


def builtin(plain: str, target: Version) -> Version | None:
    """Return the version that removed a built-in name."""
    return name(f"builtins.{plain}", target)


def method(plain: str, target: Version) -> tuple[str, Version] | None:
    """Return the class and method of that name that are no more, and since when."""
    found = _methods().get(plain)
    return found if found is not None and found[1] <= target else None


def remedy(dotted: str) -> str | None:
    """Return what serves instead of a module or a name; None if only What's New tells."""
    if dotted in _INSTEAD:
        return _INSTEAD[dotted]
    if dotted in removed_names.RENAMED:
        return f"since Python 3 it is {removed_names.RENAMED[dotted]}"
    head, _, last = dotted.rpartition(".")
    if head == "string":
        return f"it is a method: s.{last}(…)" if last in dir(str) else None
    if head == "collections":
        return f"it is collections.abc.{last}"
    if head == "email" and last[:1].isupper():
        mime = last.startswith("MIME") and last != "MIME"
        return f"it is email.{'mime.' + last[4:].lower() if mime else last.lower()}"
    if head == "types" and last.endswith("Type"):
        return "write the type itself: str, int, dict …"
    if dotted in _BACK:
        return f"pip install {_BACK[dotted]} brings it back"
    return None


# Packages of the index that are the removed module, under its name.
_BACK = {
    **{
        name: f"standard-{name}"
        for name in (
            *("aifc", "cgi", "cgitb", "chunk", "crypt", "imghdr", "mailcap", "nntplib", "pipes"),
            *("sndhdr", "sunau", "telnetlib", "uu", "xdrlib"),
        )
    },
    "audioop": "audioop-lts",
}

# From PEP 594, and from "Removed" and "Porting" in What's New of the version concerned.
_INSTEAD = {
    "asyncio.coroutine": "write async def, and await for yield from",
    "asyncio.coroutines.coroutine": "write async def, and await for yield from",
    "base64.decodestring": "it is base64.decodebytes",
    "base64.encodestring": "it is base64.encodebytes",
    "builtins.apply": "write function(*arguments)",
    "builtins.basestring": "it is str",
    "builtins.buffer": "it is memoryview",
    "builtins.cmp": "write (a > b) - (a < b), or a key function",
    "builtins.coerce": "leave it out",
    "builtins.execfile": "write exec(compile(open(file).read(), file, 'exec'))",
    "builtins.file": "it is open",
    "builtins.intern": "it is sys.intern",
    "builtins.long": "it is int",
    "builtins.raw_input": "it is input",
    "builtins.reduce": "it is functools.reduce",
    "builtins.reload": "it is importlib.reload",
    "builtins.unichr": "it is chr",
    "builtins.unicode": "it is str",
    "builtins.xrange": "it is range",
    "builtins.StandardError": "it is Exception",
    "builtins.dict.has_key": "write key in dict",
    **{f"builtins.dict.iter{what}": f"it is dict.{what}" for what in ("items", "keys", "values")},
    **{f"builtins.dict.view{what}": f"it is dict.{what}" for what in ("items", "keys", "values")},
    "cStringIO": "it is io.StringIO for text, and io.BytesIO for bytes",
    "StringIO": "it is io.StringIO for text, and io.BytesIO for bytes",
    "cgi": "html.escape and urllib.parse serve for its functions; pip install legacy-cgi brings it"
    " back",
    "cgi.escape": "it is html.escape",
    "cgitb": "pip install legacy-cgi brings it back",
    "commands": "subprocess.getoutput and getstatusoutput are its functions",
    "configparser.SafeConfigParser": "it is configparser.ConfigParser",
    "contextlib.nested": "write with a, b: or contextlib.ExitStack",
    "crypt": "hashlib.scrypt, or the package passlib; pip install crypt-r brings it back",
    "distutils": "pip install setuptools brings it back",
    "email.MIMEText": "it is email.mime.text",
    "exceptions": "its names are built in",
    "fractions.gcd": "it is math.gcd",
    "imp": "importlib does the same; pip install zombie-imp brings it back",
    "inspect.getargspec": "it is inspect.getfullargspec, or inspect.signature",
    "inspect.formatargspec": "it is inspect.signature",
    "itertools.ifilter": "it is the built-in filter",
    "itertools.ifilterfalse": "it is itertools.filterfalse",
    "itertools.imap": "it is the built-in map",
    "itertools.izip": "it is the built-in zip",
    "itertools.izip_longest": "it is itertools.zip_longest",
    "locale.format": "it is locale.format_string",
    "md5": "it is hashlib.md5",
    "mimetools": "the package email serves instead",
    "new": "types has its functions' types",
    "nntplib": "pip install standard-nntplib brings it back",
    "os.getcwdu": "it is os.getcwd",
    "os.popen2": "subprocess.Popen serves instead",
    "os.popen3": "subprocess.Popen serves instead",
    "os.popen4": "subprocess.Popen serves instead",
    "pipes": "subprocess serves instead, and shlex.quote for pipes.quote; pip install"
    " standard-pipes brings it back",
    "platform.dist": "the package distro serves instead",
    "platform.linux_distribution": "the package distro serves instead",
    "popen2": "subprocess.Popen serves instead",
    "rfc822": "email.message_from_file and email.utils serve instead",
    "sets": "set and frozenset are built in",
    "sha": "it is hashlib.sha1",
    "smtplib.SSLFakeFile": "it is no longer needed",
    "socket.socket.share": "it is there on Windows alone",
    "spwd": "the package python-pam serves instead",
    "ssl.match_hostname": "a context from ssl.create_default_context() checks host names itself",
    "ssl.wrap_socket": "write context.wrap_socket(…) with an ssl.SSLContext, or use"
    " ssl_ext.start_tls on the channel; 'asynccore port --step tls' rewrites it",
    "string.atof": "write float(s)",
    "string.atoi": "write int(s)",
    "string.atol": "write int(s)",
    "string.join": "write separator.join(words)",
    "string.joinfields": "write separator.join(words)",
    "string.letters": "it is string.ascii_letters",
    "string.lowercase": "it is string.ascii_lowercase",
    "string.maketrans": "it is str.maketrans, or bytes.maketrans",
    "string.splitfields": "it is a method: s.split(…)",
    "string.uppercase": "it is string.ascii_uppercase",
    "sys.exc_clear": "leave it out: an except clause clears what it caught",
    "sys.exc_type": "it is sys.exc_info()[0]",
    "sys.exc_value": "it is sys.exc_info()[1]",
    "sys.exc_traceback": "it is sys.exc_info()[2]",
    "sys.maxint": "it is sys.maxsize",
    "sys.setdefaultencoding": "leave it out",
    "telnetlib": "pip install standard-telnetlib brings it back; the package telnetlib3 serves"
    " instead",
    "thread": "use threading; thread itself is _thread",
    "threading.Thread.isAlive": "it is is_alive",
    "time.clock": "it is time.perf_counter, or time.process_time",
    "types.FunctionType.func_code": "it is __code__",
    "types.FunctionType.func_defaults": "it is __defaults__",
    "types.FunctionType.func_dict": "it is __dict__",
    "types.FunctionType.func_doc": "it is __doc__",
    "types.FunctionType.func_globals": "it is __globals__",
    "types.FunctionType.func_name": "it is __name__",
    "urllib.URLopener": "urllib.request.urlopen serves instead",
    "urllib2": "urllib.request and urllib.error hold its names",
    "UserDict": "it is collections.UserDict",
    "UserList": "it is collections.UserList",
    "UserString": "it is collections.UserString",
    "xml.etree.ElementTree.Element.getchildren": "write list(element)",
    "xml.etree.ElementTree.Element.getiterator": "it is iter",
}
