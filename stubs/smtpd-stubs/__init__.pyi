# Written by `python -m tests.stubs`: `smtpd` is `asynccore.smtpd` to type checkers, too.
import asynchat as asynchat
import asyncore as asyncore
import collections as collections
import errno as errno
import getopt as getopt
import os as os
import socket as socket
import sys as sys
import time as time

from asynccore.smtpd import COMMASPACE as COMMASPACE
from asynccore.smtpd import DATA_SIZE_DEFAULT as DATA_SIZE_DEFAULT
from asynccore.smtpd import DEBUGSTREAM as DEBUGSTREAM
from asynccore.smtpd import DebuggingServer as DebuggingServer
from asynccore.smtpd import Devnull as Devnull
from asynccore.smtpd import MailmanProxy as MailmanProxy
from asynccore.smtpd import NEWLINE as NEWLINE
from asynccore.smtpd import Options as Options
from asynccore.smtpd import PureProxy as PureProxy
from asynccore.smtpd import SMTPChannel as SMTPChannel
from asynccore.smtpd import SMTPServer as SMTPServer
from asynccore.smtpd import _DEPRECATION_MSG as _DEPRECATION_MSG
from asynccore.smtpd import _deprecated as _deprecated
from asynccore.smtpd import get_addr_spec as get_addr_spec
from asynccore.smtpd import get_angle_addr as get_angle_addr
from asynccore.smtpd import parseargs as parseargs
from asynccore.smtpd import program as program
from asynccore.smtpd import usage as usage
from asynccore.smtpd import warn as warn
