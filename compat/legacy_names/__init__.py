"""The folder that `asynccore run` puts in front of PYTHONPATH.

It is a package only so that it is installed and checked with the others; programs see its files
as the top-level modules `asyncore`, `asynchat` and `smtpd`. See `_asynccore_names.py`.
"""
