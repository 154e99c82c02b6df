"""What the standard library lost, and when.

Made by `tests.old_programs.make_removed_names`, from typeshed in mypy 0.971 and 2.4.1,
vermin 1.9.2 and fissix 24.4.24, without what these interpreters still have:
3.10, 3.11, 3.12, 3.13, 3.14, 3.15.
"""

from __future__ import annotations

# Modules, by the version that has them no more.
MODULES: dict[tuple[int, int], str] = {
    (3, 0): """
BaseHTTPServer CGIHTTPServer ConfigParser Cookie Dialog DocXMLRPCServer EasyDialogs FileDialog
HTMLParser Queue ScrolledText SimpleDialog SimpleHTTPServer SimpleXMLRPCServer SocketServer
StringIO Tix Tkconstants Tkdnd Tkinter UserDict UserList UserString __builtin__ _winreg anydbm
cPickle cStringIO commands cookielib copy_reg dbhash dircache dumbdbm dummy_thread
email.MIMEText exceptions future_builtins gdbm hotshot htmlentitydefs htmllib httplib markupbase
md5 mimetools mutex new os2emxpath popen2 repr rfc822 robotparser sets sgmllib sha stringold
strop thread tkColorChooser tkCommonDialog tkFileDialog tkFont tkMessageBox tkSimpleDialog
toaiff ttk urllib2 urlparse user whichdb xmlrpclib
    """,
    (3, 7): """
asyncio.compat macurl2path
    """,
    (3, 8): """
macpath
    """,
    (3, 9): """
dummy_threading
    """,
    (3, 10): """
formatter parser symbol
    """,
    (3, 11): """
binhex
    """,
    (3, 12): """
asynchat asyncore distutils imp smtpd
    """,
    (3, 13): """
aifc audioop cgi cgitb chunk crypt imghdr lib2to3 mailcap msilib msilib.schema msilib.sequence
msilib.text nis nntplib ossaudiodev pipes sndhdr spwd sunau telnetlib uu xdrlib
    """,
    (3, 15): """
sre_compile sre_constants sre_parse
    """,
}

