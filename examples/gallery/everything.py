"""All programs of the gallery in one process, on one loop.

asynccore run examples/gallery/everything.py [--free-ports] [program…]
"""

import argparse
import importlib
import inspect
import pathlib

import common

NO_PROGRAMS = ("cgi_script", "common", "everything")


def programs():
    """Return the names of all, clients last: they need their servers."""
    names = (path.stem for path in pathlib.Path(__file__).parent.glob("*.py"))
    return sorted(set(names) - set(NO_PROGRAMS), key=lambda name: (name.endswith("_client"), name))


def start_program(name, free_ports):
    """Start one on the ports that it has by itself, or on any that are free."""
    start = importlib.import_module(name).start
    given = {}
    if free_ports:
        given = dict.fromkeys(inspect.signature(start).parameters, 0)
        if "server_port" in given:
            given["server_port"] = common.ports["irc_server"]
    start(**given)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--free-ports", action="store_true", help="on any ports that are free")
    parser.add_argument("program", nargs="*", help=f"of {', '.join(programs())} (default: all)")
    options = parser.parse_args()
    for name in options.program or programs():
        start_program(name, options.free_ports)
    common.run_loop()


if __name__ == "__main__":
    main()