# Names of modules that are still there.
NAMES: dict[tuple[int, int], str] = {
    (3, 0): """
ast.Exec ast.Print ast.Repr ast.TryExcept ast.TryFinally asynchat.fifo audioop.AdpcmState
audioop.RatecvState builtins.StandardError builtins.apply builtins.basestring builtins.buffer
builtins.cmp builtins.coerce builtins.execfile builtins.file builtins.intern builtins.long
builtins.raw_input builtins.reduce builtins.reload builtins.unichr builtins.unicode
builtins.xrange calendar.TimeEncoding cgi.FormContent cgi.FormContentDict
cgi.InterpFormContentDict cgi.List cgi.SvFormContentDict contextlib.GeneratorContextManager
contextlib.nested ctypes.set_conversion_mode dummy_threading.activeCount
email.base64mime.base64_len email.base64mime.encode email.base64mime.encodestring
email.quoprimime.body_quopri_check email.quoprimime.body_quopri_len email.quoprimime.encode
email.quoprimime.encodestring email.quoprimime.header_quopri_check
email.quoprimime.header_quopri_len errno.EDEADLCK ftplib.Netrc gc.DEBUG_INSTANCES
gc.DEBUG_OBJECTS hashlib.algorithms heapq.cmp_lt imaplib.List inspect.ModuleInfo
inspect.getmoduleinfo itertools.ifilter itertools.ifilterfalse itertools.imap itertools.izip
itertools.izip_longest multiprocessing.process.Process nntplib.List ntpath.walk
operator.delslice operator.div operator.getslice operator.idiv operator.irepeat
operator.isCallable operator.isMappingType operator.isNumberType operator.isSequenceType
operator.repeat operator.sequenceIncludes operator.setslice optparse.isbasestring os.getcwdu
os.path.walk os.popen2 os.popen3 os.popen4 os.tempnam os.tmpfile os.tmpnam pkgutil.Loader
pkgutil.MetaPathFinder pkgutil.PathEntryFinder platform.popen plistlib.readPlistFromResource
plistlib.readPlistFromString plistlib.writePlistToResource plistlib.writePlistToString
posix.fdopen posix.getcwdu posix.popen posix.stat_float_times posix.tmpfile posixpath.splitunc
posixpath.walk pydoc.gui pydoc.serve random.jumpahead resource.RLIMIT_VMEM resource.RUSAGE_BOTH
smtplib.SSLFakeFile socket.EINTR socket.NETLINK_ARPD socket.NETLINK_ROUTE6 socket.NETLINK_SKIP
socket.NETLINK_TAPBASE socket.NETLINK_TCPDIAG socket.NETLINK_W1 sre_compile.STRING_TYPES
sre_constants.makedict sre_parse.isdigit sre_parse.isident sre_parse.isname string.atof
string.atoi string.atol string.capitalize string.center string.count string.find string.index
string.join string.joinfields string.letters string.ljust string.lower string.lowercase
string.lstrip string.maketrans string.replace string.rfind string.rindex string.rjust
string.rsplit string.rstrip string.split string.splitfields string.strip string.swapcase
string.translate string.upper string.uppercase string.zfill symbol.exec_stmt symbol.fpdef
symbol.fplist symbol.list_for symbol.list_if symbol.list_iter symbol.listmaker
symbol.old_lambdef symbol.old_test symbol.print_stmt symbol.testlist1 symbol.testlist_safe
sys.exc_clear sys.exc_traceback sys.exc_type sys.exc_value sys.long_info sys.maxint
sys.py3kwarning sys.setdefaultencoding sys.subversion tarfile.TAR_GZIPPED tarfile.TAR_PLAIN
tarfile.TarFileCompat time.accept2dyear token.BACKQUOTE tokenize.BACKQUOTE tokenize.chain
tokenize.double3prog tokenize.endprogs tokenize.printtoken tokenize.pseudoprog
tokenize.single3prog tokenize.tokenize_loop tokenize.tokenprog tokenize.x traceback.tb_lineno
turtle.PhotoImage types.BooleanType types.BufferType types.ClassType types.ComplexType
types.DictProxyType types.DictType types.DictionaryType types.FileType types.FloatType
types.InstanceType types.IntType types.ListType types.LongType types.ObjectType types.SliceType
types.StringType types.StringTypes types.TupleType types.TypeType types.UnboundMethodType
types.UnicodeType types.XRangeType unittest.Testable urllib.ContentTooShortError
urllib.FancyURLopener urllib.URLopener urllib.addbase urllib.addclosehook urllib.addinfo
urllib.addinfourl urllib.ftpwrapper urllib.getproxies urllib.pathname2url urllib.proxy_bypass
urllib.quote urllib.quote_plus urllib.splitattr urllib.splithost urllib.splitnport
urllib.splitpasswd urllib.splitport urllib.splitquery urllib.splittag urllib.splittype
urllib.splituser urllib.splitvalue urllib.unquote urllib.unquote_plus urllib.unwrap
urllib.url2pathname urllib.urlcleanup urllib.urlencode urllib.urlopen urllib.urlretrieve
weakref.ReferenceError wsgiref.handlers.ErrorStream wsgiref.handlers.InputStream
wsgiref.handlers.StartResponse wsgiref.handlers.WSGIApplication wsgiref.handlers.WSGIEnvironment
wsgiref.simple_server.ErrorStream wsgiref.simple_server.StartResponse
wsgiref.simple_server.WSGIApplication wsgiref.simple_server.WSGIEnvironment
wsgiref.util.WSGIEnvironment
    """,
    (3, 7): """
asyncio.windows_utils.socketpair msilib.Itanium ntpath.splitunc os.path.splitunc
os.stat_float_times plistlib.Dict plistlib.Plist sre_compile.RANGE_IGNORE
sre_constants.RANGE_IGNORE sre_parse.RANGE_IGNORE tokenize.Bracket tokenize.Operator
typing.GenericMeta
    """,
    (3, 8): """
asyncio.events.SendfileNotAvailableError asyncio.futures.CancelledError
asyncio.futures.InvalidStateError asyncio.futures.TimeoutError
asyncio.streams.IncompleteReadError asyncio.streams.LimitOverrunError cgi.escape cgi.parse_qs
cgi.parse_qsl codecs.unicode_internal_decode codecs.unicode_internal_encode platform.DEV_NULL
platform.dist platform.linux_distribution sqlite3.Cache sqlite3.Statement sqlite3.dbapi2.Cache
sqlite3.dbapi2.Statement sre_parse.Pattern sys.get_coroutine_wrapper sys.set_coroutine_wrapper
tarfile.filemode time.clock
    """,
    (3, 9): """
aifc.openfp base64.decodestring base64.encodestring fractions.gcd plistlib.Data
plistlib.readPlist plistlib.readPlistFromBytes plistlib.writePlist plistlib.writePlistToBytes
ssl.AF_INET sunau.openfp sys.callstats sys.getcheckinterval sys.setcheckinterval wave.openfp
    """,
    (3, 10): """
collections.AsyncGenerator collections.AsyncIterable collections.AsyncIterator
collections.Awaitable collections.ByteString collections.Callable collections.Collection
collections.Container collections.Coroutine collections.Generator collections.Hashable
collections.ItemsView collections.Iterable collections.Iterator collections.KeysView
collections.Mapping collections.MappingView collections.MutableMapping
collections.MutableSequence collections.MutableSet collections.Reversible collections.Sequence
collections.Set collections.Sized collections.ValuesView collections.dict_items
collections.dict_keys collections.dict_values sqlite3.dbapi2.OptimizedUnicode
unicodedata.ucnhash_CAPI xxlimited.Null xxlimited.error xxlimited.roj
    """,
    (3, 11): """
asyncio.coroutine asyncio.coroutines.coroutine binascii.a2b_hqx binascii.b2a_hqx
binascii.rlecode_hqx binascii.rledecode_hqx gettext.bind_textdomain_codeset gettext.ldgettext
gettext.ldngettext gettext.lgettext gettext.lngettext importlib.readers.remove_duplicates
inspect.ArgSpec inspect.formatargspec inspect.getargspec modulefinder.EXTENDED_ARG
modulefinder.IMPORT_NAME modulefinder.LOAD_CONST modulefinder.STORE_GLOBAL
modulefinder.STORE_NAME modulefinder.STORE_OPS smtpd.MailmanProxy sre_compile.CALL
sre_constants.CALL sre_parse.CALL sre_parse.Verbose urllib.parse.MAX_CACHE_SIZE
    """,
    (3, 12): """
asyncio.base_tasks.tasks asyncio.locks.AbstractEventLoop asyncio.unix_events.AbstractEventLoop
asyncio.unix_events.BaseDefaultEventLoopPolicy configparser.SafeConfigParser dis.hasnargs
errno.EL importlib.abc.Finder importlib.find_loader importlib.metadata.Deprecated
importlib.metadata.DeprecatedList importlib.metadata.SelectableGroups
importlib.util.module_for_loader importlib.util.set_loader importlib.util.set_package
locale.format opcode.hasnargs pdb.getsourcelines pkgutil.ImpImporter pkgutil.ImpLoader
select.EPOLL_RDHUP socket.AF_AAL5 socket.RCVALL_IPLEVEL socket.RDS_CMSG_RDMA_UPDATE
sqlite3.dbapi2.enable_shared_cache sqlite3.enable_shared_cache sre_parse.expand_template
ssl.RAND_egd ssl.RAND_pseudo_bytes ssl.match_hostname ssl.wrap_socket tarfile.Type
typing.TypeshedSelf typing_extensions.TypeshedSelf unittest.load_tests webbrowser.Galeon
webbrowser.Grail
    """,
    (3, 13): """
configparser.LegacyInterpolation importlib.metadata.DeprecatedTuple importlib.resources.Resource
locale.resetlocale re.T re.TEMPLATE re.template sre_compile.SRE_FLAG_TEMPLATE
sre_constants.SRE_FLAG_TEMPLATE sre_parse.SRE_FLAG_TEMPLATE token.ASYNC token.AWAIT
tokenize.ASYNC tokenize.AWAIT tokenize.StopTokenizing turtle.settiltangle unittest.findTestCases
unittest.getTestCaseNames unittest.loader.findTestCases unittest.loader.getTestCaseNames
unittest.loader.makeSuite unittest.makeSuite webbrowser.MacOSX
    """,
    (3, 14): """
ast.Bytes ast.Ellipsis ast.NameConstant ast.Num ast.Str asyncio.AbstractChildWatcher
asyncio.BaseChildWatcher asyncio.BaseDefaultEventLoopPolicy asyncio.FastChildWatcher
asyncio.MultiLoopChildWatcher asyncio.PidfdChildWatcher asyncio.SafeChildWatcher
asyncio.ThreadedChildWatcher asyncio.events.AbstractChildWatcher
asyncio.events.AbstractEventLoopPolicy asyncio.events.BaseDefaultEventLoopPolicy
asyncio.events.get_child_watcher asyncio.events.set_child_watcher asyncio.get_child_watcher
asyncio.set_child_watcher asyncio.unix_events.AbstractChildWatcher
asyncio.unix_events.BaseChildWatcher asyncio.unix_events.DefaultEventLoopPolicy
asyncio.unix_events.FastChildWatcher asyncio.unix_events.MultiLoopChildWatcher
asyncio.unix_events.PidfdChildWatcher asyncio.unix_events.SafeChildWatcher
asyncio.unix_events.ThreadedChildWatcher asyncio.windows_events.DefaultEventLoopPolicy
asyncio.windows_events.WindowsProactorEventLoopPolicy
asyncio.windows_events.WindowsSelectorEventLoopPolicy importlib.abc.ResourceReader
importlib.abc.Traversable importlib.abc.TraversableResources
multiprocessing.reduction.ACKNOWLEDGE pkgutil.find_loader pkgutil.get_loader pty.master_open
pty.slave_open sqlite3.dbapi2.version sqlite3.dbapi2.version_info sqlite3.version_info
urllib.request.FancyURLopener urllib.request.URLopener
    """,
    (3, 15): """
cProfile.label ctypes.SetPointerType glob.glob0 glob.glob1 http.server.CGIHTTPRequestHandler
importlib.metadata.DeprecatedNonAbstract platform.java_ver typing.no_type_check_decorator
typing_extensions.no_type_check_decorator
    """,
}

# Methods whose names nothing else in the standard library has.
METHODS: dict[tuple[int, int], str] = {
    (3, 0): """
builtins.dict.has_key builtins.dict.iteritems builtins.dict.iterkeys builtins.dict.itervalues
builtins.dict.viewitems builtins.dict.viewkeys builtins.dict.viewvalues
email.charset.Charset.encoded_header_len email.charset.Charset.from_splittable
email.charset.Charset.to_splittable gettext.NullTranslations.ugettext
gettext.NullTranslations.ungettext random.Random.jumpahead socket.socket.share
types.FrameType.f_exc_traceback types.FrameType.f_exc_type types.FrameType.f_exc_value
types.FrameType.f_restricted types.FunctionType.func_closure types.FunctionType.func_code
types.FunctionType.func_defaults types.FunctionType.func_dict types.FunctionType.func_doc
types.FunctionType.func_globals types.FunctionType.func_name unittest.TestCase.assertItemsEqual
uuid.UUID.get_bytes_le uuid.UUID.get_clock_seq uuid.UUID.get_clock_seq_hi_variant
uuid.UUID.get_clock_seq_low uuid.UUID.get_fields uuid.UUID.get_hex uuid.UUID.get_node
uuid.UUID.get_time uuid.UUID.get_time_hi_version uuid.UUID.get_time_low uuid.UUID.get_time_mid
uuid.UUID.get_urn uuid.UUID.get_variant weakref.WeakKeyDictionary.iterkeyrefs
    """,
    (3, 9): """
threading.Thread.isAlive xml.etree.ElementTree.Element.getchildren
xml.etree.ElementTree.Element.getiterator xml.etree.ElementTree.ElementTree.getiterator
xml.etree.cElementTree.Element.getchildren xml.etree.cElementTree.Element.getiterator
xml.etree.cElementTree.ElementTree.getiterator
    """,
    (3, 11): """
asyncio.trsock.TransportSocket.sendmsg_afalg asyncio.trsock.TransportSocket.share
gettext.NullTranslations.lgettext gettext.NullTranslations.lngettext
gettext.NullTranslations.set_output_charset
    """,
    (3, 12): """
importlib.abc.Loader.module_repr importlib.abc.PathEntryFinder.find_loader
importlib.machinery.BuiltinImporter.module_repr importlib.machinery.FrozenImporter.module_repr
pathlib.Path.link_to pickle.Pickler.reducer_override unittest.case.TestCase.assertAlmostEquals
unittest.case.TestCase.assertDictContainsSubset unittest.case.TestCase.assertEquals
unittest.case.TestCase.assertNotAlmostEquals unittest.case.TestCase.assertNotEquals
unittest.case.TestCase.assertNotRegexpMatches unittest.case.TestCase.assertRaisesRegexp
unittest.case.TestCase.assertRegexpMatches unittest.case.TestCase.assert_
unittest.case.TestCase.failIf unittest.case.TestCase.failIfAlmostEqual
unittest.case.TestCase.failIfEqual unittest.case.TestCase.failUnless
unittest.case.TestCase.failUnlessAlmostEqual unittest.case.TestCase.failUnlessEqual
unittest.case.TestCase.failUnlessRaises zipimport.zipimporter.find_loader
    """,
    (3, 13): """
re.RegexFlag.TEMPLATE turtle.RawTurtle.settiltangle unittest.main.TestProgram.usageExit
    """,
    (3, 14): """
asyncio.WindowsProactorEventLoopPolicy.get_child_watcher
asyncio.WindowsProactorEventLoopPolicy.set_child_watcher
asyncio.WindowsSelectorEventLoopPolicy.get_child_watcher
asyncio.WindowsSelectorEventLoopPolicy.set_child_watcher
    """,
    (3, 15): """
types.CodeType.co_lnotab wave.Wave_read.getmark wave.Wave_read.getmarkers
wave.Wave_write.getmark wave.Wave_write.getmarkers wave.Wave_write.setmark
    """,
}

# What Python 2's modules and the names in urllib are called since.
RENAMED = {
    "BaseHTTPServer": "http.server",
    "CGIHTTPServer": "http.server",
    "ConfigParser": "configparser",
    "Cookie": "http.cookies",
    "Dialog": "tkinter.dialog",
    "DocXMLRPCServer": "xmlrpc.server",
    "FileDialog": "tkinter.filedialog",
    "HTMLParser": "html.parser",
    "Queue": "queue",
    "ScrolledText": "tkinter.scrolledtext",
    "SimpleDialog": "tkinter.simpledialog",
    "SimpleHTTPServer": "http.server",
    "SimpleXMLRPCServer": "xmlrpc.server",
    "SocketServer": "socketserver",
    "StringIO": "io",
    "Tix": "tkinter.tix",
    "Tkconstants": "tkinter.constants",
    "Tkdnd": "tkinter.dnd",
    "Tkinter": "tkinter",
    "UserList": "collections",
    "UserString": "collections",
    "__builtin__": "builtins",
    "_winreg": "winreg",
    "anydbm": "dbm",
    "cPickle": "pickle",
    "cStringIO": "io",
    "commands": "subprocess",
    "cookielib": "http.cookiejar",
    "copy_reg": "copyreg",
    "dbhash": "dbm.bsd",
    "dbm": "dbm.ndbm",
    "dumbdbm": "dbm.dumb",
    "dummy_thread": "_dummy_thread",
    "gdbm": "dbm.gnu",
    "htmlentitydefs": "html.entities",
    "httplib": "http.client",
    "markupbase": "_markupbase",
    "repr": "reprlib",
    "robotparser": "urllib.robotparser",
    "thread": "_thread",
    "tkColorChooser": "tkinter.colorchooser",
    "tkCommonDialog": "tkinter.commondialog",
    "tkFileDialog": "tkinter.filedialog",
    "tkFont": "tkinter.font",
    "tkMessageBox": "tkinter.messagebox",
    "tkSimpleDialog": "tkinter.simpledialog",
    "ttk": "tkinter.ttk",
    "urllib.ContentTooShortError": "urllib.error.ContentTooShortError",
    "urllib.FancyURLopener": "urllib.request.FancyURLopener",
    "urllib.URLopener": "urllib.request.URLopener",
    "urllib.getproxies": "urllib.request.getproxies",
    "urllib.pathname2url": "urllib.request.pathname2url",
    "urllib.quote": "urllib.parse.quote",
    "urllib.quote_plus": "urllib.parse.quote_plus",
    "urllib.splitattr": "urllib.parse.splitattr",
    "urllib.splithost": "urllib.parse.splithost",
    "urllib.splitnport": "urllib.parse.splitnport",
    "urllib.splitpasswd": "urllib.parse.splitpasswd",
    "urllib.splitport": "urllib.parse.splitport",
    "urllib.splitquery": "urllib.parse.splitquery",
    "urllib.splittag": "urllib.parse.splittag",
    "urllib.splittype": "urllib.parse.splittype",
    "urllib.splituser": "urllib.parse.splituser",
    "urllib.splitvalue": "urllib.parse.splitvalue",
    "urllib.unquote": "urllib.parse.unquote",
    "urllib.unquote_plus": "urllib.parse.unquote_plus",
    "urllib.url2pathname": "urllib.request.url2pathname",
    "urllib.urlcleanup": "urllib.request.urlcleanup",
    "urllib.urlencode": "urllib.parse.urlencode",
    "urllib.urlopen": "urllib.request.urlopen",
    "urllib.urlretrieve": "urllib.request.urlretrieve",
    "urllib2": "urllib.request",
    "urlparse": "urllib.parse",
    "whichdb": "dbm",
    "xmlrpclib": "xmlrpc.client",
}
